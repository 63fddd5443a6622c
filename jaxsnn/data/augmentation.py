"""Random crops and flips of a batch, on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt8


def augment(
    images: UInt8[Array, "batch h w c"], key: Array, *, crop: int = 0, flip: bool = False
) -> UInt8[Array, "batch h w c"]:
    """Shift each image by up to `crop` pixels in each direction (zeros move in), and mirror half of them.

    **Arguments:** `crop` ≥ 0, e.g. 4 for CIFAR; `flip`: left and right change places with probability ½.
    """
    if crop < 0:
        raise ValueError(f"crop is a number of pixels and must not be negative, got {crop}.")
    crop_key, flip_key = jax.random.split(key)
    batch, height, width, channels = images.shape
    if crop:
        padded = jnp.pad(images, ((0, 0), (crop, crop), (crop, crop), (0, 0)))
        corners = jax.random.randint(crop_key, (batch, 2), 0, 2 * crop + 1, jnp.int32)

        def cut(image, corner):
            start = (corner[0], corner[1], jnp.int32(0))
            return jax.lax.dynamic_slice(image, start, (height, width, channels))

        images = jax.vmap(cut)(padded, corners)
    if flip:
        mirror = jax.random.bernoulli(flip_key, 0.5, (batch, 1, 1, 1))
        images = jnp.where(mirror, images[:, :, ::-1], images)
    return images
