"""How weights of either sign become levels of cells, and how digital logic makes weights of currents again.

With x = w / w_max in −1 to 1, levels from 0 to 1, and L = 2^bits − 1 steps if the cells have levels:

- "differential": a pair of cells holds max(x, 0) and max(−x, 0); `x = level⁺ − level⁻`.
- "offset": one cell holds z + h·x and a reference column holds z (z = h = 1/2; with levels z = 2^(bits−1)/L
  and h = z − 1/L); `x = (level − level_reference)/h`.
- "nice": SpikeSim's non-ideality-aware weight encoding. k = round(x·2^m), m = bits − 1; a negative k is
  stored as u = k + 2^m, a level of u/L; the digital DIFF module subtracts 2^m for every active row of
  negative weight, here the linear `correction`. Without levels u = x + [x < 0]. What cells conduct at level
  zero is subtracted there too, for every active row.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hwmodels.crossbar._memory import require_memory
from hwmodels.crossbar.mapping import Crossbar, Layout, layout
from hwmodels.rounding import rounded, straight_through


class Encoded(eqx.Module):
    """The cells meant for one kernel.

    **Arguments:**

    - `targets`: conductances in siemens, zero where a tile is unused; planes are (signs, slices), flattened.
    - `used`: 1 where a cell is in use, else 0.
    - `coefficients`: what one siemens in each plane is worth, in units of the weight.
    - `correction`: weights that the digital logic subtracts; None if nothing is.
    - `reference`: whether the last column of a tile is subtracted from the others.
    - `plan`: the layout of the kernel.
    - `dead`: whether all weights are zero. The digital scale of such a kernel is zero, and so is every
      output, whatever its cells conduct. Zeros of other kernels, whole columns and tiles too, are cells at
      the lowest level, which vary as others do.
    """

    targets: Float[Array, "planes groups down across rows columns"]
    used: Float[Array, "groups down across rows columns"]
    coefficients: Float[Array, " planes"]
    correction: Float[Array, "groups down across rows weights"] | None
    reference: bool = eqx.field(static=True)
    plan: Layout = eqx.field(static=True)
    dead: Bool[Array, ""]

    def without_reference(self, columns: Float[Array, "*any columns"]) -> Float[Array, "*any weights"]:
        """Sums over planes, less those of the reference column if there is one."""
        return columns[..., :-1] - columns[..., -1:] if self.reference else columns


def silent(outputs: Float[Array, "*shape"], dead: Bool[Array, ""]) -> Float[Array, "*shape"]:
    """Zeros in place of the outputs of a dead kernel; its derivatives stay, so that it can come to life."""
    return jnp.where(dead, straight_through(jnp.zeros_like(outputs), outputs), outputs)


def encode(
    kernel: Float[Array, "*kernel"],
    crossbar: Crossbar,
    groups: int = 1,
    bias: Float[Array, " outputs"] | None = None,
) -> Encoded:
    """The conductances that a design means for a kernel of shape (in, out) or (height, width, in, out).

    A kernel of a grouped convolution has shape (height, width, in/groups, out). A `bias` gets a row.

    **Raises:** `ValueError` for a tile larger than memory, for groups that do not divide the outputs, and for
    groups behind a reference column.
    """
    require_memory(crossbar.rows, crossbar.columns, kernel.dtype)
    if groups > 1 and crossbar.signs == "offset":
        raise ValueError(
            'signs="offset" subtracts one reference column from all columns of a tile, which those of a '
            'grouped kernel do not fill alike; put it on signs="differential" or "nice".'
        )
    plan = layout(kernel.shape, crossbar, groups, bias=bias is not None)
    largest = jnp.max(jnp.abs(kernel))
    if bias is not None:
        largest = jnp.maximum(largest, jnp.max(jnp.abs(bias)))
    scale = jnp.where(largest > 0, largest, 1)
    x = plan.cut(kernel / scale, None if bias is None else bias / scale)
    used = plan.cut(jnp.ones_like(kernel), None if bias is None else jnp.ones_like(bias))
    bits = crossbar.weight_bits
    steps = 1 if bits is None else 2**bits - 1
    half = 1 if bits is None else 2 ** (bits - 1)
    low, high = crossbar.device.limits(kernel.dtype)

    correction = None
    signs: tuple[int, ...] = (1,)
    if crossbar.signs == "differential":
        signs, height = (1, -1), 1.0
        levels = jnp.maximum(jnp.stack([x, -x]), 0)
    elif crossbar.signs == "offset":
        zero = 0.5 if bits is None else half / steps
        height = 0.5 if bits is None else (half - 1) / steps
        used = jnp.concatenate([used, used[..., :1]], axis=-1)
        levels = jnp.pad(height * x, (*((0, 0),) * (x.ndim - 1), (0, 1)))[None] + zero
    else:
        height = half / steps
        negative = ((x if bits is None else jnp.round(x * half)) < 0).astype(x.dtype)
        levels = ((x + negative) * height)[None]
        correction = scale * (negative + low / ((high - low) * height) * used)
    levels, places = _sliced(levels, crossbar)
    targets = crossbar.device.target(levels) * used
    worth = scale / ((high - low) * height)
    coefficients = (jnp.asarray(signs, kernel.dtype)[:, None] * places * worth).reshape(-1)
    return Encoded(
        targets=targets.reshape(-1, *used.shape),
        used=used,
        coefficients=coefficients,
        correction=correction,
        reference=crossbar.signs == "offset",
        plan=plan,
        dead=largest == 0,
    )


def _sliced(levels, crossbar):
    """Levels of the single cells, slices on the second axis, and what each slice is worth.

    The slope of every slice is that of the whole level: the worths add up to 1, so theirs do too.
    """
    bits, slices = crossbar.device.bits, crossbar.slices
    if bits is None:
        return levels[:, None], jnp.ones(1, levels.dtype)
    steps = 2 ** (bits * slices) - 1
    number = rounded(levels * steps)
    cells = []
    for index in range(slices):
        above = jnp.floor(number / 2 ** (bits * index))
        digit = above - 2**bits * jnp.floor(above / 2**bits)
        cells.append(straight_through(digit / (2**bits - 1), number / steps))
    places = [2 ** (bits * index) * (2**bits - 1) / steps for index in range(slices)]
    return jnp.stack(cells, axis=1), jnp.asarray(places, levels.dtype)
