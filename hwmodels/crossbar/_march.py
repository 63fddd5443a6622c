"""The circuit solved by marching from row to row: few operations, for tiles in which fields hardly grow.

The fields are those of a voltage at the top node of each column, sources grounded. Down a column, with the
currents J of its wire and the device currents `i = g∘drop` of a row:

    v ← v − column·J,    J ← J − i(v)

At the bottom `v − sense·J = M` has to be the given voltages at the ends of the sense resistors, so the fields
of one volt at each are those of the march times `M⁻¹`; what they drive into the drivers is, by reciprocity,
G_eff. Rounding grows with the fields, like `cosh(rows·√(column·g))`; [`hold`][] says when that is little.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from hwmodels.crossbar._inverse import inverse
from hwmodels.crossbar._row import response, row_wires

_BLOCK = 8


class _Limits(NamedTuple):
    """Up to which values the elementwise error was found to stay below half of what is promised.

    - `growth`: `rows²·column·g_max`.
    - `spread`: `g_max/g_min` among the devices of rows and columns in use, times the growth if above one.
    - `floating`: `g_max·min(columns·driver, rows·sense)`; above it both ends hardly hold the potential.
    - `fading`: `columns²·row·g_max`, more than twice the logarithm of the loss along a row wire.
    """

    growth: float
    spread: float
    floating: float
    fading: float


_LIMITS = {"float32": _Limits(9.0, 400.0, 30.0, 100.0), "float64": _Limits(100.0, 1e6, 1e3, 100.0)}

# Resistance of a row wire as a share of all that its current meets, from which on its derivative was found to
# have three digits at the least (float32; four to five as a rule) or ten.
_LEAST_IN_ROWS = {"float32": 0.05, "float64": 3e-4}


def hold(G, resistances):
    """Whether all tiles (..., rows, columns) can be solved by marching to full precision.

    One answer also for a mapped batch: a condition that differs between its members would run both branches.
    """
    # An answer has no derivative, and JAX cannot map one of a function with a rule for mapping that calls it.
    return _hold(*jax.lax.stop_gradient((G, resistances)))


@jax.custom_batching.custom_vmap
def _hold(G, resistances):
    limits = _LIMITS[G.dtype.name]
    driver, row, column, sense = jnp.moveaxis(resistances, -1, 0)
    rows, columns = G.shape[-2:]
    of_rows, of_columns = G.max(-1, keepdims=True), G.max(-2, keepdims=True)
    greatest = of_rows.max((-2, -1))
    least = jnp.where((of_rows > 0) & (of_columns > 0), G, jnp.inf).min((-2, -1))
    growth = rows**2 * column * greatest
    floating = greatest * jnp.minimum(columns * driver, rows * sense)
    spread = greatest * jnp.maximum(growth, 1)
    return jnp.all(
        (growth <= limits.growth)
        & (spread <= limits.spread * least)
        & (floating <= limits.floating)
        & (columns**2 * row * greatest <= limits.fading)
    )


@_hold.def_vmap
def _hold_for_all(size, mapped, G, resistances):
    G_mapped, resistances_mapped = mapped
    G = G if G_mapped else G[None]
    resistances = resistances if resistances_mapped else resistances[None]
    # Behind the mapped axis, one for each batch axis that only the tiles have.
    missing = G.ndim - 1 - resistances.ndim
    return _hold(G, jnp.expand_dims(resistances, tuple(range(1, 1 + missing)))), False


def march(G, resistances, line):
    """G_eff of tiles (tiles, rows, columns) if [`hold`][] is true, and what [`adjoint`][] starts from.

    That is the currents into the sense resistors (rows) for one volt at the end of each (columns).
    """
    _, _, column, sense = resistances
    tiles, _, columns = G.shape
    wires = row_wires(G, line, min(_BLOCK, columns))
    blocks, size = wires.devices.shape[-2:]
    tops = jnp.eye(blocks * size, columns, dtype=G.dtype).reshape(blocks, size, columns)
    tops = jnp.broadcast_to(tops, (tiles, *tops.shape))

    def down(state, wire):
        voltage, current = state
        voltage = voltage - column * current
        node, into_driver = response(wire, voltage)
        return (voltage, current - wire.devices[..., None] * (voltage - node)), into_driver

    (voltage, current), into_drivers = jax.lax.scan(down, (tops, jnp.zeros_like(tops)), wires)
    voltage, current = (field.reshape(tiles, -1, columns)[:, :columns] for field in (voltage, current))
    combination = inverse(voltage - sense * current)
    return jnp.moveaxis(into_drivers, 0, 1) @ combination, current @ combination


def adjoint_holds(G, resistances):
    """Whether [`adjoint`][] has the derivative to the row wires: the power in them is a difference.

    It must not be next to nothing beside that in drivers, devices and column wires.
    """
    driver, row, column, _ = resistances
    columns = G.shape[-1]
    in_row = columns * row
    # Multiplied out: without devices nothing is divided by zero.
    devices = columns * G.max()
    return in_row * devices > _LEAST_IN_ROWS[G.dtype.name] * (
        1 + devices * (driver + in_row + columns * column)
    )


def adjoint(G, resistances, line, found, current, cotangent):
    """A march upwards of the fields of one volt at each sense end, beside those with sources at the drivers.

    As in [`hwmodels.crossbar._elimination.eliminate_adjoint`][], but for the row wires, whose derivative
    follows from power (Tellegen): what the sense resistors deliver is spent in column wires, devices, row
    wires and drivers. So two sums over the fields in each row are all that it takes.
    """
    driver, row, column, sense = resistances
    tiles, _, columns = G.shape
    size = min(_BLOCK, columns)

    def in_blocks(field):
        return jnp.pad(field, ((0, 0), (0, -columns % size), (0, 0))).reshape(tiles, -1, size, columns)

    # The two kinds of fields lie apart: side by side in one array, sums over their products take strides.
    other_current = in_blocks(found.mT @ cotangent)
    voltage = in_blocks(jnp.eye(columns, dtype=G.dtype) + sense * current)
    current = in_blocks(current)
    by_sense = jnp.sum(current * other_current)
    delivered = -jnp.sum(voltage * other_current)

    def up(state, inputs):
        voltage, current, other_voltage, other_current = state
        wire, source = inputs
        node, driven = response(wire, voltage)
        other_node, other_driven = response(wire, other_voltage, source)
        by_driver = driven * (other_driven - wire.own[..., None] * source)
        drop, other_drop = voltage - node, other_voltage - other_node
        by_device = -jnp.einsum("tbcf,tbcf->tbc", drop, other_drop)
        current = current + wire.devices[..., None] * drop
        other_current = other_current + wire.devices[..., None] * other_drop
        by_column = jnp.einsum("tbcf,tbcf->t", current, other_current)
        state = voltage + column * current, current, other_voltage + column * other_current, other_current
        return state, (by_device, by_driver, by_column)

    start = (voltage, current, sense * other_current, other_current)
    inputs = (row_wires(G, line, size), jnp.moveaxis(cotangent, 1, 0))
    _, (by_device, by_driver, by_column) = jax.lax.scan(up, start, inputs, reverse=True)
    by_device = jnp.moveaxis(by_device, 0, 1).reshape(*G.shape[:2], -1)[..., :columns]
    # Above the first row no current is left.
    by_driver, by_column = by_driver.sum(), by_column[1:].sum()
    in_devices = -jnp.sum(G * by_device)
    by_row = (delivered - column * by_column - in_devices - driver * by_driver) / row
    return by_device, jnp.stack([by_driver, by_row, by_column, by_sense])
