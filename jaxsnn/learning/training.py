"""Training by surrogate-gradient backpropagation through time, evaluation, and exact resume."""

import contextlib
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxsnn.data.datasets import Dataset
from jaxsnn.data.pixels import is_float
from jaxsnn.encoding import Frames, inputs_of
from jaxsnn.layers import require_reachable
from jaxsnn.learning.checkpoint import Checkpoints
from jaxsnn.learning.config import TrainConfig
from jaxsnn.learning.evaluation import (
    Evaluation,
    check_finite,
    evaluate,
    not_finite,
    split_parameters,
)
from jaxsnn.learning.identity import identity
from jaxsnn.learning.lock import locked
from jaxsnn.learning.progress import Progress
from jaxsnn.learning.step import Penalty, Step, train_step
from jaxsnn.learning.tensorboard import scalars
from jaxsnn.learning.transform import Transform, Transforms, apply_transform, as_transform
from jaxsnn.network import Network

__all__ = [
    "EpochMetrics",
    "Evaluation",
    "Penalty",
    "TrainConfig",
    "TrainResult",
    "Transform",
    "apply_transform",
    "evaluate",
    "fit",
    "split_parameters",
]


@dataclass(frozen=True)
class EpochMetrics:
    """One line of the history: means over the epoch's batches; fractions, not percent.

    `loss` is that of the task; `penalty` comes on top.
    """

    epoch: int
    loss: float
    train_accuracy: float
    test_accuracy: float
    spike_rate: float
    learning_rate: float
    images_per_second: float
    penalty: float = 0.0
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """The history of a run and how many of its epochs an earlier process had done (`resumed_epochs`)."""

    history: tuple[EpochMetrics, ...]
    resumed_epochs: int

    @property
    def test_accuracy(self) -> float:
        """After the last epoch."""
        return self.history[-1].test_accuracy


def _check_validation(dataset: Dataset, config: TrainConfig) -> None:
    count = len(dataset.train_images)
    held = round(config.validation * count)
    if config.validation and held in (0, count):
        raise ValueError(
            f"validation={config.validation} of {count} training images holds out {held}; it must hold out "
            f"one at least and leave one at least: give a fraction from 1/{count} to {count - 1}/{count}, or "
            "0 to hold out none."
        )


def _check_events(dataset: Dataset, config: TrainConfig) -> None:
    """A half is no event that could be lost: all fractions would be cut off, and what is below zero."""
    images = dataset.train_images
    if not (config.drop and dataset.timed and isinstance(images, np.ndarray) and is_float(images.dtype)):
        return
    for start in range(0, len(images), 1024):
        part = images[start : start + 1024]
        wrong = (part < 0) | (part != np.floor(part))
        if wrong.any():
            raise ValueError(
                f"drop loses single events, and data set {dataset.name!r} holds {part[wrong][0]}, which is "
                "no count of events; leave drop out."
            )


def _check_outputs(network: Network, dataset: Dataset, timesteps: int) -> None:
    given = isinstance(network.encoding, Frames)
    if given != dataset.timed:
        holds, encoding = ("frames", "Frames()") if dataset.timed else ("images", "Direct() or Poisson()")
        raise ValueError(
            f"data set {dataset.name!r} holds {holds} and the network's encoding is {network.encoding}; make "
            f"the network with encoding={encoding}."
        )
    graphdef, state = nnx.split(network)

    def logits(state, examples, key):
        network = nnx.merge(graphdef, state)
        return network(inputs_of(network.encoding, examples, timesteps), timesteps=timesteps, key=key)[0]

    image = jax.ShapeDtypeStruct((1, *dataset.train_images.shape[1:]), jnp.float32)
    outputs = jax.eval_shape(logits, state, image, jax.random.key(0)).shape[-1]
    if outputs != dataset.classes:
        raise ValueError(
            f"the network has {outputs} outputs and data set {dataset.name!r} has {dataset.classes} classes; "
            "they must be equal."
        )


def _mesh(devices: int) -> Mesh:
    available = jax.devices()
    if devices > len(available):
        raise ValueError(f"training on {devices} devices was asked for, and there are {len(available)}.")
    if jax.process_count() > 1 and devices < len(available):
        raise ValueError(
            f"{jax.process_count()} processes train together on all their {len(available)} devices; "
            f"set devices={len(available)}, got {devices}."
        )
    return Mesh(np.asarray(available[:devices]), ("data",))


def _local(tree):
    """This process's copy of what every device holds."""
    return jax.tree.map(
        lambda array: array if array.is_fully_addressable else array.addressable_data(0), tree
    )


def _epochs_if_finished(facts: dict[str, Any]) -> str | None:
    """A run may go on for more epochs once it has done all of its own."""
    return "epochs" if len(facts["history"]) == facts.get("epochs") else None


_ONE_BATCH = 512
"""Test images that are seen at once if there are no more."""

_CHECKED = 16
"""Batches from one look for NaN to the next, which waits for the last of them."""


def _divergence(totals, params, rest) -> str | None:
    """What is no longer finite after these batches: a loss, or else an array of the network."""
    losses = np.stack(totals)[:, [0, 3]].sum(axis=1)
    if not np.isfinite(losses).all():
        return f"the loss is {losses[~np.isfinite(losses)][0]}"
    # NaN never fires, so that a loss can stay finite above weights that are not.
    name = not_finite(params) or not_finite(rest)
    return None if name is None else f"parameter {name} holds NaN or infinity"


def _warn_if_silent(totals) -> None:
    """Say so if no batch had another loss than the first: its images made no difference."""
    losses = np.stack(totals)[:, 0]
    if len(losses) > 1 and np.ptp(losses) == 0:
        warnings.warn(
            f"all {len(losses)} batches of the last epoch had the same loss, {losses[0]:.4f}: no spike "
            "reaches the readout. Lower the threshold, start from larger kernels (kernel_init), or add a "
            "normalisation (norm).",
            stacklevel=4,
        )


def _better(history: list[EpochMetrics]) -> bool:
    """Whether the last epoch is the best one, by the held out images or else by the training loss."""
    if history[-1].validation_accuracy is None:
        return history[-1].loss <= min(line.loss for line in history)
    return history[-1].validation_accuracy >= max(line.validation_accuracy or 0.0 for line in history)


def fit(
    network: Network,
    dataset: Dataset,
    config: TrainConfig,
    *,
    checkpoint_dir: str | PathLike | None = None,
    transform: Transforms | None = None,
    penalty: Penalty | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    tensorboard_dir: str | PathLike | None = None,
    progress: bool = False,
) -> TrainResult:
    """Train a network in place on softmax cross-entropy of its logits.

    The order of the images, the spikes of Poisson encoding and the draws of `transform` are functions of
    (seed, epoch, batch), so the same inputs give the same bits, also through a kill and a resume.

    **Arguments:**

    - `network`: a [`Network`][]; its parameters are changed.
    - `dataset`: a [`jaxsnn.data.dataset.Dataset`][], whose training split is learnt.
    - `config`: a [`TrainConfig`][].
    - `checkpoint_dir`: after each epoch, the run's state is written here ("last", and "best" by
      the held out images, see [`TrainConfig`][]), with `metrics.jsonl` beside it. When the folder already
      holds this run, it continues. Of several processes the first one writes, and all read.
      [`jaxsnn.learning.checkpoint.load_checkpoint`][] puts either into a network.
    - `transform`: what the forward pass uses instead of the network, e.g. the network on a chip: a
      [`Transform`][], or a function `(parameters, key) -> parameters`. Test images see
      [`Transform.evaluation`][].
    - `penalty`: a scalar of the logits after each timestep, of the records and of the parameters that is
      added to the loss, e.g. what the batch costs a chip. A checkpoint tells transforms and penalties that
      are dataclasses by their fields, others by their `repr`, and functions by no more than their name.
    - `on_epoch`: called with the metrics of each finished epoch, restored ones included.
    - `tensorboard_dir`: the metrics of each epoch, restored ones included, go to one event file here, in
      place of that of an earlier run; give each run its own folder. Needs the extra `tensorboard`.
    - `progress`: show a bar with loss, accuracy, spike rate and images per second of the epoch so far.

    **Returns:** a [`TrainResult`][]; the network holds the last epoch's parameters, without the transform:
    [`apply_transform`][]`(network, transform)` is the network that ran, e.g. pruned or quantised.

    **Raises:** `OSError` for a `checkpoint_dir` that cannot be written to; `ValueError` for weights that are
    not finite, for a network that is a programmed chip with converters, for a number of outputs that is not
    the data set's number of classes, for a checkpoint that is corrupt or of another run or version, and when
    the loss or a weight stops being finite, which is looked for every 16 batches: the last finished epoch
    stays on disk, and such weights stay out of the network. Warns if the last epoch shows that nothing fires.
    """
    alone: Any = contextlib.nullcontext()
    if checkpoint_dir is not None and jax.process_index() == 0:
        alone = locked(Path(checkpoint_dir), "choose another checkpoint_dir (on the command line: --out)")
    with alone:
        return _fit(
            network, dataset, config, checkpoint_dir, transform, penalty, on_epoch, tensorboard_dir, progress
        )


def _fit(
    network: Network,
    dataset: Dataset,
    config: TrainConfig,
    checkpoint_dir: str | PathLike | None,
    transform: Transforms | None,
    penalty: Penalty | None,
    on_epoch: Callable[[EpochMetrics], None] | None,
    tensorboard_dir: str | PathLike | None,
    progress: bool,
) -> TrainResult:
    require_reachable(
        network,
        "training",
        "train the network that was programmed, with transform=NoiseAware(crossbar, converters)",
    )
    graphdef, params, rest = split_parameters(network)
    check_finite(params)
    _check_outputs(network, dataset, config.timesteps)
    _check_validation(dataset, config)
    _check_events(dataset, config)
    training = dataset if config.validation == 0 else dataset.hold_out(config.validation, config.seed)
    batch_size = min(config.batch_size, len(training.train_images))
    config.check_batch(batch_size)
    batches = len(training.train_images) // batch_size
    optimizer = config.transformation(batches)
    opt_state = optimizer.init(params)
    chosen = None if transform is None else as_transform(transform)
    transform_state = () if chosen is None else chosen.init(network)
    history: list[EpochMetrics] = []
    first_process = jax.process_index() == 0
    checkpoints = None
    if checkpoint_dir is not None:
        checkpoints = Checkpoints(checkpoint_dir, identity(network, dataset, config, chosen, penalty))
        restored = checkpoints.restore(
            "last", (params, rest, opt_state, transform_state), may_grow=_epochs_if_finished
        )
        if restored is not None:
            (params, rest, opt_state, transform_state), facts = restored
            history = [EpochMetrics(**line) for line in facts["history"]]
            if first_process:  # A kill may have come after the checkpoint and before its lines.
                checkpoints.write_lines("metrics.jsonl", facts["history"])
    resumed = len(history)
    for metrics in history:
        if on_epoch is not None:
            on_epoch(metrics)
    # The jitted step gives its inputs' memory to its outputs, and the caller's network still holds them.
    params, rest, opt_state, transform_state = jax.tree.map(
        jnp.array, (params, rest, opt_state, transform_state)
    )
    # Recordings, and arrays that lie on disk, may be larger than memory.
    whole = isinstance(training.train_images, np.ndarray) and not isinstance(training.train_images, np.memmap)
    images: Any = training.train_images
    labels: Any = training.train_labels
    if whole:
        images, labels = jnp.asarray(images), jnp.asarray(labels)

    def place(arrays: Any) -> Any:
        return arrays if sharding is None else jax.device_put(arrays, everywhere)

    sharding = None
    if config.devices > 1 or jax.process_count() > 1:
        mesh = _mesh(config.devices)
        sharding = NamedSharding(mesh, PartitionSpec("data"))
        everywhere = NamedSharding(mesh, PartitionSpec())
        params, rest, opt_state, transform_state = place((params, rest, opt_state, transform_state))
        if whole:
            images, labels = place((images, labels))
    step = Step(graphdef, config, optimizer, dataset.scale, dataset.timed, chosen, penalty, sharding)

    with (
        Progress(progress and first_process, config.epochs, batches, batch_size, resumed) as bar,
        scalars(tensorboard_dir if first_process else None) as write_scalars,
    ):
        for metrics in history:
            write_scalars(asdict(metrics))
        for epoch in range(resumed, config.epochs):
            began = time.perf_counter()
            epoch_key = jax.random.fold_in(jax.random.key(config.seed), epoch)
            order = jax.random.permutation(epoch_key, len(images))
            totals = []
            for batch in range(batches):
                indices = order[batch * batch_size : (batch + 1) * batch_size]
                source = images, labels
                if not whole:
                    now = np.asarray(indices)
                    source = place((jnp.asarray(images[now]), jnp.asarray(labels[now])))
                    indices = jnp.arange(batch_size)
                params, rest, opt_state, transform_state, metrics = train_step(
                    step,
                    params,
                    rest,
                    opt_state,
                    transform_state,
                    *source,
                    indices,
                    jax.random.fold_in(epoch_key, 1 + batch),
                )
                totals.append(metrics)
                bar.batch(epoch, totals)
                if len(totals) % _CHECKED == 0 or len(totals) == batches:
                    problem = _divergence(totals[-_CHECKED:], _local(params), _local(rest))
                    if problem is not None:
                        raise ValueError(
                            f"training diverged in epoch {epoch + 1}: {problem}; lower learning_rate "
                            f"({config.learning_rate}) or check the input's scale."
                        )
            # Not earlier: a network may start silent and find its spikes through the surrogate's slope.
            if epoch + 1 == config.epochs:
                _warn_if_silent(totals)
            means = np.mean(np.stack(totals), axis=0)
            loss, train_accuracy, spike_rate, charged = (float(value) for value in means)
            seconds = time.perf_counter() - began
            nnx.update(network, _local(params), _local(rest))
            held_out = None
            if config.validation:
                held_out = _test_accuracy(network, training, config, chosen, epoch_key)
            history.append(
                EpochMetrics(
                    epoch=epoch + 1,
                    loss=loss,
                    train_accuracy=train_accuracy,
                    test_accuracy=_test_accuracy(network, dataset, config, chosen, epoch_key),
                    spike_rate=spike_rate,
                    learning_rate=float(config.rate(batches)((epoch + 1) * batches - 1)),
                    images_per_second=batches * batch_size / seconds,
                    penalty=charged,
                    validation_accuracy=held_out,
                )
            )
            bar.epoch(history[-1])
            write_scalars(asdict(history[-1]))
            if checkpoints is not None and first_process:
                facts = {"history": [asdict(line) for line in history], "epochs": config.epochs}
                held = _local((params, rest, opt_state, transform_state))
                if _better(history):
                    # First: a kill between the two runs this epoch again, and loses neither.
                    checkpoints.save("best", held, facts)
                    checkpoints.copy("best", "last")
                else:
                    checkpoints.save("last", held, facts)
                checkpoints.write_lines("metrics.jsonl", facts["history"])
            if on_epoch is not None:
                on_epoch(history[-1])
    nnx.update(network, _local(params), _local(rest))
    return TrainResult(history=tuple(history), resumed_epochs=resumed)


@partial(jax.jit, static_argnames=("graphdef", "transform"))
def _running(graphdef, transform, state, key):
    """What a transform makes of a network, split."""
    return nnx.split(apply_transform(nnx.merge(graphdef, state, copy=True), transform, key=key))


def _test_accuracy(network, dataset, config, transform, epoch_key) -> float:
    encode_key, transform_key = jax.random.split(jax.random.fold_in(epoch_key, 0))
    if transform is not None:
        graphdef, state = nnx.split(network)
        network = nnx.merge(*_running(graphdef, transform.evaluation(), state, transform_key))
    count = len(dataset.test_images)
    return evaluate(
        network,
        dataset.scale(dataset.test_images),
        dataset.test_labels,
        timesteps=config.timesteps,
        # Each size of a batch is compiled.
        batch_size=count if count <= _ONE_BATCH else 256,
        key=encode_key,
    ).accuracy
