"""Elimination of a tile's network row by row, which holds for any resistance.

The tile is walked through from its top row down to its sense resistors. Of what lies above, only the ends of
the column wires are left, as a mesh: a conductance W between each two of them and S between each of them and
each source. A row adds to it what its wire joins. A further segment of r ohm before every end divides by

    D = 1 + r·d, the d of an end the sum of its conductances,    P = (D − r·W)⁻¹
    W ← W − W·(1 − 1/(D·Dᵀ)) + r·D⁻¹·W·P·W·D⁻¹,    S ← S − S·(1 − 1/D) + r·D⁻¹·W·P·S

All terms but the losses, which are sums of positive ones, are positive, and P is the inverse of an M-matrix.
As long as r·d is at most one, no element loses more than its last bit or two, however small it is (after
Grassmann, Taksar & Heyman, Operations Research 33, 1985). Greater resistances are walked through in pieces:
behind r ohm no d is above 1/r, so that each piece may be as long as all before. Zero and open resistances
need no care.
"""

import jax
import jax.numpy as jnp

from hwmodels.crossbar._inverse import inverse
from hwmodels.crossbar._row import Line, impedances


def eliminate(G, resistances, line):
    """G_eff of tiles (tiles, rows, columns), for any conductances and finite resistances.

    `line` is from [`hwmodels.crossbar._row.recurrences`][].

    **Returns:** it, and the currents into the sense resistors (rows) for one volt at the end of each.
    """
    tiles, rows, _ = G.shape
    volts = jnp.broadcast_to(jnp.eye(rows, dtype=G.dtype)[:, None], (rows, tiles, rows))
    mesh, _ = _down(resistances, volts, _wires(G, line))
    admittance, driven = _currents(mesh)
    return driven.mT, -admittance


def eliminate_adjoint(G, resistances, line, _found, _current, cotangent):
    """The derivatives of `sum(found·cotangent)` to the conductances and to the resistances.

    The cotangents of currents and voltages obey the circuit's own equations, with the cotangents of G_eff as
    source voltages. The derivative to a conductance is minus the product of the voltages across it in both
    fields, to a resistance the product of the currents through it, summed over the fields: one for a volt at
    each sense end.
    """
    rows, columns = G.shape[1:]
    volts, wires = jnp.moveaxis(cotangent, 1, 0), _wires(G, line)
    _, above = _down(resistances, volts, wires)
    others = ((0, 0), (0, 0), (columns, 0))

    def power(field):
        return jnp.sum(field[..., :columns] * field[..., columns:], axis=-1)

    def up(voltage, inputs):
        # Both kinds of fields side by side.
        mesh, ohm, volts, (devices, impedance, from_source) = inputs
        source = jnp.pad(from_source[..., None] * volts[:, None], others)
        drop = voltage - source - impedance @ (devices[..., None] * voltage)
        along = jnp.triu(jnp.ones_like(impedance[0])) @ (devices[..., None] * drop)
        admittance, driven = _currents(mesh)
        current = jnp.pad(driven, others) - admittance @ voltage
        return voltage + ohm * current, (-power(drop), power(along), power(current))

    ends = jnp.broadcast_to(
        jnp.eye(above.shape[2], 2 * columns, dtype=G.dtype), (*above.shape[1:3], 2 * columns)
    )
    inputs = (above, _ohms(resistances, rows), _with_none(volts), wires)
    _, (by_device, along, by_wire) = jax.lax.scan(up, ends, inputs, reverse=True)
    by_device = jnp.moveaxis(by_device[:-1], 0, 1)
    by_driver, by_sense = along[..., 0].sum(), by_wire[-1].sum()
    return by_device, jnp.stack([by_driver, along.sum() - by_driver, by_wire.sum() - by_sense, by_sense])


@jax.jit
def _down(resistances, volts, wires):
    """The mesh of the ends of the sense resistors, for sources at volts (rows, tiles, fields).

    Each end's conductances to all ends, their sum to sources, and what the sources drive into it while ends
    are grounded. Also that above each row and, last, that of the ends.
    """
    devices, *_ = wires
    tiles, width = devices.shape[1:]
    eye = jnp.eye(width, dtype=bool)

    def add_row(mesh, inputs):
        ohm, volts, (devices, impedance, from_source) = inputs
        mesh = _behind(mesh, ohm)
        joined = jnp.where(eye, 0, devices[..., :, None] * impedance * devices[..., None, :])
        given = jnp.pad(volts, ((0, 0), (1, 0)), constant_values=1)
        given = (devices * from_source)[..., None] * given[:, None]
        return mesh + jnp.concatenate([joined, given], axis=-1), mesh

    start = jnp.zeros((tiles, width, width + 1 + volts.shape[-1]), devices.dtype)
    ohms = _ohms(resistances, len(volts))
    return jax.lax.scan(add_row, start, (ohms, _with_none(volts), wires))


def _ohms(resistances, rows):
    """Of the segments above each row and of the sense resistors, which end below a last row of nothing."""
    _, _, column, sense = resistances
    return jnp.where(jnp.arange(rows + 1) < rows, column, sense)


def _with_none(volts):
    return jnp.pad(volts, ((0, 1), (0, 0), (0, 0)))


@jax.jit
def _wires(G, line):
    """The row wires, a row of nothing below the last row."""
    line = Line(*(jnp.pad(part, ((0, 0), (0, 1), (0, 0))) for part in line))
    return impedances(jnp.pad(G, ((0, 0), (0, 1), (0, 0))), line)


def _currents(mesh):
    """Those into ends as admittances to the voltages of ends, and as driven by sources."""
    width = mesh.shape[-2]
    own = mesh[..., : width + 1].sum(-1, keepdims=True)
    return jnp.eye(width, dtype=mesh.dtype) * own - mesh[..., :width], mesh[..., width + 1 :]


@jax.jit
def _behind(mesh, ohm):
    """The mesh of ends behind a further segment each."""
    width, fields = mesh.shape[-2:]
    eye = jnp.eye(width, fields, dtype=bool)

    def piece(state):
        left, mesh, _ = state
        degrees = mesh[..., : width + 1].sum(-1, keepdims=True)
        # Without any conductance, all of it; how it is cut is no matter of derivatives.
        longest = 1 / jax.lax.stop_gradient(degrees).max()
        here = jnp.where(left <= longest, left, longest)
        excess = here * degrees
        # Sources have no segment.
        other = jnp.pad(excess.mT, ((0, 0), (0, 0), (0, fields - width)))
        between = here * mesh[..., :width]
        P = inverse(jnp.where(eye[:, :width], 1 + excess, -between))
        added = between @ (P @ (mesh / (1 + other))) / (1 + excess)
        lost = (excess + other + excess * other) / ((1 + excess) * (1 + other))
        return left - here, jnp.where(eye, 0, mesh + (added - mesh * lost)), False

    # Once at least: no resistance changes nothing, but a derivative to it follows from a piece.
    return jax.lax.while_loop(lambda state: (state[0] > 0) | state[2], piece, (ohm, mesh, True))[1]
