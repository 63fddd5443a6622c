"""Elimination of a tile's network by merging blocks, in a mixed form that holds for any resistance.

A block is a part of the circuit with open wire ends. At its left and bottom ends the voltage is given, at
its right and top ends the current that enters; what it answers is linear:

    [I_left, −V_top, I_bottom, −V_right] = H · [V_left, I_top, V_bottom, I_right]

`H` is symmetric (the network is reciprocal) and finite for zero and for open resistances, unlike an
admittance or an impedance. Joining two blocks along k wires is one Schur complement with a k×k inverse.
A tile is cut in strips of k rows. Within a strip, pairs of columns have a closed form and join pairwise in a
tree; the strips then join from top to bottom. Elements of `H` that are tiny beside their neighbours
keep their relative precision: through-lines carry their deviation from the identity, and diagonals that
are sums of the other elements, by Kirchhoff's law, are put together from them.
"""

import jax
import jax.numpy as jnp

from hwmodels.crossbar._inverse import inverse, laplacian_inverse, with_row_sums
from hwmodels.crossbar._leaf import pairs_of_columns

_STRIP = 16


def transposed(matrix):
    return jnp.swapaxes(matrix, -1, -2)


def eliminate(G, resistances):
    """G_eff of tiles (tiles, rows, columns), for any conductances and finite resistances."""
    _, _, column, sense = resistances
    used_rows, used_columns = G.shape[1:]
    k = min(_STRIP, used_rows)
    # Open devices above the first row and behind the last column change nothing: no current enters there.
    above, behind = -used_rows % k, used_columns % 2
    G = jnp.pad(G, ((0, 0), (above, 0), (0, behind)))
    rows, columns = G.shape[1:]
    strips = _strips(G, resistances, k)
    eye = jnp.eye(columns, dtype=G.dtype)

    def step(carry, inputs):
        # Above the cut: current down = source·V − admittance·v.
        admittance, source = carry
        impedance, deviation, bottom, to_top, to_bottom, index = inputs
        impedance = column * eye + impedance
        share = inverse(eye + impedance @ admittance)
        lost = share @ jnp.concatenate([deviation, -to_top], axis=-1)
        kept = share - lost[..., :columns]
        seen = admittance @ jnp.concatenate([kept, -lost[..., columns:]], axis=-1)
        back = seen - transposed(deviation) @ seen
        # The wire itself apart from its neighbours, lest they be rounded to its scale one by one.
        straight = jnp.sum(kept * eye, axis=-1)
        source = straight[..., None] * source + transposed(kept * (1 - eye)) @ source
        own = to_bottom - back[..., columns:]
        source = jax.lax.dynamic_update_slice_in_dim(source, own, index * k, axis=-1)
        # All sources and nodes at one volt: no current, so the rows of the admittance sum to the sources'.
        admittance = with_row_sums(bottom + back[..., :columns], source.sum(-1))
        return (admittance, source), None

    # Nothing lies above the first strip.
    *_, admittance, _, to_bottom = (part[0] for part in strips)
    source = jnp.pad(to_bottom, ((0, 0), (0, 0), (0, rows - k)))
    rest = (*(part[1:] for part in strips), 1 + jnp.arange(len(strips[0]) - 1))
    (admittance, source), _ = jax.lax.scan(step, (admittance, source), rest)
    closed = laplacian_inverse(eye + sense * admittance, 1 + sense * source.sum(-1))
    return transposed(closed @ source)[:, above:, :used_columns]


def _strips(G, resistances, k):
    """Strips of k rows with their drivers, as seen from the column wires above and below.

    **Returns:** with a leading axis of strips: impedance (top), `1 −` voltage transfer (bottom to top),
    admittance (bottom), and what the sources do to the top voltage and to the bottom current.
    """
    driver, row, column, _ = resistances
    tiles, rows, columns = G.shape
    pairs = G.reshape(tiles, rows // k, k, columns // 2, 2).transpose(2, 4, 1, 0, 3)
    blocks = pairs_of_columns(pairs.reshape(k, 2, -1), row, column)
    blocks = blocks.transpose(2, 0, 1).reshape(*pairs.shape[2:], *blocks.shape[:2])
    rest = None
    while blocks.shape[2] > 1:
        if blocks.shape[2] % 2:
            last = blocks[:, :, -1]
            rest = last if rest is None else _join(last, rest, k, row)
            blocks = blocks[:, :, :-1]
        blocks = _join(blocks[:, :, 0::2], blocks[:, :, 1::2], k, row)
    block = blocks[:, :, 0] if rest is None else _join(blocks[:, :, 0], rest, k, row)
    # No current enters at the right ends; the left ends see the drivers.
    block = block[..., :-k, :-k]
    coupling = block[..., :k, k:]
    weight = transposed(inverse(jnp.eye(k, dtype=G.dtype) + driver * block[..., :k, :k]))
    sources = weight @ coupling
    ends = block[..., k:, k:] - driver * (transposed(coupling) @ sources)
    # Pair by pair its top ends, then its bottom ends.
    ends = ends.reshape(*ends.shape[:2], columns // 2, 2, 2, columns // 2, 2, 2)
    sources = sources.reshape(*sources.shape[:2], k, columns // 2, 2, 2)

    def part(array, *sides):
        """The given sides, 0 top and 1 bottom, along the last axes."""
        if len(sides) == 2:
            picked = array[..., :, sides[0], :, :, sides[1], :]
            return picked.reshape(*picked.shape[:2], columns, columns)
        return array[..., sides[0], :].reshape(*array.shape[:3], columns)

    to_top = -transposed(part(sources, 0))
    to_bottom = -transposed(part(sources, 1))
    # All sources and nodes at one volt: every end is at one volt, and no current flows.
    deviation = with_row_sums(part(ends, 0, 1), to_top.sum(-1))
    admittance = with_row_sums(part(ends, 1, 1), to_bottom.sum(-1))
    return -part(ends, 0, 0), deviation, admittance, to_top, to_bottom


def _join(left, right, k, wire):
    """Two blocks side by side: the k right ends of one, a wire segment each, the k left ends of the other."""
    return _joined(left, right, wire, k)[0]


def _joined(left, right, wire, k):
    # The form is symmetric: a block and its transpose both stand in it, and products need no transposing.
    admittance = right[..., :k, :k]
    impedance = wire * jnp.eye(k, dtype=left.dtype) - left[..., -k:, -k:]
    share = inverse(jnp.eye(k, dtype=left.dtype) + impedance @ admittance)
    to_left, to_right = left[..., -k:, :-k], right[..., :k, k:]
    of_left = share @ to_left
    of_right = right[..., k:, :k] @ share
    current, voltage = admittance @ of_left, of_right @ impedance
    across = -(of_right @ to_left)
    whole = jnp.concatenate(
        [
            jnp.concatenate(
                [left[..., :-k, :-k] + left[..., :-k, -k:] @ current, transposed(across)], axis=-1
            ),
            jnp.concatenate([across, right[..., k:, k:] - voltage @ to_right], axis=-1),
        ],
        axis=-2,
    )
    return whole, (of_left, current, voltage, of_right)


def _join_forward(left, right, k, wire):
    return _joined(left, right, wire, k)


def _join_adjoint(k, fields, cotangent):
    """Derivatives from the voltages and currents at the joint, one for each end of the whole.

    The form `½·xᵀ·H·x` of a block is stationary in what was eliminated, so its change is the change of its
    parts at fixed fields W: `dH = [1 W]ᵀ·d(parts)·[1 W]`.
    """
    of_left, current, voltage, of_right = fields
    n = of_left.shape[-1]
    voltage = -jnp.concatenate([of_left, transposed(voltage)], axis=-1)
    current = jnp.concatenate([-current, transposed(of_right)], axis=-1)
    cotangent = (cotangent + transposed(cotangent)) / 2
    joint = jnp.concatenate([voltage, current], axis=-2)
    weighted = joint @ cotangent
    power = weighted @ transposed(joint)
    by_admittance, by_impedance = power[..., :k, :k], power[..., k:, k:]
    to_left, to_right = -weighted[..., k:, :n], weighted[..., :k, n:]
    by_wire = -jnp.trace(by_impedance, axis1=-2, axis2=-1).sum()
    by_left = jnp.concatenate(
        [
            jnp.concatenate([cotangent[..., :n, :n], transposed(to_left)], axis=-1),
            jnp.concatenate([to_left, by_impedance], axis=-1),
        ],
        axis=-2,
    )
    by_right = jnp.concatenate(
        [
            jnp.concatenate([by_admittance, to_right], axis=-1),
            jnp.concatenate([transposed(to_right), cotangent[..., n:, n:]], axis=-1),
        ],
        axis=-2,
    )
    return by_left, by_right, by_wire


_join = jax.custom_vjp(_join, nondiff_argnums=(2,))
_join.defvjp(_join_forward, _join_adjoint)
