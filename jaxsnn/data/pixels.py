"""What a number in an image means: one rule for everything that takes images, labels or event frames."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

FULL_SCALE = {np.dtype(bool): 1.0, np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}
"""The types of pixels that stand for fractions of a full scale, and that full scale."""


def is_float(dtype: Any) -> bool:
    """Whether pixels of this type are taken as they are; bfloat16 too."""
    return jnp.issubdtype(dtype, jnp.floating)


def unit_pixels(images: Any) -> Any:
    """Pixels as a network computes with them.

    - uint8 and uint16 are divided by 255 and 65535, bool is 0 and 1; the result is float32, in [0, 1];
    - floats are as they are, whatever their range, and keep their type.

    **Arguments:** `images`: an array of NumPy or JAX, of any shape; it may be traced.

    **Raises:** `ValueError` for other types: an int64 does not say what its full scale is.
    """
    dtype = np.dtype(images.dtype)
    if is_float(dtype):
        return images
    if dtype not in FULL_SCALE:
        raise ValueError(
            f"images of {dtype} do not say which number is white: pass uint8 (0 to 255), uint16 (0 to "
            "65535), bool, or floats, which are used as they are."
        )
    return images.astype(np.float32) / np.float32(FULL_SCALE[dtype])


def native(array: Any) -> Any:
    """An array of JAX as NumPy's, and one of another order of bytes in this machine's, which alone JAX takes;
    anything else as it is."""
    if isinstance(array, jax.Array):
        return np.asarray(array)
    if isinstance(array, np.ndarray) and not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    return array


def require_unmasked(array: Any, where: str) -> None:
    """**Raises:** `ValueError`, which begins with `where`, for an array of `numpy.ma` that masks some: what
    lies under a mask means nothing, and would be taken for data."""
    if np.ma.is_masked(array):
        first = np.argwhere(np.ma.getmaskarray(array))[0].tolist()
        raise ValueError(
            f"{where}: the array is masked, first at {first}; fill it with array.filled(...), or leave these "
            "examples out."
        )


def check_images(images: Any, where: str) -> None:
    """**Raises:** `ValueError`, which begins with `where`, for images whose type says no scale (see
    [`unit_pixels`][]), and for NaN and infinity: NaN never fires, so that a network would stay silent."""
    require_unmasked(images, where)
    dtype = getattr(images, "dtype", None)
    if dtype is None or (np.dtype(dtype).newbyteorder("=") not in FULL_SCALE and not is_float(dtype)):
        raise ValueError(
            f"{where}: images must be an array of floats, uint8, uint16 or bool, got {_kind(images)}."
        )
    if not np.dtype(dtype).isnative:
        raise ValueError(
            f"{where}: images of {dtype} have their bytes in another order than this machine; pass "
            "images.astype(images.dtype.newbyteorder('='))."
        )
    if not is_float(dtype) or not isinstance(images, np.ndarray | jax.Array):
        return
    # By parts: a mask of a whole data set is as large as a quarter of it.
    for start in range(0, len(images), 1024):
        with np.errstate(over="ignore"):
            good = np.isfinite(np.asarray(images[start : start + 1024]).astype(np.float32))
        if not good.all():
            first = start + int(np.argwhere(~good)[0][0])
            raise ValueError(
                f"{where}: image {first} holds NaN, infinity or a number beyond float32; replace it or leave "
                "the image out."
            )


def _kind(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return type(value).__name__ if dtype is None else str(dtype)


def class_numbers(labels: Any, where: str) -> np.ndarray:
    """[`whole_numbers`][] from 0.

    **Raises:** `ValueError`, which begins with `where`, as for those and for negative labels.
    """
    numbers = whole_numbers(labels, where)
    if numbers.size and numbers.min() < 0:
        raise ValueError(
            f"{where}: labels go from {numbers.min()} to {numbers.max()}; number the classes from 0."
        )
    return numbers


def whole_numbers(labels: Any, where: str) -> np.ndarray:
    """Labels as int32 (count,), from integers, whole floats or bools, (count,) or (count, 1).

    **Raises:** `ValueError`, which begins with `where`, for other shapes and types, for fractions and NaN,
    and for numbers beyond int32.
    """
    require_unmasked(labels, where)
    numbers = np.asarray(labels)
    if numbers.ndim == 2 and numbers.shape[1] == 1:
        numbers = numbers[:, 0]
    if numbers.ndim != 1:
        raise ValueError(
            f"{where}: labels must be one class number an image, (count,), got shape {numbers.shape}; of "
            "one-hot rows take argmax(-1)."
        )
    if numbers.dtype.kind not in "biuf":
        raise ValueError(f"{where}: labels must be numbers, got {numbers.dtype}; number the classes from 0.")
    wrong = ~np.isfinite(numbers) | (numbers != np.round(numbers)) if numbers.dtype.kind == "f" else None
    if wrong is not None and wrong.any():
        raise ValueError(
            f"{where}: label {int(np.argmax(wrong))} is {numbers[np.argmax(wrong)]}; labels are whole "
            "numbers from 0."
        )
    if numbers.size and (numbers.min() < -(2**31) or numbers.max() >= 2**31):
        raise ValueError(
            f"{where}: labels go from {numbers.min()} to {numbers.max()}; number the classes from 0."
        )
    return numbers.astype(np.int32)
