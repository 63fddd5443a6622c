"""What the wires of a crossbar do, as pictures."""

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

from hwmodels.crossbar import Crossbar, operating_point, program


def ir_drop_figure(kernel: jax.Array, crossbar: Crossbar, key: jax.Array) -> Figure:
    """The first tile of a kernel with every row at 1 V: what reaches each device, and its current."""
    tile = program(kernel, crossbar, key).conductances[0, 0, 0, 0]
    point = operating_point(tile, jnp.ones(crossbar.rows, tile.dtype), crossbar.wires)
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    fields = {
        "programmed conductance [µS]": 1e6 * tile,
        "voltage across the device [V]": point.row_voltages - point.column_voltages,
        "device current [µA]": 1e6 * point.device_currents,
    }
    for axes, (title, field) in zip(figure.subplots(1, 3), fields.items(), strict=True):
        image = axes.imshow(field, cmap="viridis")
        axes.set(title=title, xlabel="column (driver at the left)", ylabel="row (sense below)")
        figure.colorbar(image, ax=axes)
    power_mw = 1e3 * float(point.power_w)
    figure.suptitle(
        f"IR drop in one {crossbar.rows}×{crossbar.columns} tile, all rows at 1 V: {power_mw:.3g} mW"
    )
    return figure
