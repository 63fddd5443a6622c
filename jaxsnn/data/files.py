"""Readers of the file formats that image data sets come in; each returns uint8 images and their labels."""

import gzip
import io
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Split = tuple[np.ndarray, np.ndarray]
"""Images (count, height, width, channels), uint8, and labels (count,), uint8 or, above 255, int32."""


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes (LeCun's format), plain or .gz.

    **Raises:** `ValueError` for another format and for a truncated or over-long file.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged and cannot be unpacked ({error}).") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes.")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions))
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise ValueError(f"{path} should hold {expected} bytes for shape {shape} and holds {len(content)}.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_idx_set(folder: Path, torchvision: str | None = None) -> tuple[Split, Split] | None:
    """Training and test split of MNIST's layout, or None where the folder does not hold it.

    The four files are found as `train-images-idx3-ubyte` or `train-images.idx3-ubyte`, plain or .gz, in the
    folder, in a folder of that name there, and in torchvision's `raw/` and `NAME/raw/`. Of several copies of
    one file the first one that can be read is taken.

    **Raises:** `ValueError` for a file of which no copy can be read.
    """
    names = [(split, kind) for split in ("train", "t10k") for kind in ("images", "labels")]
    inner = [Path(torchvision) / "raw", Path(torchvision)] if torchvision else []
    for place in (folder, folder / "raw", *(folder / path for path in inner)):
        copies = [_idx_copies(place, *name) for name in names]
        if all(copies):
            arrays = [_first_readable(paths) for paths in copies]
            return (arrays[0][..., None], arrays[1]), (arrays[2][..., None], arrays[3])
    return None


def _idx_copies(folder: Path, split: str, kind: str) -> list[Path]:
    found = sorted(folder.glob(f"{split}-{kind}[-.]idx*ubyte*"))
    inside = [path for place in found if place.is_dir() for path in sorted(place.glob(f"{split}-{kind}*"))]
    return [path for path in found + inside if path.is_file() and path.suffix in (".gz", *_PLAIN)]


_PLAIN = ("", ".idx1-ubyte", ".idx3-ubyte", ".ubyte")


def _first_readable(paths: Sequence[Path]) -> np.ndarray:
    problems = []
    for path in paths:
        try:
            return read_idx(path)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError(problems[0] if len(problems) == 1 else " ".join(problems))


def read_cifar_binary(paths: Sequence[Path], label_bytes: int) -> Split:
    """CIFAR's binary batches: records of `label_bytes` labels (the last is used) and 3·32·32 pixels."""
    record = label_bytes + 3 * 32 * 32
    parts = []
    for path in paths:
        content = np.frombuffer(path.read_bytes(), np.uint8)
        if content.size == 0 or content.size % record:
            raise ValueError(f"{path} is truncated: {content.size} bytes is no multiple of {record}.")
        parts.append(content.reshape(-1, record))
    rows = np.concatenate(parts)
    images = rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), rows[:, label_bytes - 1].copy()


def read_parquet(paths: Sequence[Path], label: str | None = None, *, colour: bool = False) -> Split:
    """Parquet files as Hugging Face `datasets` writes them: an image column of encoded bytes, and labels.

    **Arguments:** `label` names the label column, by default "label" or "fine_label"; `colour` as in
    [`stack`][].

    **Raises:** `ValueError` that names the file, and the row where a cell is at fault.
    """
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ValueError("reading Parquet needs pyarrow: pip install 'spikechip[data]'.") from error
    images: list[np.ndarray] = []
    labels: list[int] = []
    for path in paths:
        try:
            table = parquet.read_table(path, page_checksum_verification=True)
        except (pyarrow.ArrowException, OSError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise ValueError(f"{path} is damaged or no Parquet file ({reason}).") from error
        image_column = _column(path, table.column_names, ("image", "img"))
        label_column = _column(path, table.column_names, (label,) if label else ("label", "fine_label"))
        cells = zip(table[image_column].to_pylist(), table[label_column].to_pylist(), strict=True)
        for row, (cell, number) in enumerate(cells):
            if not isinstance(cell, dict) or not isinstance(cell.get("bytes"), bytes):
                raise ValueError(
                    f"{path}, row {row}: column {image_column!r} must hold {{'bytes': an encoded image}} and "
                    f"holds {_short(cell)}; write it with datasets' Dataset.to_parquet, or drop the row."
                )
            if not isinstance(number, int):
                raise ValueError(
                    f"{path}, row {row}: column {label_column!r} must hold an integer and holds "
                    f"{_short(number)}; number the classes from 0, or drop the row."
                )
            images.append(decode(cell["bytes"], f"{path}, row {row}"))
            labels.append(number)
    return stack(images, labels, paths[0].parent, colour=colour)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _column(path: Path, present: Sequence[str], wanted: Sequence[str]) -> str:
    for name in wanted:
        if name in present:
            return name
    raise ValueError(f"{path} has no column {' or '.join(wanted)}; it has {', '.join(present)}.")


def decode(content: bytes, where: str) -> np.ndarray:
    """An encoded image as uint8 (height, width) or (height, width, 3); errors say `where` it stands.

    Grey images of 16 bits are rounded to 8: `round(x·255/65535)`.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ValueError("decoding images needs Pillow: pip install 'spikechip[data]'.") from error
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image_bytes(image, where)
    except (UnidentifiedImageError, OSError, TypeError) as error:
        raise ValueError(f"{where}: the image cannot be decoded ({error}).") from error


def image_bytes(image: Any, where: str) -> np.ndarray:
    """The pixels of a Pillow image, or of an array, as [`decode`][] gives them."""
    mode = getattr(image, "mode", None)
    if mode is None:
        pixels = np.asarray(image)
        return pixels if pixels.dtype == np.uint8 else _to_8_bit(pixels, where)
    if mode.startswith("I") or mode == "F":
        return _to_8_bit(np.asarray(image), where)
    return np.asarray(image.convert("L" if mode in ("1", "L") else "RGB"), np.uint8)


def _to_8_bit(pixels: np.ndarray, where: str) -> np.ndarray:
    if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(
            f"{where}: the image has pixels of more than 16 bits, {pixels.min()} to {pixels.max()}, which "
            "do not say what white is; convert it to 8 or 16 bits."
        )
    # 65535 = 255·257.
    return ((pixels.astype(np.int64) + 128) // 257).astype(np.uint8)


def stack(images: Sequence[np.ndarray], labels: Sequence[int], where: Path, *, colour: bool = False) -> Split:
    """Decoded images as one array; `colour` repeats grey images over three channels."""
    if not images:
        raise ValueError(f"{where} holds no images.")
    if colour:
        images = [np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image for image in images]
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise ValueError(f"{where} holds images of different shapes: {sorted(shapes)[:3]}.")
    if min(labels) < 0 or max(labels) >= 2**31:
        raise ValueError(
            f"{where} holds labels from {min(labels)} to {max(labels)}; number the classes from 0."
        )
    array = np.stack(images)
    numbers = np.asarray(labels, np.uint8 if max(labels) < 256 else np.int32)
    return array[..., None] if array.ndim == 3 else array, numbers


def read_tiny_imagenet(folder: Path) -> tuple[Split, Split]:
    """Tiny ImageNet's own layout: train/CLASS/images/*.JPEG and val/val_annotations.txt (used as test).

    **Raises:** `ValueError` that names the folder, line or image that is missing or malformed.
    """
    if not (folder / "train").is_dir():
        raise ValueError(f"{folder} has no folder train/; unpack the whole of Tiny ImageNet there.")
    classes = sorted(entry.name for entry in (folder / "train").iterdir() if entry.is_dir())
    number = {name: index for index, name in enumerate(classes)}
    train = [
        (path, number[name]) for name in classes for path in sorted((folder / "train" / name).rglob("*.JPEG"))
    ]
    test = []
    annotations = folder / "val" / "val_annotations.txt"
    for line, text in enumerate(annotations.read_text().splitlines(), start=1):
        file, name, *_ = [*text.split("\t"), ""]
        if name not in number:
            raise ValueError(
                f"{annotations}, line {line}: it must be 'FILE<tab>CLASS<tab>…' with a class that train/ "
                f"has, and is {_short(text)}; correct or delete the line."
            )
        path = folder / "val" / "images" / file
        if not path.is_file():
            raise ValueError(
                f"{annotations}, line {line}: {path} does not exist; restore the image or delete the line."
            )
        test.append((path, number[name]))

    def read(entries):
        images = [decode(path.read_bytes(), str(path)) for path, _ in entries]
        return stack(images, [label for _, label in entries], folder, colour=True)

    return read(train), read(test)
