"""The resistive network of a crossbar tile, and the matrix that it is to its inputs."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hwmodels.checks import first_error_if
from hwmodels.crossbar._inverse import with_exact_products
from hwmodels.crossbar._memory import require_memory
from hwmodels.crossbar._transfer import transfer
from hwmodels.ranges import require

_BAD = (
    "crossbar: a device conductance is negative, NaN or infinite; conductances are in siemens, zero (open) "
    "or more.",
    "crossbar: a wire resistance is negative or NaN; resistances are in ohm, zero or more.",
)

Resistance = float | int | Float[Array | np.ndarray, ""]


class Wires(eqx.Module):
    """The parasitic resistances of a tile.

    `V_i – driver – row node (i, 0) – row – (i, 1) …`; the device (i, j) joins row node and column node;
    `column node (0, j) – column – (1, j) – … – (rows−1, j) – sense – ground`. No wire lies before the first
    row node nor after the last column node.

    **Arguments:** each in ohm, zero or more; zero joins the nodes, infinity cuts them.

    - `driver`: source resistance of each row.
    - `row`: one segment of a row wire, between neighbouring columns.
    - `column`: one segment of a column wire, between neighbouring rows.
    - `sense`: from the last node of each column to ground.

    **Raises:** `ValueError` for a resistance that is negative, NaN or no scalar; traced values are checked
    where they are used.

    Defaults: Bhattacharjee et al., "Examining the robustness of SNNs on non-ideal memristive crossbars",
    section IV-B.
    """

    driver: Resistance = 1e3
    row: Resistance = 5.0
    column: Resistance = 10.0
    sense: Resistance = 1e3

    def __check_init__(self):
        for name in ("driver", "row", "column", "sense"):
            value = getattr(self, name)
            if jnp.ndim(value):
                raise ValueError(
                    f"Wires.{name} is one resistance, the same for all tiles, got shape {jnp.shape(value)}; "
                    "for wires that differ, use jax.vmap."
                )
            message = f"Wires.{name} is a resistance in ohm and must be zero or more, got {{}}."
            require(lambda resistance: resistance >= 0, message, value)


@with_exact_products
def effective_conductance(
    G: Float[Array, "*batch rows columns"], wires: Wires | None = None
) -> Float[Array, "*batch rows columns"]:
    """The matrix that a programmed tile is to its inputs, parasitics included.

    The network is linear, so the currents into the sense resistors are `I = G_effᵀ·V` for any row voltages V.
    It is differentiated both ways: backwards by one solution of the adjoint network (`jax.grad`), forwards by
    the solver's own derivative (`jax.jvp`), and both for `jax.hessian`.

    **Arguments:**

    - `G`: device conductances in siemens, zero or more (zero is an open device), shape (..., rows, columns).
    - `wires`: the parasitic resistances; default [`Wires`][]`()`.

    **Returns:** G_eff in siemens, of the shape and dtype of `G`.

    **Raises:** `ValueError` for fewer than two axes, another dtype than float32 and float64, and a tile
    larger than memory; an error, also under `jit`, for a negative or non-finite conductance and for a
    negative or NaN resistance.
    """
    G, resistances = checked(G, wires)
    return transfer(G.reshape(-1, *G.shape[-2:]), resistances).reshape(G.shape)


def checked(G: Array, wires: Wires | None) -> tuple[Array, Array]:
    """The circuit as finite conductances and resistances (driver, row, column, sense), or an error."""
    wires = Wires() if wires is None else wires
    G = jnp.asarray(G)
    if G.ndim < 2 or 0 in G.shape[-2:]:
        raise ValueError(
            f"G holds the conductances of tiles, shape (..., rows, columns) with at least one row and one "
            f"column; got shape {G.shape}."
        )
    if G.dtype not in (jnp.float32, jnp.float64):
        raise ValueError(f"G must be float32 or float64, in which circuits are solved, got {G.dtype}.")
    rows, columns = G.shape[-2:]
    require_memory(rows, columns, G.dtype)
    resistances = (wires.driver, wires.row, wires.column, wires.sense)
    bad, circuit = _without_cuts(G, resistances)
    return first_error_if(circuit, bad, _BAD)


@jax.jit
def _without_cuts(G, resistances):
    """What is wrong, and the same circuit without infinite resistances.

    What they cut off carries as little as open devices.
    """
    resistances = jnp.stack([jnp.asarray(r).astype(G.dtype) for r in resistances])
    # NaN is neither: the least of numbers with one among them is NaN.
    bad = ~((G.min(initial=0) >= 0) & (G.max(initial=0) < jnp.inf)), ~(resistances.min() >= 0)
    rows, columns = G.shape[-2:]
    cut = jnp.isinf(resistances)
    first = (jnp.arange(columns) == 0)[None, :]
    last = (jnp.arange(rows) == rows - 1)[:, None]
    connected = (first | ~cut[1]) & (last | ~cut[2]) & ~cut[0] & ~cut[3]
    return bad, (jnp.where(connected, G, 0), jnp.where(cut, 0, resistances))
