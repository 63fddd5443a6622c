"""Damaged files: refused in a sentence, or read as what they say; checksums let no change through."""

import gzip
import io
import json
import shutil

import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from jaxsnn.data.events import SpikeFile
from jaxsnn.data.files import read_idx, read_parquet
from jaxsnn.interop.nir import from_nir
from jaxsnn.interop.torch import read_state_dict
from jaxsnn.learning.checkpoint import Checkpoints
from tests.helpers import REFERENCE
from tests.hostile.invariant import TALLY, require_sentence
from tests.jaxsnn.event_files import heidelberg, some_events

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 4), np.uint8)
IDX = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in PIXELS.shape) + PIXELS.tobytes()
TENSORS = {"fc.weight": PIXELS[0].astype(np.float32), "fc.bias": np.ones(4, np.float32)}


def parquet(path):
    import pyarrow
    import pyarrow.parquet
    from PIL import Image

    cells = []
    for image in PIXELS:
        content = io.BytesIO()
        Image.fromarray(image).save(content, "PNG")
        cells.append({"bytes": content.getvalue(), "path": None})
    table = pyarrow.table({"image": cells, "label": [0, 1, 2, 3, 4]})
    pyarrow.parquet.write_table(table, path, write_page_checksum=True)


def checkpoint(path):
    Checkpoints(path, {"run": 1}).save("last", {"w": PIXELS.astype(np.float32)}, {"epoch": 3})


def restored(path):
    like = {"w": np.zeros(PIXELS.shape, np.float32)}
    tree, facts = Checkpoints(path, {"run": 1}).restore("last", like)
    assert facts == {"epoch": 3}
    return tree


def network(path):
    shutil.copy(REFERENCE / "nir" / "real" / "norse_box.nir", path)


def parameters(path):
    return nnx.to_pure_dict(nnx.state(from_nir(path, dt=1e-3)))


def recordings(path):
    made = [some_events(20, seed=seed)[:2] for seed in range(3)]
    heidelberg(path, [(t_us / 1e6, units) for t_us, units in made], [0, 1, 0])


def events(path):
    file = SpikeFile(path, 700)
    return (
        file.labels,
        file.class_names,
        [list(vars(file.read(index)).values()) for index in range(len(file))],
    )


FORMATS = {
    # name: how to write, how to read, whether every change of the content is noticed
    "images.idx3-ubyte": (lambda path: path.write_bytes(IDX), read_idx, False),
    "images.idx3-ubyte.gz": (lambda path: path.write_bytes(gzip.compress(IDX, mtime=0)), read_idx, True),
    "weights.safetensors": (lambda path: save_file(TENSORS, path), read_state_dict, False),
    "train.parquet": (parquet, lambda path: read_parquet([path]), False),
    "network.nir": (network, parameters, False),
    "spikes.h5": (recordings, events, False),
    "run": (checkpoint, restored, True),
}


def damage(content, random):
    """One byte flipped, a part missing, or a block of zeros."""
    content = bytearray(content)
    place = int(random.integers(len(content)))
    kind = ("flip", "truncate", "zeros")[int(random.integers(3))]
    if kind == "flip":
        content[place] ^= 1 << int(random.integers(8))
    elif kind == "truncate":
        del content[place:]
    else:
        content[place : place + 16] = bytes(len(content[place : place + 16]))
    return kind, bytes(content)


def survive(name, times, folder):
    write, read, checked = FORMATS[name]
    original = folder / "original" / name
    original.parent.mkdir()
    write(original)
    intact = read(original)
    files = [original] if original.is_file() else sorted(p for p in original.rglob("*") if p.is_file())
    random = np.random.default_rng(0)
    for _ in range(times):
        copy = folder / name
        shutil.copy(original, copy) if original.is_file() else shutil.copytree(original, copy)
        chosen = files[int(random.integers(len(files)))]
        target = copy if original.is_file() else copy / chosen.relative_to(original)
        if not target.stat().st_size:
            shutil.rmtree(copy)
            continue
        kind, content = damage(target.read_bytes(), random)
        unchanged = content == target.read_bytes()
        target.write_bytes(content)
        try:
            found = read(copy)
        except Exception as error:
            require_sentence(error)
            TALLY["damaged " + name]["refused"] += 1
        else:
            same = _same(found, intact)
            assert same or not (checked or unchanged), f"{kind} in {chosen.name} went unnoticed"
            assert same or kind != "truncate", f"{chosen.name} was cut short without a word"
            # A format without checksums cannot tell; what it now says is read.
            TALLY["damaged " + name]["right" if same else "altered"] += 1
        copy.unlink() if copy.is_file() else shutil.rmtree(copy)


def _same(found, intact):
    import jax

    ours, theirs = jax.tree.leaves(found), jax.tree.leaves(intact)
    return [_told(array) for array in ours] == [_told(array) for array in theirs]


def _told(array):
    array = np.asarray(array)
    return str(array.dtype), array.shape, array.tobytes()


def needed(name):
    for ending, package in ((".parquet", "pyarrow"), (".nir", "nir"), (".h5", "h5py")):
        if name.endswith(ending):
            pytest.importorskip(package)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_noticed(name, tmp_path):
    needed(name)
    survive(name, 10, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", FORMATS)
def test_a_thousand_damaged_files_are_noticed(name, tmp_path):
    needed(name)
    survive(name, 200, tmp_path)


def test_what_a_checkpoint_holds_is_data(tmp_path):
    """Arrays and JSON: nothing that could be executed when it is read."""
    checkpoint(tmp_path / "run")
    (facts,) = (tmp_path / "run" / "last").glob("*/facts/metadata")
    assert json.loads(facts.read_text())["facts"] == {"epoch": 3}
    assert not [path for path in (tmp_path / "run").rglob("*") if path.suffix in (".pkl", ".py", ".so")]
