"""Orbax checkpoints that are complete or absent, belong to one run, and are verified when read."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from jaxsnn.checks import require_choice
from jaxsnn.learning.digest import digest_of, is_key, named
from jaxsnn.learning.evaluation import split_parameters
from jaxsnn.network import Network

_FORMAT = 2
_FILE_BYTES, _CHUNK_BYTES = 12 * 2**20, 4 * 2**20
"""A file ends with the chunk that passes its size, and so stays below 16 MiB, which any transport takes."""


def _like(leaf: Any, array: np.ndarray) -> Any:
    """What was stored for `leaf`, as the leaf is."""
    return (
        jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
        if is_key(leaf)
        else array
    )


def _checkpointer() -> ocp.Checkpointer:
    """One that waits for no other process: the first one alone writes, and every one reads for itself."""
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=here, active_processes={here})
    handler = ocp.CompositeCheckpointHandler(
        "arrays",
        "facts",
        composite_options=ocp.CompositeOptions(multiprocessing_options=alone),
    )
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


class Checkpoints:
    """The checkpoints of one training run in one folder.

    A step is written beside its place and renamed, so that a kill at any moment leaves the previous step. It
    holds arrays and JSON, nothing that executes.

    **Arguments:**

    - `directory`: created when absent.
    - `identity`: JSON-able description of the run (configuration, data, shapes); a checkpoint with another
      identity is refused.

    **Raises:** `ValueError` when the folder holds another run, or a checkpoint that cannot be read whole.
    """

    def __init__(self, directory: str | PathLike, identity: dict[str, Any]):
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax narrates every array it writes.
        self.directory = Path(directory).absolute()
        self.identity = identity

    def save(self, kind: str, tree: Any, facts: dict[str, Any]) -> None:
        """Write `tree` (arrays) and `facts` (JSON) as the newest checkpoint of a `kind` ("last", "best")."""
        arrays = named(tree)
        envelope = {
            "format": _FORMAT,
            "identity": self.identity,
            "names": list(arrays),
            "digest": digest_of(arrays),
            "facts": facts,
        }
        envelope["seal"] = _seal(envelope)
        numbered = _numbered(arrays)
        saved = ocp.args.PyTreeSave(
            numbered,
            save_args={name: ocp.SaveArgs(chunk_byte_size=_CHUNK_BYTES) for name in numbered},
            ocdbt_target_data_file_size=_FILE_BYTES,
        )

        def write(path: Path) -> None:
            with _checkpointer() as checkpointer:
                checkpointer.save(path, ocp.args.Composite(arrays=saved, facts=ocp.args.JsonSave(envelope)))

        self._put(kind, write)

    def copy(self, kind: str, other: str) -> None:
        """Make the newest checkpoint of a kind the newest of another, too."""
        newest = _newest(self.directory / kind)
        if newest is None:
            raise ValueError(f"{self.directory} holds no {kind!r} checkpoint to copy.")
        self._put(other, lambda path: shutil.copytree(newest, path))

    def _put(self, kind: str, write: Callable[[Path], Any]) -> None:
        """The next step of a kind in place of those before."""
        folder = self.directory / kind
        steps = _steps(folder)
        step = (steps[-1] + 1) if steps else 0
        beside = folder / f".writing-{step}"
        shutil.rmtree(beside, ignore_errors=True)  # What a killed process left.
        write(beside)
        beside.rename(folder / str(step))
        for old in steps:  # Only after the new one is in place.
            shutil.rmtree(folder / str(old))

    def write_lines(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Replace a file by JSON lines in one step."""
        beside = self.directory / f".{name}.new"
        beside.write_text("".join(json.dumps(line) + "\n" for line in lines))
        beside.replace(self.directory / name)

    def restore(
        self, kind: str, like: Any, may_grow: Callable[[dict[str, Any]], str | None] = lambda facts: None
    ) -> tuple[Any, dict[str, Any]] | None:
        """`(tree, facts)` of the newest checkpoint in the structure of `like`, or None when there is none.

        `may_grow` names, from the facts, a number of the identity that may be greater now than it was.
        """
        path = _newest(self.directory / kind)
        if path is None:
            return None
        envelope = _envelope(path)
        stored, grows = envelope["identity"], may_grow(envelope["facts"])
        if grows is not None and grows in stored and stored[grows] < self.identity[grows]:
            stored = stored | {grows: self.identity[grows]}
        difference = _difference(stored, self.identity)
        if difference:
            raise ValueError(
                f"the checkpoint in {self.directory} belongs to another run: {difference}; "
                "use another folder, or delete this one to start again."
            )
        arrays = _arrays(path, envelope, _numbered(named(like)))
        leaves, structure = jax.tree.flatten(like)
        found = [_like(leaf, array) for leaf, array in zip(leaves, arrays.values(), strict=True)]
        return jax.tree.unflatten(structure, found), envelope["facts"]


def load_checkpoint(network: Network, directory: str | PathLike, which: str = "best") -> dict[str, Any]:
    """Put what a run of [`jaxsnn.learning.training.fit`][] kept into a network: parameters and statistics.

    **Arguments:**

    - `network`: of the architecture that was trained; changed in place. What a transform makes of it is not
      in it, see [`jaxsnn.learning.transform.apply_transform`][].
    - `directory`: the `checkpoint_dir` of the run.
    - `which`: "best", the epoch chosen by the held out images or else by the training loss, or "last".

    **Returns:** the metrics of that epoch, its line of `metrics.jsonl`.

    **Raises:** `ValueError` when there is no such checkpoint, when it is corrupt, and, naming an array, when
    it is of another architecture; the network is then as before.
    """
    require_choice("which", which, ("best", "last"))
    path = _newest(Path(directory).absolute() / which)
    if path is None:
        raise ValueError(f"{directory} holds no {which!r} checkpoint; fit(checkpoint_dir=...) writes them.")
    envelope = _envelope(path)
    stored = _arrays(path, envelope)
    ours = split_parameters(network)[1:]  # What a run's checkpoint begins with.
    wanted = named(ours)
    found = {name: array for name, array in stored.items() if name.startswith(("[0]", "[1]"))}
    for name in sorted(wanted.keys() | found.keys()):
        there, here = (_kind(arrays.get(name)) for arrays in (found, wanted))
        if there != here:
            raise ValueError(
                f"the checkpoint {path} is of another network: {name[3:]} is {there} there and {here} here."
            )
    own, structure = jax.tree.flatten(ours)
    leaves = [jnp.asarray(_like(leaf, found[name])) for leaf, name in zip(own, wanted, strict=True)]
    nnx.update(network, *jax.tree.unflatten(structure, leaves))
    return envelope["facts"]["history"][-1]


def _kind(array: np.ndarray | None) -> str:
    return "absent" if array is None else f"{array.dtype} {array.shape}"


def _steps(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())


def _newest(folder: Path) -> Path | None:
    steps = _steps(folder)
    return folder / str(steps[-1]) if steps else None


def _numbered(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{index:06d}": array for index, array in enumerate(arrays.values())}


def _envelope(path: Path) -> dict[str, Any]:
    """What is written beside the arrays."""
    try:
        with _checkpointer() as checkpointer:
            envelope = checkpointer.restore(path, ocp.args.Composite(facts=ocp.args.JsonRestore())).facts
        version = envelope["format"]
        # Checkpoints of before had no seal.
        if version == _FORMAT and envelope.get("seal", _seal(envelope)) != _seal(envelope):
            raise ValueError("what is written beside its arrays does not match its checksum")
        missing = {"identity", "names", "digest", "facts"} - envelope.keys()
        if version == _FORMAT and missing:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except Exception as error:
        raise ValueError(_corrupt(path, error)) from error
    if version != _FORMAT:
        raise ValueError(
            f"the checkpoint {path} has format {version} and this version of jaxsnn reads {_FORMAT}; "
            "use the version that wrote it, or delete it."
        )
    return envelope


def _seal(envelope: dict[str, Any]) -> str:
    """A checksum of what is written beside the arrays, as JSON gives it back."""
    content = json.dumps({key: value for key, value in envelope.items() if key != "seal"})
    return hashlib.sha256(json.dumps(json.loads(content), sort_keys=True).encode()).hexdigest()


def _arrays(
    path: Path, envelope: dict[str, Any], like: dict[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """The arrays by their names, as they were written; `like` says what shapes to expect."""
    try:
        with _checkpointer() as checkpointer:
            numbered = checkpointer.restore(
                path, ocp.args.Composite(arrays=ocp.args.StandardRestore(like))
            ).arrays
        arrays = dict(zip(envelope["names"], (numbered[key] for key in sorted(numbered)), strict=True))
        if digest_of(arrays) != envelope["digest"]:
            raise ValueError("its arrays do not match their checksum")
    except Exception as error:
        raise ValueError(_corrupt(path, error)) from error
    return arrays


def _corrupt(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200].rstrip(".")
    return (
        f"the checkpoint {path} is corrupt and cannot be used ({type(error).__name__}: {reason}); delete it."
    )


def _difference(stored: dict[str, Any], current: dict[str, Any]) -> str:
    changed = [
        f"{key} was {stored.get(key)!r} and is {current.get(key)!r}"
        for key in sorted(stored.keys() | current.keys())
        if stored.get(key) != current.get(key)
    ]
    return "; ".join(changed)[:400]
