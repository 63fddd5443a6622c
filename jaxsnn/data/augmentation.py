"""Random shifts, flips and losses of a batch, on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array


def augment(
    images: Array, key: Array, *, crop: int = 0, flip: bool = False, drop: float = 0.0, timed: bool = False
) -> Array:
    """Shift each example by up to `crop` pixels in each direction (zeros move in), mirror half of them, and
    lose a part of their events.

    An example with a time axis is shifted and mirrored as a whole, all its frames alike.

    **Arguments:**

    - `images`: (batch, height, width, channels); with `timed`, event counts (batch, time, height, width,
      channels) or (batch, time, units).
    - `crop` ≥ 0 and below each side, e.g. 4 for CIFAR; units are shifted along their one axis.
    - `flip`: left and right change places with probability ½.
    - `drop`: each event is lost with this probability, in [0, 1): a count of n becomes binomial(n, 1 − drop).
      Values are counts then, also as floats: [`fit`][jaxsnn.learning.training.fit] refuses fractions.

    **Raises:** `ValueError` for values out of range, for examples without rows and columns that should be
    mirrored, and for images that should lose events.
    """
    if crop < 0:
        raise ValueError(f"crop is a number of pixels and must not be negative, got {crop}.")
    if not 0 <= drop < 1:
        raise ValueError(f"drop is the fraction of events to lose, in [0, 1), got {drop}.")
    first = 2 if timed else 1
    axes = tuple(range(first, min(first + 2, max(first + 1, images.ndim - 1))))
    if (crop or flip) and images.ndim < first + (1 if timed else 3):
        raise ValueError(f"crop and flip move pixels; examples of shape {images.shape[1:]} have none.")
    least = min((images.shape[axis] for axis in axes), default=0)
    if crop and crop >= least:
        raise ValueError(
            f"crop={crop} moves examples of shape {images.shape[1:]} out of their frame; it must be below "
            f"{least}."
        )
    if flip and len(axes) < 2:
        raise ValueError(
            f"flip mirrors images, and examples of shape {images.shape[1:]} have no rows and columns; leave "
            "it out."
        )
    if drop and not timed:
        raise ValueError(
            "drop loses events, and these examples are images without a time axis; leave it out."
        )
    crop_key, flip_key = jax.random.split(key)
    batch = len(images)
    if crop:
        margins = [(crop, crop) if axis in axes else (0, 0) for axis in range(images.ndim)]
        padded = jnp.pad(images, margins)
        corners = jax.random.randint(crop_key, (batch, len(axes)), 0, 2 * crop + 1, jnp.int32)

        def cut(example, corner):
            start = [jnp.int32(0)] * example.ndim
            for number, axis in enumerate(axes):
                start[axis - 1] = corner[number]
            return jax.lax.dynamic_slice(example, start, images.shape[1:])

        images = jax.vmap(cut)(padded, corners)
    if flip:
        mirror = jax.random.bernoulli(flip_key, 0.5, (batch,) + (1,) * (images.ndim - 1))
        images = jnp.where(mirror, jnp.flip(images, axes[1]), images)
    if drop:
        images = _thinned(images, jax.random.fold_in(key, 2), 1 - drop)
    return images


def _thinned(counts: Array, key: Array, kept: float) -> Array:
    """Event by event: JAX's binomial takes a hundred times as long where most counts are 0 or 1."""

    def one_more(number, left):
        stays = jax.random.bernoulli(jax.random.fold_in(key, number), kept, counts.shape)
        return left + (stays & (number < counts.astype(jnp.int32))).astype(counts.dtype)

    most = jnp.max(counts).astype(jnp.int32)
    return jax.lax.fori_loop(jnp.int32(0), most, one_more, jnp.zeros_like(counts))
