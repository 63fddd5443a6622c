"""Images or event frames with labels, split into training and test."""

import dataclasses
import hashlib
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from jaxsnn.checks import is_number, require_count
from jaxsnn.data.pixels import (
    FULL_SCALE,
    check_images,
    class_numbers,
    is_float,
    native,
    require_unmasked,
    unit_pixels,
)

Images = Any
"""A NumPy array (count, ...), or what answers `len`, `shape`, `dtype` and `[indices]` like one and reads its
examples when they are asked for ([`jaxsnn.data.frames.Recordings`][])."""


_LEAST, _GREATEST = (float(value) for value in (np.finfo(np.float32).tiny, np.finfo(np.float32).max))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples and labels, split into training and test.

    Pixels are uint8 or uint16 (fractions of 255 and 65535), bool, or floats, which are used as they are;
    [`Dataset.scale`][] then subtracts `mean` and divides by `std`.

    **Arguments:**

    - `name`: what tables call it.
    - `train_images`, `test_images`: (count, height, width, channels), or (count, features); of one type. With
      `timed`, each example has a time axis in front: (count, timesteps, ...), and its values are counts of
      events or spikes, which are used as they are whatever their type.
    - `train_labels`, `test_labels`: integers, (count,), each below `classes`. Arrays of JAX, and of another
      order of bytes, become NumPy's own.
    - `classes`: number of classes.
    - `mean`, `std`: of pixels as the network sees them, in [0, 1] for uint8; one number, or one for each
      channel. The defaults leave pixels as they are.
    - `timed`: the examples are given at every timestep.
    - `class_names`: what the classes are called, in their order; None where they are only numbers.

    **Raises:** `ValueError` for an empty split, for images of an unknown type or of two shapes, for NaN or
    infinity, and for labels that do not fit.
    """

    name: str
    train_images: Images
    train_labels: np.ndarray
    test_images: Images
    test_labels: np.ndarray
    classes: int
    mean: tuple[float, ...] = field(default=(0.0,))
    std: tuple[float, ...] = field(default=(1.0,))
    timed: bool = False
    class_names: tuple[str, ...] | None = None

    def __post_init__(self):
        require_count(f"data set {self.name!r}: classes", self.classes)
        for split in ("train", "test"):
            for name in (f"{split}_images", f"{split}_labels"):
                object.__setattr__(self, name, native(getattr(self, name)))
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            where = f"data set {self.name!r}, {split} split"
            if len(images) == 0:
                raise ValueError(f"{where}: it is empty.")
            check_images(images, where)
            least, axes = (3, "timesteps, ...") if self.timed else (2, "height, width, channels")
            if len(images.shape) < least:
                raise ValueError(f"{where}: images must be (count, {axes}), got shape {images.shape}.")
            if np.prod(images.shape[1:]) == 0:
                raise ValueError(f"{where}: the images are empty, of shape {images.shape[1:]}.")
            require_unmasked(labels, where)
            if not isinstance(labels, np.ndarray):
                raise ValueError(
                    f"{where}: labels must be an array of integers ({len(images)},), got a "
                    f"{type(labels).__name__}; give numpy.asarray(labels), or take Dataset.from_arrays."
                )
            if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
                raise ValueError(
                    f"{where}: labels must be integers ({len(images)},), got {labels.dtype} {labels.shape}."
                )
            if labels.min() < 0 or labels.max() >= self.classes:
                wrong = labels.min() if labels.min() < 0 else labels.max()
                raise ValueError(f"{where}: label {wrong} is outside the {self.classes} classes.")
        shapes = self.train_images.shape[1:], self.test_images.shape[1:]
        if shapes[0] != shapes[1] or self.train_images.dtype != self.test_images.dtype:
            raise ValueError(
                f"data set {self.name!r}: training images are {self.train_images.dtype} {shapes[0]} and test "
                f"images {self.test_images.dtype} {shapes[1]}; they must be alike."
            )
        for what in ("mean", "std"):
            given = getattr(self, what)
            if (
                np.ndim(given) != 1
                or len(given) not in (1, self.image_shape[-1])
                or not all(is_number(value) and abs(float(value)) <= _GREATEST for value in given)
            ):
                raise ValueError(
                    f"data set {self.name!r}: {what} must be one finite number, or one for each of the "
                    f"{self.image_shape[-1]} channels, as a tuple; got {given!r}."
                )
        if min(map(float, self.std)) < _LEAST:  # As zero it would divide, and make NaN of black.
            raise ValueError(f"data set {self.name!r}: std must be positive in float32, got {self.std}.")

    @classmethod
    def from_arrays(
        cls,
        x: Any,
        y: Any,
        test: Any = 0.2,
        *,
        name: str = "arrays",
        classes: int | None = None,
        mean: Any = 0.0,
        std: Any = 1.0,
        timed: bool = False,
        seed: int = 0,
    ) -> "Dataset":
        """A data set of arrays that you have.

        Pixels: uint8 becomes x/255, uint16 x/65535, bool 0 and 1; **floats are used as they are**; integers
        of other types must lie in 0 to 255 and count as uint8. Then `mean` is subtracted and `std` divides.
        With `timed`, numbers of every type are used as they are.

        ```python
        data = Dataset.from_arrays(images, labels, test=0.2)
        data = Dataset.from_arrays(images, labels, test=(test_images, test_labels), mean=0.5, std=0.25)
        ```

        **Arguments:**

        - `x`: (count, height, width, channels), grey images (count, height, width), features
          (count, features), or with `timed` (count, timesteps, ...); arrays of NumPy, JAX or torch, or lists.
        - `y`: (count,) or (count, 1): integers or whole floats from 0, or strings, which are numbered in
          their sorted order and kept as `class_names`.
        - `test`: the fraction of the images that is held out, as nearly as can be of every class; or
          `(x, y)` of a test split.
        - `classes`: their number; by default one more than the greatest label, with a warning where numbers
          below it label no image.
        - `mean`, `std`: one number, or one for each channel.
        - `seed`: of the split.

        **Raises:** `ValueError` for arrays of different lengths, NaN or infinite pixels, integers that say no
        scale, negative counts of `timed`, labels that are not whole, negative or beyond `classes`, a single
        class, and a split that leaves a side empty. Warns about floats that look like pixels from 0 to 255,
        about uint8 and uint16 that look like 0 and 1, and about classes without an image.
        """
        where = f"data set {name!r}"
        given = isinstance(test, tuple | list)
        if given and len(test) != 2:
            raise ValueError(f"{where}: test must be a fraction or a pair (x, y), got {len(test)} parts.")
        pairs = [(x, y), tuple(test)] if given else [(x, y)]
        splits = [f"{where}, train split", f"{where}, test split"] if given else [where]
        images = [_images(one, split, timed) for (one, _), split in zip(pairs, splits, strict=True)]
        labels, names = _labels([one for _, one in pairs], splits, where)
        for split, some, numbers in zip(splits, images, labels, strict=True):
            if len(some) != len(numbers):
                raise ValueError(
                    f"{split}: there are {len(some)} images and {len(numbers)} labels; every image needs one."
                )
            if len(some) == 0:
                raise ValueError(f"{split}: it is empty.")
        if not given:
            train, held = random_split(labels[0], test, seed, where)
            images = [images[0][train], images[0][held]]
            labels = [labels[0][train], labels[0][held]]
        if len(np.unique(labels[0])) < 2:
            raise ValueError(
                f"{where}: its training images are all of one class, {labels[0][0]}; classification needs "
                "two or more."
            )
        if classes is None:
            classes = 1 + int(max(numbers.max() for numbers in labels))
            _warn_of_gaps(np.unique(np.concatenate(labels)), classes, where)
        return cls(
            name=name,
            train_images=images[0],
            train_labels=labels[0],
            test_images=images[1],
            test_labels=labels[1],
            classes=classes,
            mean=tuple(np.atleast_1d(np.asarray(mean, float)).tolist()),
            std=tuple(np.atleast_1d(np.asarray(std, float)).tolist()),
            timed=timed,
            class_names=names,
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every array and the scaling: two data sets with equal fingerprints are the same."""
        facts: tuple[Any, ...] = (self.classes, self.mean, self.std)
        digest = hashlib.sha256(repr(facts + (("timed",) if self.timed else ())).encode())
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(repr(array.shape).encode())
            if array.dtype != np.uint8:
                digest.update(str(array.dtype).encode())
            if isinstance(array, np.ndarray):
                digest.update(np.ascontiguousarray(array).tobytes())
            else:
                digest.update(array.fingerprint.encode())
        return digest.hexdigest()

    @property
    def image_shape(self) -> tuple[int, ...]:
        """What a network sees of one example, in one timestep: (height, width, channels) or (features,)."""
        return tuple(self.train_images.shape[2 if self.timed else 1 :])

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(timesteps, height, width, channels) or (timesteps, features) of one example.

        **Raises:** `ValueError` for examples that have no time axis.
        """
        if not self.timed:
            raise ValueError(
                f"data set {self.name!r} holds images of shape {self.image_shape}, which have no time axis."
            )
        return tuple(self.train_images.shape[1:])

    def hold_out(self, fraction: float, seed: int) -> "Dataset":
        """Split the training images alone: the test split of the result is a random `fraction` of them.

        **Raises:** `ValueError` for a fraction outside (0, 1), or one that leaves a split empty.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"the held out part is a fraction of the images in (0, 1), got {fraction}.")
        require_count("seed", seed, 0)
        order = np.random.default_rng(seed).permutation(len(self.train_images))
        held = order[: round(fraction * len(order))]
        kept = order[len(held) :]
        return dataclasses.replace(
            self,
            train_images=_chosen(self.train_images, kept),
            train_labels=self.train_labels[kept],
            test_images=_chosen(self.train_images, held),
            test_labels=self.train_labels[held],
        )

    def scale(self, images: Any) -> Any:
        """What the network sees of images (NumPy, JAX, traced, or read when asked for): float32,

        `(pixels − mean) / std`, where pixels are [`jaxsnn.data.pixels.unit_pixels`][], or the counts of
        events themselves.
        """
        if not hasattr(images, "astype"):
            return images.mapped(self.scale)
        mean, std = (np.asarray(value, np.float32) for value in (self.mean, self.std))
        pixels = images if self.timed else unit_pixels(images)
        return (pixels.astype(np.float32) - mean) / std


def _chosen(images: Images, indices: np.ndarray) -> Images:
    return images[indices] if isinstance(images, np.ndarray) else images.subset(indices)


def random_split(labels: np.ndarray, fraction: Any, seed: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices (train, test), shuffled by the seed; `round(fraction·count)` are held out, of every class as
    nearly that fraction as whole images allow.

    **Raises:** `ValueError`, which begins with `where`, for a fraction outside (0, 1), a seed that is no
    whole number from 0, and for fewer than two images.
    """
    if not (isinstance(fraction, int | float | np.number) and 0 < fraction < 1):
        raise ValueError(f"{where}: test must be a fraction in (0, 1) or a pair (x, y), got {fraction!r}.")
    require_count(f"{where}: seed", seed, 0)
    count = len(labels)
    if count < 2:
        raise ValueError(f"{where}: a split into training and test needs two images or more, got {count}.")
    generator = np.random.default_rng(seed)
    order = generator.permutation(count)
    # Each image's place in its class, as a fraction: the lowest of all are of every class alike.
    place = np.empty(count)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = (np.arange(len(members)) + generator.random()) / len(members)
    cut = min(max(1, round(float(fraction) * count)), count - 1)
    ranked = np.argsort(place, kind="stable")
    return generator.permutation(ranked[cut:]), generator.permutation(ranked[:cut])


def _images(x: Any, where: str, timed: bool) -> np.ndarray:
    require_unmasked(x, where)
    try:
        images = native(np.asarray(x))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: the images are no array of one shape ({error}).") from error
    if images.dtype.kind in "iu" and images.dtype not in FULL_SCALE:
        low, high = (int(images.min()), int(images.max())) if images.size else (0, 0)
        if timed and low < 0:
            raise ValueError(
                f"{where}: with timed, integers are counts of events or spikes, and go from {low} to {high}; "
                "count from 0, and give each polarity a channel of its own."
            )
        if not timed and (low < 0 or high > 255):
            raise ValueError(
                f"{where}: images of {images.dtype} count as pixels of 0 to 255 and go from {low} to {high}; "
                "pass uint16 for 0 to 65535, or floats, which are used as they are."
            )
        images = images.astype(np.float32 if timed else np.uint8)
    check_images(images, where)
    if is_float(images.dtype):
        images = images.astype(np.float32)
        _warn_if_8_bit(images, where)
    elif not timed:
        _warn_if_dark(images, where)
    if images.ndim == 3 and not timed:
        images = images[..., None]
    return images


def _warn_if_8_bit(images: np.ndarray, where: str) -> None:
    part = images[:1024]
    if part.size and 128 <= part.max() <= 255 and part.min() >= 0 and (part == np.round(part)).all():
        warnings.warn(
            f"{where}: the images are floats that go up to {part.max():g} and are used as they are; if they "
            "are pixels from 0 to 255, pass uint8 or divide by 255.",
            stacklevel=4,
        )


def _warn_if_dark(images: np.ndarray, where: str) -> None:
    """0 and 1 as uint8, or 8 bits as uint16, are next to nothing of the full scale."""
    highest = {np.dtype(np.uint8): 1, np.dtype(np.uint16): 255}.get(images.dtype, 0)
    if images.size and 0 < images.max() <= highest:
        narrower = "bool" if images.max() == 1 else "np.uint8"
        warnings.warn(
            f"{where}: the images are {images.dtype}, of which {FULL_SCALE[images.dtype]:.0f} is white, and "
            f"go up to no more than {images.max()}; if that is white, pass images.astype({narrower}).",
            stacklevel=4,
        )


def _warn_of_gaps(used: np.ndarray, classes: int, where: str) -> None:
    missing = classes - len(used)
    if missing:
        first = int(np.argmax(used != np.arange(len(used))))
        warnings.warn(
            f"{where}: labels go up to {used[-1]}, which makes {classes} classes, and {missing} of them "
            f"label no image, such as {first}; number the classes with "
            "np.unique(labels, return_inverse=True)[1], or say classes=... where some have no image here.",
            stacklevel=3,
        )


def _labels(
    given: list[Any], splits: list[str], where: str
) -> tuple[list[np.ndarray], tuple[str, ...] | None]:
    for labels, split in zip(given, splits, strict=True):
        require_unmasked(labels, split)
    arrays = [np.asarray(labels) for labels in given]
    strings = [array.dtype.kind in "UST" or _all_strings(array) for array in arrays]
    if not any(strings):
        return [class_numbers(array, split) for array, split in zip(arrays, splits, strict=True)], None
    if not all(strings):
        raise ValueError(f"{where}: one split has names as labels and the other numbers.")
    # Bytes that are no UTF-8 stay apart: two classes never become one.
    flat = [
        (np.char.decode(array, "utf-8", "backslashreplace") if array.dtype.kind == "S" else array)
        .ravel()
        .astype(str)
        for array in arrays
    ]
    names = np.unique(flat[0])
    unknown = np.setdiff1d(np.concatenate(flat), names)
    if len(unknown):
        raise ValueError(f"{where}: the test split has a class {str(unknown[0])!r} that training has not.")
    return [np.searchsorted(names, labels).astype(np.int32) for labels in flat], tuple(names.tolist())


def _all_strings(array: np.ndarray) -> bool:
    return array.dtype == object and array.size > 0 and all(isinstance(label, str) for label in array.ravel())
