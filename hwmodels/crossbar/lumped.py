"""Effective conductances between exact solutions, by a model of each tile without wires inside."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hwmodels.crossbar._chunks import in_chunks
from hwmodels.crossbar._inverse import inverse, with_exact_products
from hwmodels.crossbar.circuit import Wires, checked, effective_conductance


class Lumped(eqx.Module):
    r"""An exact solution at G₀, and from there what a tile with all its resistance at its edges does.

    $G_\mathrm{eff}(G) ≈ a∘M(G)$ with $a = G_\mathrm{eff}(G_0)/M(G_0)$, M being the effective conductance of
    a tile whose wires are lumped: half of a row's resistance joins its driver, half of a column's its sense
    resistor (see [`lumped_conductance`][]). Unlike [`hwmodels.crossbar.expansion.Reused`][] it knows that
    devices of one row or column load each other, in the value and in the derivative. As there, nothing
    differentiates to G₀ or to the wires. Errors: the benchmark `noise_aware`.

    **Arguments:** `ratio`: a, dimensionless; for devices that were open the mean of their tile.
    """

    ratio: Float[Array, "tiles rows columns"]

    @staticmethod
    def at(G: Float[Array, "tiles rows columns"], wires: Wires) -> "Lumped":
        """Expanded at `G`, by one exact solution."""
        G, wires = jax.lax.stop_gradient((G, wires))
        effective, model = effective_conductance(G, wires), lumped_conductance(G, wires)
        connected, _ = checked(G, wires)
        total = model.sum((-2, -1), keepdims=True)
        mean = effective.sum((-2, -1), keepdims=True) / jnp.where(total > 0, total, 1)
        seen = connected > 0
        return Lumped(jnp.where(seen, effective / jnp.where(seen, model, 1), mean))

    def __call__(
        self, G: Float[Array, "tiles rows columns"], wires: Wires
    ) -> Float[Array, "tiles rows columns"]:
        return self.ratio * lumped_conductance(G, jax.lax.stop_gradient(wires))


def lumped_conductance(
    G: Float[Array, "tiles rows columns"], wires: Wires
) -> Float[Array, "tiles rows columns"]:
    r"""The effective conductance of tiles whose rows and columns are ideal wires behind one resistor each.

    With $D$ a row's and $S$ a column's resistor, Kirchhoff's law for rows at u and currents i out of columns,

    $$(1 + D\,ΣG)∘u = V + DS\,G\,i, \qquad (1 + S\,ΣG)∘i = G^\top u,$$

    is one system of as many unknowns as a tile has columns.

    **Arguments:** `G`: siemens; `wires`: ohm.

    **Returns:** siemens; I = G_eff.T @ V.

    **Raises:** as [`hwmodels.crossbar.effective_conductance`][].
    """
    rows, columns = G.shape[-2:]
    G, (driver, row, column, sense) = checked(G, wires)
    D, S = driver + row * (columns / 2), sense + column * (rows / 2)
    return _solved(G, D, S)


@jax.jit
def _solved(G, D, S):
    @with_exact_products
    def solved(G):
        from_rows = jnp.swapaxes(G / (1 + D * G.sum(-1, keepdims=True)), -1, -2)
        loads = jnp.eye(G.shape[-1], dtype=G.dtype) * (1 + S * G.sum(-2))[..., None, :]
        return jnp.swapaxes(inverse(loads - D * S * (from_rows @ G)) @ from_rows, -1, -2)

    return in_chunks(solved, (G,))
