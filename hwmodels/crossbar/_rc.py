"""A tile's network with capacitors, eliminated row by row, at one complex frequency.

Row nodes u, column nodes v, devices of admittance y, capacitors of admittance p at each row node and q at
each column node. On a row at V, with `line` the resistances that two of its nodes share with the source,

    u = V − line·((y + p)∘u − y∘v),   A = 1 + line·diag(y + p),   u = A⁻¹·(V + line·(y∘v)).

What lies above a row looks from its column nodes like `J = s − Y·v`. Written in resistances, as
[`hwmodels.crossbar.operating_point`][] is: zero resistances need no care, and float32 keeps its digits. The
leading minors that the inverses meet are determinants of parts of the network, which vanish at real negative
frequencies alone.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from hwmodels.crossbar._inverse import inverse


class Eliminated(NamedTuple):
    """What stays of a tile's elimination.

    - `devices`: y, (rows, columns).
    - `reply`: `A⁻¹·line`, from currents into the nodes of a row to their voltages, columns grounded.
    - `reach`: `A⁻¹·1`, from the source to the nodes of its row.
    - `above`: of each row, the admittance Y of all rows above, before the segment of column.
    - `into`: from currents that arrive there to those behind the segment, `(1 + column·Y)⁻¹`.
    - `last`: `(1 + sense·Y)⁻¹` of the whole tile.
    - `column`, `sense`: ohm.
    """

    devices: Inexact[Array, "rows columns"]
    reply: Inexact[Array, "rows columns columns"]
    reach: Inexact[Array, "rows columns"]
    above: Inexact[Array, "rows columns columns"]
    into: Inexact[Array, "rows columns columns"]
    last: Inexact[Array, "columns columns"]
    column: Inexact[Array, ""]
    sense: Inexact[Array, ""]


def eliminated(G, resistances, capacitances, frequency) -> Eliminated:
    """Of one tile G (rows, columns).

    `resistances` are driver, row, column, sense; `capacitances` those of a row node, of a column node and
    across a device, in farad; `frequency` s, in 1/second, is real or complex, of the dtype wanted.
    """
    dtype = jnp.result_type(frequency)
    driver, row, column, sense = resistances.astype(dtype)
    row_farad, column_farad, device_farad = capacitances.astype(dtype)
    G = G.astype(dtype)
    columns = G.shape[-1]
    position = jnp.arange(columns)
    line = driver + row * jnp.minimum(position[:, None], position).astype(dtype)
    y = G + frequency * device_farad
    loads = y + frequency * row_farad
    identity = jnp.eye(columns, dtype=dtype)
    solved = inverse(identity + line * loads[:, None, :])
    reply, reach = solved @ line, solved.sum(-1)
    shunt = frequency * column_farad * identity
    own = identity * y[:, None, :] - y[:, :, None] * reply * y[:, None, :] + shunt

    def add_row(above, own):
        into = inverse(identity + column * above)
        here = above @ into + own
        return here, (above, into)

    start = jnp.zeros((columns, columns), dtype)
    whole, (above, into) = jax.lax.scan(add_row, start, own)
    return Eliminated(y, reply, reach, above, into, inverse(identity + sense * whole), column, sense)


def sensed(tile: Eliminated) -> Inexact[Array, "rows columns"]:
    """Currents into the sense resistors for one volt at each source alone."""

    def add_row(sent, row):
        into, own, index = row
        sent = sent @ into
        return sent.at[index].add(own), None

    rows = len(tile.devices)
    sources = tile.devices * tile.reach
    start = jnp.zeros((rows, sources.shape[-1]), sources.dtype)
    # Y is symmetric, so what acts on sources from the left acts on rows of them from the right, transposed.
    into = jnp.swapaxes(tile.into, -1, -2)
    sent, _ = jax.lax.scan(add_row, start, (into, sources, jnp.arange(rows)))
    return sent @ tile.last.T


def settled_by(tile: Eliminated, row_ampere, column_ampere):
    """Voltages of all nodes for currents into them, sources at zero: (rows, columns) each."""
    raised = jnp.einsum("rij,rj->ri", tile.reply, row_ampere)
    arriving = tile.devices * raised + column_ampere

    def add_row(sent, row):
        into, own = row
        behind = into @ sent
        return behind + own, sent

    start = jnp.zeros_like(arriving[0])
    sent, above = jax.lax.scan(add_row, start, (tile.into, arriving))
    current = tile.last @ sent

    def back(voltage, row):
        sent, admittance, into = row
        # The segment of column above this row carries what comes from there.
        return voltage + tile.column * (into @ (sent - admittance @ voltage)), voltage

    _, v = jax.lax.scan(back, tile.sense * current, (above, tile.above, tile.into), reverse=True)
    u = raised + jnp.einsum("rij,rj->ri", tile.reply, tile.devices * v)
    return u, v
