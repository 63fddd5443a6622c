"""Orbax checkpoints that are complete or absent, belong to one run, and are verified when read."""

import hashlib
import json
import logging
import shutil
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

_FORMAT = 1


def digest(tree: Any) -> str:
    """SHA-256 of every leaf's path, dtype, shape and bytes."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.asarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


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

    def _folder(self, kind: str) -> Path:
        return self.directory / kind

    def save(self, kind: str, tree: Any, facts: dict[str, Any]) -> None:
        """Write `tree` (arrays) and `facts` (JSON) as the newest checkpoint of a `kind` ("last", "best")."""
        folder = self._folder(kind)
        steps = self._steps(kind)
        step = (steps[-1] + 1) if steps else 0
        envelope = {"format": _FORMAT, "identity": self.identity, "digest": digest(tree), "facts": facts}
        beside = folder / f".writing-{step}"
        shutil.rmtree(beside, ignore_errors=True)  # What a killed process left.
        with _checkpointer() as checkpointer:
            checkpointer.save(
                beside,
                ocp.args.Composite(
                    arrays=ocp.args.StandardSave(_flat(tree)), facts=ocp.args.JsonSave(envelope)
                ),
            )
        beside.rename(folder / str(step))
        for old in steps:  # Only after the new one is in place.
            shutil.rmtree(folder / str(old))

    def _steps(self, kind: str) -> list[int]:
        folder = self._folder(kind)
        if not folder.is_dir():
            return []
        return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())

    def write_lines(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Replace a file by JSON lines in one step."""
        beside = self.directory / f".{name}.new"
        beside.write_text("".join(json.dumps(line) + "\n" for line in lines))
        beside.replace(self.directory / name)

    def restore(self, kind: str, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """`(tree, facts)` of the newest checkpoint in the structure of `like`, or None when there is none."""
        steps = self._steps(kind)
        if not steps:
            return None
        path = self._folder(kind) / str(steps[-1])
        try:
            with _checkpointer() as checkpointer:
                envelope = checkpointer.restore(path, ocp.args.Composite(facts=ocp.args.JsonRestore())).facts
                if envelope["format"] != _FORMAT:
                    raise ValueError(f"format {envelope['format']} is not {_FORMAT}")
                difference = _difference(envelope["identity"], self.identity)
                stored, facts = envelope["digest"], envelope["facts"]
        except Exception as error:
            raise ValueError(_corrupt(path, error)) from error
        if difference:
            raise ValueError(
                f"the checkpoint in {self.directory} belongs to another run: {difference}; "
                "use another folder, or delete this one to start again."
            )
        try:
            with _checkpointer() as checkpointer:
                arrays = checkpointer.restore(
                    path, ocp.args.Composite(arrays=ocp.args.StandardRestore(_flat(like)))
                ).arrays
            tree = jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in sorted(arrays)])
            if digest(tree) != stored:
                raise ValueError("its arrays do not match their checksum")
        except Exception as error:
            raise ValueError(_corrupt(path, error)) from error
        return tree, facts


def _flat(tree: Any) -> dict[str, Any]:
    # NumPy arrays: Orbax refuses one process's JAX arrays when there are several.
    return {f"{index:06d}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(tree))}


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
