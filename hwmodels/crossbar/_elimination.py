"""Elimination of a tile's network by merging blocks, in a mixed form that holds for any resistance.

A block is a part of the circuit with open wire ends. At its left and bottom ends the voltage is given, at
its right and top ends the current that enters; what it answers is linear:

    [I_left, −V_top, I_bottom, −V_right] = H · [V_left, I_top, V_bottom, I_right]

`H` is symmetric (the network is reciprocal) and finite for zero and for open resistances, unlike an
admittance or an impedance. Joining two blocks along k wires is one Schur complement with a k×k inverse.
A tile is cut in strips of k rows. Within a strip, columns join pairwise in a tree, so that most products
are small; the strips then join from top to bottom. Elements of `H` that are tiny beside their neighbours
keep their relative precision: through-lines carry their deviation from the identity, and diagonals that
are sums of the other elements, by Kirchhoff's law, are put together from them.
"""

import math

import jax
import jax.numpy as jnp

from hwmodels.crossbar._inverse import inverse, laplacian_inverse, with_row_sums

_STRIP = 8
_LEAF = 2
# What one chunk of conductances takes: on a processor, about a hundredth of what its solution takes.
_CHUNK_BYTES = {"cpu": 2**17, "gpu": 2**26}
_CHUNKS_KEPT = 32


def transposed(matrix):
    return jnp.swapaxes(matrix, -1, -2)


def transfer(G, resistances):
    """Row voltages to sense currents: G_eff of tiles (tiles, rows, columns).

    `resistances` are finite: driver, row, column, sense. Tiles are solved in chunks that stay in the cache
    of a processor or fill an accelerator. Where there are many, their derivative repeats the solution
    instead of keeping it, so that memory stays bounded.
    """
    tiles = G.shape[0]
    if tiles == 0:
        return G
    held = _CHUNK_BYTES.get(jax.default_backend(), _CHUNK_BYTES["gpu"])
    chunks = math.ceil(tiles / max(1, held // (G[0].size * G.dtype.itemsize)))
    if chunks == 1:
        return _transfer(G, resistances)
    each = math.ceil(tiles / chunks)
    padded = jnp.pad(G, ((0, chunks * each - tiles), (0, 0), (0, 0)))
    solve = _transfer if chunks <= _CHUNKS_KEPT else jax.checkpoint(_transfer)
    found = jax.lax.map(lambda chunk: solve(chunk, resistances), padded.reshape(chunks, each, *G.shape[1:]))
    return found.reshape(padded.shape)[:tiles]


def _transfer(G, resistances):
    _, _, column, sense = resistances
    tiles, rows, columns = G.shape
    k = min(_STRIP, rows)
    # Open devices above the first row change nothing: no current enters there.
    padding = -rows % k
    G = jnp.pad(G, ((0, 0), (padding, 0), (0, 0)))
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

    start = (
        jnp.zeros((tiles, columns, columns), G.dtype),
        jnp.zeros((tiles, columns, rows + padding), G.dtype),
    )
    (admittance, source), _ = jax.lax.scan(step, start, (*strips, jnp.arange(strips[0].shape[0])))
    closed = laplacian_inverse(eye + sense * admittance, 1 + sense * source.sum(-1))
    return transposed(closed @ source)[:, padding:, :]


def _strips(G, resistances, k):
    """Strips of k rows with their drivers, as seen from the column wires above and below.

    **Returns:** with a leading axis of strips: impedance (top), `1 −` voltage transfer (bottom to top),
    admittance (bottom), and what the sources do to the top voltage and to the bottom current.
    """
    driver, row, column, _ = resistances
    tiles, rows, columns = G.shape
    q = math.gcd(_LEAF, columns)
    blocks = _leaves(G.reshape(tiles, rows // k, k, columns // q, q).transpose(1, 0, 3, 2, 4), row, column)
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
    # Leaf by leaf its top ends, then its bottom ends.
    ends = ends.reshape(*ends.shape[:2], columns // q, 2, q, columns // q, 2, q)
    sources = sources.reshape(*sources.shape[:2], k, columns // q, 2, q)

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


def _leaves(G, row, column):
    """Blocks of k×q devices: ends (k left, q top, q bottom, k right).

    `i = (1 + D·R)⁻¹·D·e`: the currents of the devices D, of which `e` drives each through the wires R that
    it shares with the others.
    """
    *batch, k, q = G.shape
    dtype = G.dtype
    across = jnp.arange(q).astype(dtype)
    below = (k - 1 - jnp.arange(k)).astype(dtype)
    rows, columns = jnp.eye(k, dtype=dtype), jnp.eye(q, dtype=dtype)
    along_row = rows[:, None, :, None] * jnp.minimum(across[:, None], across)[None, :, None, :]
    along_column = columns[None, :, None, :] * jnp.minimum(below[:, None], below)[:, None, :, None]
    line = (row * along_row + column * along_column).reshape(k * q, k * q)
    devices = G.reshape(*batch, k * q)
    currents = inverse(jnp.eye(k * q, dtype=dtype) + devices[..., None] * line) * devices[..., None, :]

    each_row = jnp.broadcast_to(rows[:, None, :], (k, q, k))
    each_column = jnp.broadcast_to(columns[None, :, :], (k, q, q))
    top, bottom = -column * below[:, None, None] * each_column, -each_column
    drive = jnp.concatenate(
        [
            each_row,
            top,
            bottom,
            row * across[:, None] * each_row,
        ],
        axis=-1,
    ).reshape(k * q, 2 * k + 2 * q)
    # The wires alone: what enters at one end leaves at the other.
    through = jnp.array([[-(k - 1), 0], [0, 0]], dtype) * column + jnp.array([[0, -1], [-1, 0]], dtype)
    middle = (through[:, None, :, None] * columns[None, :, None, :]).reshape(2 * q, 2 * q)
    none = jnp.zeros((k, 2 * q), dtype)
    wires = jnp.block(
        [[0 * rows, none, -rows], [none.T, middle, none.T], [-rows, none, -(q - 1) * row * rows]]
    )
    return transposed(currents @ drive) @ drive + wires


def _join(left, right, k, wire):
    """Two blocks side by side: the k right ends of one, a wire segment each, the k left ends of the other."""
    return _joined(left, right, wire, k)[0]


def _joined(left, right, wire, k):
    eye = jnp.eye(k, dtype=left.dtype)
    admittance = right[..., :k, :k]
    impedance = wire * eye - left[..., -k:, -k:]
    to_left = left[..., -k:, :-k]
    to_right = right[..., :k, k:]
    share = inverse(eye + impedance @ admittance)
    of_left = share @ to_left
    of_right = transposed(share) @ to_right
    current, voltage = admittance @ of_left, impedance @ of_right
    upper = transposed(to_left) @ jnp.concatenate([current, -of_right], axis=-1)
    corner = right[..., k:, k:] - transposed(to_right) @ voltage
    n = to_left.shape[-1]
    whole = jnp.concatenate(
        [
            jnp.concatenate([left[..., :-k, :-k] + upper[..., :n], upper[..., n:]], axis=-1),
            jnp.concatenate([transposed(upper[..., n:]), corner], axis=-1),
        ],
        axis=-2,
    )
    return whole, (of_left, voltage, current, of_right)


def _join_forward(left, right, k, wire):
    return _joined(left, right, wire, k)


def _join_adjoint(k, fields, cotangent):
    """Derivatives from the voltages and currents at the joint, one for each end of the whole.

    The form `½·xᵀ·H·x` of a block is stationary in what was eliminated, so its change is the change of its
    parts at fixed fields W: `dH = [1 W]ᵀ·d(parts)·[1 W]`.
    """
    of_left, voltage, current, of_right = fields
    n = of_left.shape[-1]
    voltage = -jnp.concatenate([of_left, voltage], axis=-1)
    current = jnp.concatenate([-current, of_right], axis=-1)
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
