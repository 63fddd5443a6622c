"""Nonlinear cells as resistors, so that a programmed tile is a matrix again.

Spikes are 0 or one read voltage V_r, so a cell mostly works at one of two points. Each model replaces a cell
by the secant `i/(u − v)` where a spike drives it, and solves the linear tile of these conductances:

- "read-voltage": u = V_r and v = 0, as if there were no wires. Costs nothing.
- "mean-activity": at the voltages that the node has while all rows are driven at their mean, `activity·V_r`;
  the row's own share of them is scaled up to that of a spike. Costs one nonlinear solution for each tile.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hwmodels.crossbar._lines import column_lift, row_drop
from hwmodels.crossbar.circuit import checked
from hwmodels.crossbar.mapping import Crossbar
from hwmodels.crossbar.nonlinear import solved


def linearised(
    G: Float[Array, "tiles rows columns"], crossbar: Crossbar
) -> Float[Array, "tiles rows columns"]:
    """The conductances in siemens that the design's cells show a spike, by its `cell_model`.

    That of "exact" is "mean-activity": for gains, and for what else needs a matrix.
    """
    cell = crossbar.cell
    if cell is None:
        return G
    volt = jnp.asarray(crossbar.read_voltage_v).astype(G.dtype)
    if crossbar.cell_model == "read-voltage":
        return cell.between(G, volt + jnp.zeros_like(G), jnp.zeros_like(G)) / volt
    G, resistances = checked(G, crossbar.wires)
    activity = jnp.asarray(crossbar.activity).astype(G.dtype)
    volts = jnp.broadcast_to(activity * volt, G.shape[:-1])
    current, _ = solved(cell, G, volts, resistances)
    field = jnp.moveaxis(current, 0, -1)
    below = jnp.moveaxis(column_lift(field, resistances), -1, 0)
    above = volt - jnp.moveaxis(row_drop(field, resistances), -1, 0) / activity
    drop = above - below
    across = jnp.where(drop > 0, drop, volt)
    return cell.between(G, below + across, below) / across
