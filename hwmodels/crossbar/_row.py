"""A row wire with its driver and its devices, as the column nodes see it.

With the source at V and the column nodes at v, the nodes of the wire are at `u = Z·(g∘v) + b·V`. A wire is a
chain, so its impedance is made of two sequences: `Z_jk = a_min(j,k)·b_max(j,k)`. The columns are cut in
blocks: within a block Z is dense, and of the others it needs only the sums of `a∘g∘v` on its left and of
`b∘g∘v` on its right. All terms are positive, whatever the conductances and resistances, and zero resistances
need no care; b must not fade to nothing along the wire.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class RowWire(NamedTuple):
    """Row wires of n blocks of m columns; columns that fill up the last block are open.

    - `devices`: g, siemens.
    - `near`: from the voltages of a block's columns to those that they make at its own nodes.
    - `impedance`: a, ohm.
    - `from_source`: b, the voltage of each node for one volt at the source.
    - `own`: the current of the source for that volt, siemens.
    """

    devices: Float[Array, "*wires n m"]
    near: Float[Array, "*wires n m m"]
    impedance: Float[Array, "*wires n m"]
    from_source: Float[Array, "*wires n m"]
    own: Float[Array, "*wires"]


def row_wires(
    G: Float[Array, "tiles rows columns"], driver: Float[Array, ""], row: Float[Array, ""], size: int
) -> RowWire:
    """All row wires of tiles in blocks of `size` columns, their leading axes (rows, tiles)."""
    columns = G.shape[-1]
    blocks = math.ceil(columns / size)
    # Many wires side by side along the last axes, where vector units reach.
    g = jnp.pad(G.transpose(2, 1, 0), ((0, blocks * size - columns), (0, 0), (0, 0)))

    def leftwards(behind, here):
        seen = here + behind
        return seen / (1 + row * seen), seen

    _, seen = jax.lax.scan(leftwards, jnp.zeros_like(g[0]), g, reverse=True)

    def rightwards(state, inputs):
        before, segment, reached = state
        here, seen = inputs
        part = 1 / (1 + before * seen)
        reached = reached / (1 + segment * seen)
        after = row + before / (1 + here * before)
        return (after, row, reached), (before * part / reached, reached)

    start = (jnp.full_like(g[0], driver), driver, jnp.ones_like(g[0]))
    _, (impedance, from_source) = jax.lax.scan(rightwards, start, (g, seen))
    devices, impedance, from_source = (
        array.transpose(1, 2, 0).reshape(*array.shape[1:], blocks, size)
        for array in (g, impedance, from_source)
    )
    Z = impedance[..., :, None] * from_source[..., None, :]
    Z = jnp.where(jnp.tri(size, dtype=bool), jnp.swapaxes(Z, -1, -2), Z)
    near = Z * devices[..., None, :]
    return RowWire(devices, near, impedance, from_source, seen[0] / (1 + driver * seen[0]))


def response(
    wire: RowWire,
    columns: Float[Array, "*wires n m fields"],
    source: Float[Array, "*wires fields"] | None = None,
) -> tuple[Float[Array, "*wires n m fields"], Float[Array, "*wires fields"]]:
    """Voltages of the wire's nodes, and the current into the driver but the source's own.

    Many fields at once: the voltages of the columns, and of the source if it is not grounded.
    """
    *lead, blocks, _, fields = columns.shape
    send = jnp.stack([wire.impedance, wire.from_source], -2) * wire.devices[..., None, :]
    sent = (send @ columns).reshape(*lead, 2 * blocks, fields)
    arrived = jnp.broadcast_to(_sums(blocks, columns.dtype), (*lead, 2 * blocks + 1, 2 * blocks)) @ sent
    from_left, from_right = jnp.moveaxis(arrived[..., :-1, :].reshape(*lead, blocks, 2, fields), -2, 0)
    if source is not None:
        from_left = from_left + source[..., None, :]
    from_left = wire.from_source[..., None] * from_left[..., None, :]
    from_right = wire.impedance[..., None] * from_right[..., None, :]
    return wire.near @ columns + from_left + from_right, arrived[..., -1, :]


def _sums(blocks, dtype):
    """From what blocks send, (block, a or b), to what they get, (block, left or right), and the driver."""
    before = jnp.tri(blocks, k=-1, dtype=dtype)
    sides = jnp.eye(2, dtype=dtype)
    left, right = (
        jnp.kron(part, jnp.diag(side)) for part, side in zip((before, before.T), sides, strict=True)
    )
    return jnp.concatenate([left + right, jnp.tile(sides[1], blocks)[None]])
