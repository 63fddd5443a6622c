"""How far a column's current spreads when every device of its tile reads with noise of its own.

To first order in σ, with the relative changes ε of the devices (Tellegen's theorem),

    δI_j = σ·Σ_i G_ij·d_ij·y_ij·ε_ij

where d_ij is the voltage across the device and y_ij that voltage while only the end of sense resistor j is at
one volt. Solving the circuit for every input is too dear, so both are put together from single lines:

    d_ij ≈ κ_ij·V_i + (1 − κ_ij)·v̄_i − ρ_ij·I_j

with κ_ij the share of V_i that reaches node (i, j) of its row while the columns are grounded, ρ_ij·I_j the
voltage of the column's node at its known current I_j, and v̄_i the mean voltage of the columns that the row
sees, which lifts it. Left out are how the columns' voltages differ within a row, and the noise that devices
of other columns bring through the rows. Both are of the order of one over the tile's size.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hwmodels.crossbar.circuit import Wires, checked
from hwmodels.crossbar.laws import StateLaw


class ReadSpread(eqx.Module):
    """The variance of the currents per σ², `Σ_i w_ij²·(κ_ij·V_i − ρ_ij·(I_j − s_j·Ī))²`.

    Here `w = G·y`, or `law(G)·y` for noise that depends on the state, and Ī is the mean of the tile's
    currents; s_j is how far it lifts the rows.

    **Arguments:**

    - `squares`, `products`: `w²·κ²` in siemens², `w²·κ·ρ` in siemens.
    - `constants`: `Σ_i w²·ρ²`, dimensionless, one row.
    - `lift`, `share`: s_j, and the weight of each column in Ī, one row each.
    """

    squares: Float[Array, "*tiles rows columns"]
    products: Float[Array, "*tiles rows columns"]
    constants: Float[Array, "*tiles 1 columns"]
    lift: Float[Array, "*tiles 1 columns"]
    share: Float[Array, "*tiles 1 columns"]

    @staticmethod
    def of(G: Float[Array, "*tiles rows columns"], wires: Wires, law: StateLaw | None = None) -> "ReadSpread":
        """That of tiles of conductances `G`; `law` as for [`hwmodels.crossbar.ReadNoise`][]."""
        G, (driver, row, column, sense) = checked(G, wires)
        of_row = _over(G, G.sum(-1, keepdims=True))
        along_row = _along(G, driver, row)
        # A row is not quite at ground for the column that pulls it.
        seen = G * (1 - (1 - along_row) * of_row)
        along_column = _turned(_along(_turned(seen), sense, column))
        weight = seen * along_column
        ohm = _over(1 - along_column, weight.sum(-2, keepdims=True))
        if law is not None:
            weight = weight * _over(law(G), G)
        lifted = (1 - along_row) * jnp.sum(of_row * ohm, axis=-1, keepdims=True)
        products = weight**2 * along_row * ohm
        total = G.sum((-2, -1), keepdims=True)
        return ReadSpread(
            squares=(weight * along_row) ** 2,
            products=products,
            constants=jnp.sum((weight * ohm) ** 2, axis=-2, keepdims=True),
            lift=_over(
                jnp.sum(weight**2 * along_row * lifted, axis=-2, keepdims=True),
                products.sum(-2, keepdims=True),
            ),
            share=_over(G.sum(-2, keepdims=True), total),
        )

    def __call__(
        self, inputs: Float[Array, "vectors rows"], currents: Float[Array, "vectors columns"], width: int
    ) -> Float[Array, "vectors columns"]:
        """The variances per σ² of tiles side by side, each `width` columns, from their exact currents."""
        tiles = (len(currents), -1, width)
        mean = jnp.sum((currents * self.share).reshape(tiles), axis=-1, keepdims=True)
        own = currents - self.lift * jnp.broadcast_to(mean, (*mean.shape[:2], width)).reshape(currents.shape)
        found = inputs**2 @ self.squares + own * (own * self.constants - 2 * (inputs @ self.products))
        # A sum of squares, but for rounding.
        return jnp.maximum(found, 0)


def _along(G, first, segment):
    """The share of the voltage at the head of lines (last axis) that reaches their nodes, loads grounded."""
    loads = jnp.moveaxis(G, -1, 0)
    ohm = jnp.full(len(loads), segment).at[0].set(first)

    def back(beyond, step):
        load, ohm = step
        here = load + beyond
        return here / (1 + ohm * here), 1 / (1 + ohm * here)

    def forth(share, kept):
        return share * kept, share * kept

    _, kept = jax.lax.scan(back, jnp.zeros_like(loads[0]), (loads, ohm), reverse=True)
    _, shares = jax.lax.scan(forth, jnp.ones_like(loads[0]), kept)
    return jnp.moveaxis(shares, 0, -1)


def _turned(tiles):
    """Columns as lines that begin at their sense resistors; undoes itself."""
    return jnp.swapaxes(tiles, -1, -2)[..., ::-1, ::-1]


def _over(part, whole):
    """`part / whole`, zero where nothing conducts."""
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 0)
