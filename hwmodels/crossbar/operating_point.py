"""Node voltages, device currents and power of a tile under given inputs: what heat maps show."""

import functools
import operator

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hwmodels.crossbar._inverse import inverse, with_exact_products
from hwmodels.crossbar.circuit import Wires, checked
from hwmodels.ranges import require, require_traced

_OPEN = (
    "operating_point needs finite resistances, since nodes behind an infinite one may float; take a great "
    "one, like 1e9 ohm in float64; got driver, row, column, sense = {}, {}, {}, {}."
)


def _is_closed(*resistances):
    return functools.reduce(operator.and_, (resistance != float("inf") for resistance in resistances))


def require_closed(wires: Wires) -> None:
    """An error, unless traced, for an infinite resistance."""
    require(_is_closed, _OPEN, *_resistances(wires))


def _resistances(wires):
    return wires.driver, wires.row, wires.column, wires.sense


class OperatingPoint(eqx.Module):
    """The state of a tile that is driven by row voltages V.

    **Arguments:**

    - `row_voltages`, `column_voltages`: of the row and the column node at every device, in volt.
    - `device_currents`: from row node to column node, in ampere.
    - `output_currents`: into the sense resistors, `I = G_effᵀ·V`, in ampere.
    - `power_w`: drawn from the sources, `Σ_i V_i·I_i`, in watt.
    - `device_power_w`: dissipated in each device, in watt; the rest of `power_w` heats the wires.
    """

    row_voltages: Float[Array, "*batch rows columns"]
    column_voltages: Float[Array, "*batch rows columns"]
    device_currents: Float[Array, "*batch rows columns"]
    output_currents: Float[Array, "*batch columns"]
    power_w: Float[Array, "*batch"]
    device_power_w: Float[Array, "*batch rows columns"]


def operating_point(
    G: Float[Array, "rows columns"], voltages: Float[Array, "*batch rows"], wires: Wires | None = None
) -> OperatingPoint:
    """Solves one tile for given row voltages.

    **Arguments:**

    - `G`: device conductances in siemens, shape (rows, columns).
    - `voltages`: of the row sources, in volt, shape (..., rows).
    - `wires`: the parasitic resistances; default [`Wires`][]`()`.

    **Returns:** an [`OperatingPoint`][].

    **Raises:** as [`effective_conductance`][]; `ValueError` for more tiles than one, and if `voltages` does
    not have one value per row; an error, also under `jit`, for an infinite resistance, whose nodes may float.
    """
    wires = Wires() if wires is None else wires
    require_closed(wires)
    if jnp.ndim(G) != 2:
        raise ValueError(
            f"an operating point is that of one tile, shape (rows, columns), got {jnp.shape(G)}; for more "
            "tiles use jax.vmap."
        )
    G, wired = checked(G, wires)
    G = require_traced(G, _is_closed, _OPEN.partition("; got")[0], *_resistances(wires))
    voltages = jnp.asarray(voltages).astype(G.dtype)
    rows, _ = G.shape
    if voltages.shape[-1:] != (rows,):
        raise ValueError(
            f"a tile of {rows} rows needs voltages of shape (..., {rows}), got {voltages.shape}."
        )
    return _solve(G, voltages, wired)


@jax.jit
@with_exact_products
def _solve(G, voltages, resistances):
    """Block elimination row by row: what lies above a row looks, from that row, like `J = s − Y·v`."""
    driver, row, column, sense = resistances
    rows, columns = G.shape
    position = jnp.arange(columns)
    line = driver + row * jnp.minimum(position[:, None], position).astype(G.dtype)
    identity = jnp.eye(columns, dtype=G.dtype)
    # i = D·(V − R·i − v) on each row, D the devices and R the row line seen from them.
    row_admittance = inverse(identity + G[:, :, None] * line) * G[:, None, :]
    sources = row_admittance.sum(-1)[:, :, None] * voltages.reshape(-1, rows).T[:, None, :]

    def add_row(carry, inputs):
        admittance, source = carry
        below = inverse(identity + column * admittance) @ jnp.concatenate([admittance, source], axis=1)
        admittance, source = below[:, :columns], below[:, columns:]
        return (admittance + inputs[0], source + inputs[1]), (admittance, source)

    start = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), (row_admittance, sources))
    (admittance, source), above = jax.lax.scan(add_row, start, (row_admittance, sources))
    currents = inverse(identity + sense * admittance) @ source

    def back(voltage, inputs):
        admittance, source = inputs
        return voltage + column * (source - admittance @ voltage), voltage

    _, column_voltages = jax.lax.scan(back, sense * currents, above, reverse=True)
    drop = voltages.reshape(-1, rows).T[:, None, :] - column_voltages
    device_currents = row_admittance @ drop
    row_voltages = voltages.reshape(-1, rows).T[:, None, :] - line @ device_currents

    def batched(field):
        return jnp.moveaxis(field, -1, 0).reshape(*voltages.shape[:-1], *field.shape[:-1])

    row_voltages, column_voltages, device_currents = map(
        batched, (row_voltages, column_voltages, device_currents)
    )
    return OperatingPoint(
        row_voltages=row_voltages,
        column_voltages=column_voltages,
        device_currents=device_currents,
        output_currents=batched(currents),
        power_w=jnp.sum(voltages * device_currents.sum(-1), axis=-1),
        device_power_w=device_currents * (row_voltages - column_voltages),
    )
