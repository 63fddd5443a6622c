"""From an image to what the first layer sees at every timestep.

Pixels mean what [`jaxsnn.data.pixels.unit_pixels`][] says, here and so for everything that runs a network.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Num

from jaxsnn.checks import is_positive
from jaxsnn.data.pixels import is_float, unit_pixels
from jaxsnn.signal import Signal


@dataclass(frozen=True)
class Direct:
    """The analogue image at every timestep; equal in time, so that the first layer is computed once."""

    constant = True
    unit = 1.0
    """What an input of 1 in every timestep stands for in the image."""

    def __call__(
        self,
        images: Num[Array, "batch *features"] | Bool[Array, "batch *features"],
        *,
        start: int | Array,
        steps: int,
        key: Array | None,
    ) -> Signal:
        return Signal(values=unit_pixels(images)[None], steps=steps, analog=True)


@dataclass(frozen=True)
class Poisson:
    """At each timestep a spike sign(x) with probability `min(1, gain·|x|)`, independent over time.

    `gain = 1` is the usual rule (rate equals pixel); `gain = 0.5` is `sign(x)·1[2r ≤ |x|]`, which the
    authors' code applies to normalised pixels.
    """

    gain: float = 1.0
    constant = False

    def __post_init__(self):
        if not is_positive(self.gain):
            raise ValueError(f"the gain of Poisson encoding must be positive, got {self.gain}.")

    @property
    def unit(self) -> float:
        """What an input of 1 in every timestep stands for in the image."""
        return 1 / self.gain

    def __call__(
        self,
        images: Num[Array, "batch *features"] | Bool[Array, "batch *features"],
        *,
        start: int | Array,
        steps: int,
        key: Array | None,
    ) -> Signal:
        if key is None:
            raise ValueError("Poisson encoding draws spikes and needs a key: pass key=jax.random.key(seed).")

        pixels = unit_pixels(images)
        # In bfloat16 a draw has 8 bits: a rate of 0.003 would fire 0.0078 of the time.
        dtype = pixels.dtype if jnp.finfo(pixels.dtype).bits >= 32 else jnp.float32
        rates, spikes = self.gain * jnp.abs(pixels.astype(dtype)), jnp.sign(pixels)

        def one_step(time):
            # A key per timestep, so that the spikes do not depend on how time is cut into chunks.
            uniform = jax.random.uniform(jax.random.fold_in(key, time), pixels.shape, dtype)
            return jnp.where(uniform < rates, spikes, jnp.zeros_like(spikes))

        return Signal(
            values=jax.vmap(one_step)(start + jnp.arange(steps, dtype=jnp.int32)), steps=steps, analog=False
        )


@dataclass(frozen=True)
class Frames:
    """Inputs that have a time axis of their own, (time, batch, ...), as events binned into frames do.

    Frame t is the input of timestep t; a run of fewer timesteps takes the first ones. Values are counts of
    spikes, which are used as they are, whatever their type.
    """

    constant = False
    unit = 1.0

    def __call__(
        self,
        images: Num[Array, "time batch *features"] | Bool[Array, "time batch *features"],
        *,
        start: int | Array,
        steps: int,
        key: Array | None,
    ) -> Signal:
        if isinstance(start, int):
            check_frames(images.shape[0], start + steps)
        values = jax.lax.dynamic_slice_in_dim(images, start, steps)
        if not is_float(values.dtype):
            values = values.astype(jnp.float32)
        return Signal(values=values, steps=steps, analog=False)


Encoding = Direct | Poisson | Frames


def check_frames(frames: int, timesteps: int) -> None:
    """**Raises:** `ValueError` for more timesteps than there are frames."""
    if timesteps > frames:
        raise ValueError(
            f"the inputs have {frames} frames and {timesteps} timesteps were asked for; bin the events into "
            f"as many frames, or run at most {frames} timesteps."
        )


def inputs_of(encoding: Encoding, examples: Array, timesteps: int) -> Array:
    """A batch of examples, as data sets and their batches have them, as the network takes it.

    **Arguments:** `examples`: (batch, ...), or for [`Frames`][] (batch, time, ...).

    **Returns:** the examples; for `Frames` with time in front.

    **Raises:** `ValueError` for frames without a time axis, and for fewer than timesteps.
    """
    if not isinstance(encoding, Frames):
        return examples
    if examples.ndim < 3:
        raise ValueError(
            f"the network's encoding is Frames and takes (count, timesteps, ...), got shape "
            f"{examples.shape}; of images make the network with encoding=Direct()."
        )
    check_frames(examples.shape[1], timesteps)
    return jnp.moveaxis(examples, 1, 0)
