"""Effective conductances between exact solutions: cheap, and exact where they were expanded.

The circuit's answer changes slowly with its conductances, so a solution serves many draws of the devices
and many small changes of the weights. Both classes are `solve=` arguments of [`hwmodels.crossbar.deploy`][];
neither has a derivative to the wires, nor to the conductances that it was expanded at.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hwmodels.checks import jit_with_checks
from hwmodels.crossbar._inverse import with_exact_products
from hwmodels.crossbar.circuit import Wires, effective_conductance
from hwmodels.crossbar.operating_point import operating_point, require_closed


class Reused(eqx.Module):
    """Every device keeps the attenuation that it had at G₀: `G_eff(G) ≈ G_eff(G₀) + a∘(G − G₀)`.

    `a = G_eff(G₀)/G₀`, and for devices that were open the mean of their tile. A device's effect on its
    neighbours is left out, so the error is of first order in `G − G₀`, and the gradient has one already at
    G₀: on a 64×64 tile with the default wires, for normal cotangents, its cosine with the exact one is 0.93
    and its norm 2.3 times as large (`experiments/results/benchmark_noise_aware.json`).

    **Arguments:**

    - `point`, `effective`: G₀ and G_eff(G₀), siemens.
    - `attenuation`: a, dimensionless.
    """

    point: Float[Array, "tiles rows columns"]
    effective: Float[Array, "tiles rows columns"]
    attenuation: Float[Array, "tiles rows columns"]

    @staticmethod
    def at(G: Float[Array, "tiles rows columns"], wires: Wires) -> "Reused":
        """Expanded at `G`, by one exact solution."""
        G, wires = jax.lax.stop_gradient((G, wires))
        effective = effective_conductance(G, wires)
        total = G.sum((-2, -1), keepdims=True)
        mean = effective.sum((-2, -1), keepdims=True) / jnp.where(total > 0, total, 1)
        return Reused(G, effective, jnp.where(G > 0, effective / jnp.where(G > 0, G, 1), mean))

    def __call__(
        self, G: Float[Array, "tiles rows columns"], wires: Wires
    ) -> Float[Array, "tiles rows columns"]:
        return self.effective + self.attenuation * (G - self.point)


class Linearised(eqx.Module):
    """The tangent: `G_eff,ij(G) ≈ G_eff,ij(G₀) + Σ_mn x_i,mn·y_j,mn·(G − G₀)_mn`.

    By Tellegen's theorem, x_i is the voltage across each device while source i is at one volt, and y_j the
    voltage across it, from column to row, while the end of sense resistor j is. The error is of second
    order in `G − G₀`, that of the gradient of first order. Holds rows·columns·(rows + columns) numbers for
    each tile: 2 MiB at 64×64 in float32.

    **Arguments:**

    - `point`, `effective`: G₀ and G_eff(G₀), siemens.
    - `by_source`, `by_sense`: x and y, dimensionless.

    **Raises:** as [`operating_point`][], for infinite resistances.
    """

    point: Float[Array, "tiles rows columns"]
    effective: Float[Array, "tiles rows columns"]
    by_source: Float[Array, "tiles rows rows columns"]
    by_sense: Float[Array, "tiles columns rows columns"]

    @staticmethod
    def at(G: Float[Array, "tiles rows columns"], wires: Wires) -> "Linearised":
        """Expanded at `G`, by one exact solution and the fields of every source and every sense resistor."""
        require_closed(wires)
        G, wires = jax.lax.stop_gradient((G, wires))
        return Linearised(G, effective_conductance(G, wires), *_fields(G, wires))

    def __call__(
        self, G: Float[Array, "tiles rows columns"], wires: Wires
    ) -> Float[Array, "tiles rows columns"]:
        return self.effective + _change(self.by_source, self.by_sense, G - self.point)


@jax.jit
@with_exact_products
def _change(by_source, by_sense, difference):
    def change(tile):
        by_source, by_sense, difference = tile
        return jnp.einsum("imn,mn,jmn->ij", by_source, difference, by_sense)

    # Tile by tile, whose products stay in a core's cache.
    return jax.lax.map(change, (by_source, by_sense, difference))


@jit_with_checks
def _fields(G, wires):
    # Seen from the sense resistors a tile is a tile again: columns are rows, and the far corner is near.
    mirrored = Wires(driver=wires.sense, row=wires.column, column=wires.row, sense=wires.driver)
    return jax.lax.map(
        lambda tile: (_across(tile, wires), _mirror(_across(_mirror(tile), mirrored)[::-1])), G
    )


def _across(G, wires):
    """The voltage across each device for one volt at each source, shape (rows, rows, columns)."""
    found = operating_point(G, jnp.eye(len(G), dtype=G.dtype), wires)
    return found.row_voltages - found.column_voltages


def _mirror(array):
    return jnp.swapaxes(array, -1, -2)[..., ::-1, ::-1]
