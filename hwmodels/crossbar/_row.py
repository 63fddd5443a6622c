"""A row wire with its driver and its devices, as the column nodes see it.

With the source at V and the column nodes at v, the nodes of the wire are at `u = Z·(g∘v) + b·V`. A wire is a
chain, so its impedance is made of two sequences: `Z_jk = a_min(j,k)·b_max(j,k)`. The columns are cut in
blocks: within a block Z is dense, and of the others it needs only the sums of `a∘g∘v` on its left and of
`b∘g∘v` on its right. All terms are positive, whatever the conductances and resistances, and zero resistances
need no care; b must not fade to nothing along the wire.
"""

import math
from functools import partial
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


class Line(NamedTuple):
    """The recurrences along row wires, (columns, rows, tiles): vector units reach along the last axes.

    - `own`: the impedance of each node to ground.
    - `kept`: the part that a node gets of the voltage before it, the source's or its left neighbour's.
    - `behind`: the part that the last node gets of this one's voltage.
    """

    own: Float[Array, "columns rows tiles"]
    kept: Float[Array, "columns rows tiles"]
    behind: Float[Array, "columns rows tiles"]


def recurrences(
    G: Float[Array, "tiles rows columns"], driver: Float[Array, ""], row: Float[Array, ""]
) -> Line:
    """Those of all row wires of tiles, the column nodes grounded."""
    g = G.transpose(2, 1, 0)

    def both_ways(state, inputs):
        before, beyond, passed = state
        here, there = inputs
        seen = beyond + there
        lost = 1 / (1 + row * seen)
        return (row + before / (1 + here * before), seen * lost, passed * lost), (before, seen, passed)

    start = jnp.full_like(g[0], driver), jnp.zeros_like(g[0]), jnp.ones_like(g[0])
    _, (before, seen, passed) = jax.lax.scan(both_ways, start, (g, g[::-1]))
    seen, passed = seen[::-1], passed[::-1]
    segment = jnp.where(jnp.arange(len(g)) == 0, driver, row)[:, None, None]
    return Line(before / (1 + before * seen), 1 / (1 + segment * seen), passed)


@partial(jax.jit, static_argnums=2)
def row_wires(G: Float[Array, "tiles rows columns"], line: Line, size: int) -> RowWire:
    """All row wires of tiles in blocks of `size` columns, their leading axes (rows, tiles)."""
    columns = G.shape[-1]
    blocks = math.ceil(columns / size)
    # The last node gets that of it as well.
    from_source = line.kept[0] * line.behind[0] / line.behind
    # Open devices fill up the last block.
    devices, impedance, from_source = (
        jnp.pad(array, ((0, 0), (0, 0), (0, -columns % size))).reshape(*array.shape[:2], blocks, size)
        for array in (
            G.swapaxes(0, 1),
            (line.own / from_source).transpose(1, 2, 0),
            from_source.transpose(1, 2, 0),
        )
    )
    Z = impedance[..., :, None] * from_source[..., None, :]
    Z = jnp.where(jnp.tri(size, dtype=bool), Z.mT, Z)
    near = Z * devices[..., None, :]
    return RowWire(devices, near, impedance, from_source, jnp.sum(devices * from_source, axis=(-2, -1)))


def impedances(
    G: Float[Array, "tiles rows columns"], line: Line
) -> tuple[Float[Array, "rows tiles n"], Float[Array, "rows tiles n n"], Float[Array, "rows tiles n"]]:
    """g, Z and b of all row wires; b may fade to nothing."""
    index = jnp.arange(G.shape[-1])

    def rightwards(reached, inputs):
        here, kept = inputs
        return (jnp.where(index == here, 1, reached * kept[..., None]),) * 2

    start = jnp.zeros((*line.kept.shape[1:], len(index)), G.dtype)
    _, reached = jax.lax.scan(rightwards, start, (index, line.kept))
    from_source = line.kept[0] * reached[..., 0]
    lower = jnp.moveaxis(reached, 0, 2) * jnp.moveaxis(line.own, 0, -1)[..., None, :]
    Z = jnp.where(jnp.tri(len(index), dtype=bool), lower, lower.mT)
    return G.swapaxes(0, 1), Z, jnp.moveaxis(from_source, 0, -1)


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
