"""Training by surrogate-gradient backpropagation through time, evaluation, and exact resume."""

import hashlib
import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from os import PathLike
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxsnn.data.datasets import Dataset
from jaxsnn.learning.checkpoint import Checkpoints, digest
from jaxsnn.network import LayerRecord, Network

Transform = Callable[[nnx.State, jax.Array], nnx.State]
"""`(parameters, key) -> parameters used in the forward pass`; gradients flow through it to the originals."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    **Arguments:**

    - `epochs`, `batch_size`, `timesteps`: counts, at least 1. The last images of an epoch that do not fill a
      batch are left out of it (the order changes every epoch).
    - `learning_rate`: of the start; `decay_at` are fractions of all epochs at which it is multiplied by
      `decay_factor` (Bhattacharjee et al.: divided by 10 at 50 % and 75 %).
    - `optimizer`: "adam" or "sgd" (momentum 0.9).
    - `seed`: of the data order and of every draw during training.
    """

    epochs: int = 20
    batch_size: int = 64
    timesteps: int = 5
    learning_rate: float = 4e-3
    optimizer: str = "adam"
    decay_at: tuple[float, ...] = (0.5, 0.75)
    decay_factor: float = 0.1
    seed: int = 0

    def __post_init__(self):
        for name in ("epochs", "batch_size", "timesteps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be positive and finite, got {self.learning_rate}.")
        if self.optimizer not in ("adam", "sgd"):
            raise ValueError(f"optimizer must be 'adam' or 'sgd', got {self.optimizer!r}.")
        if not all(0 < at < 1 for at in self.decay_at):
            raise ValueError(f"decay_at are fractions of the epochs between 0 and 1, got {self.decay_at}.")

    def schedule(self, steps_per_epoch: int) -> optax.Schedule:
        """The learning rate as a function of the optimiser step."""
        boundaries: dict[int, float] = {}
        for at in self.decay_at:
            step = round(at * self.epochs) * steps_per_epoch
            boundaries[step] = boundaries.get(step, 1.0) * self.decay_factor
        return optax.piecewise_constant_schedule(self.learning_rate, boundaries)

    def transformation(self, steps_per_epoch: int) -> optax.GradientTransformation:
        """The optax optimiser."""
        schedule = self.schedule(steps_per_epoch)
        return optax.adam(schedule) if self.optimizer == "adam" else optax.sgd(schedule, momentum=0.9)


@dataclass(frozen=True)
class EpochMetrics:
    """One line of the history: means over the epoch's batches; fractions, not percent."""

    epoch: int
    loss: float
    train_accuracy: float
    test_accuracy: float
    spike_rate: float
    learning_rate: float
    images_per_second: float


@dataclass(frozen=True)
class TrainResult:
    """The history of a run and how many of its epochs an earlier process had done (`resumed_epochs`)."""

    history: tuple[EpochMetrics, ...]
    resumed_epochs: int

    @property
    def test_accuracy(self) -> float:
        """After the last epoch."""
        return self.history[-1].test_accuracy


@dataclass(frozen=True)
class Evaluation:
    """What [`evaluate`][] saw.

    - `accuracy`: fraction of images classified correctly.
    - `loss`: mean softmax cross-entropy, nats.
    - `record`: one [`LayerRecord`][] per weighted layer, its rates averaged over the images.
    - `predictions`: class of each image, int32.
    """

    accuracy: float
    loss: float
    record: tuple[LayerRecord, ...]
    predictions: np.ndarray


def split_parameters(network: Network) -> tuple[Any, Any, Any]:
    """`(graphdef, parameters, rest)`; `nnx.merge(graphdef, parameters, rest)` is the network again."""
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)  # type: ignore[misc]
    return graphdef, params, rest


def check_finite(params: Any) -> None:
    """**Raises:** `ValueError` that names a parameter holding NaN or infinity."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not bool(jnp.all(jnp.isfinite(leaf))):
            raise ValueError(f"parameter {jax.tree_util.keystr(path)} holds NaN or infinity.")


def _to_float(images: jax.Array) -> jax.Array:
    return images.astype(jnp.float32) / jnp.float32(255) if images.dtype == jnp.uint8 else images


@partial(jax.jit, static_argnames=("graphdef", "timesteps"))
def _evaluate_batch(graphdef, state, images, labels, key, timesteps):
    network = nnx.merge(graphdef, state)
    logits, record = network(_to_float(images), timesteps=timesteps, key=key)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels.astype(jnp.int32))
    return jnp.sum(losses), jnp.argmax(logits, axis=-1).astype(jnp.int32), record


def evaluate(
    network: Network,
    images: Any,
    labels: Any,
    *,
    timesteps: int,
    batch_size: int = 256,
    key: jax.Array | None = None,
) -> Evaluation:
    """Accuracy and spike rates of a network on labelled images.

    **Arguments:**

    - `images`: floats as the network takes them, or uint8, which is divided by 255;
      (count, height, width, channels).
    - `labels`: integers, (count,).
    - `timesteps`: T.
    - `key`: for Poisson encoding.

    **Raises:** `ValueError` for no images, for counts that differ, and for weights that are not finite.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(f"evaluation needs as many labels as images, got {len(labels)} and {len(images)}.")
    graphdef, state = nnx.split(network)
    check_finite(state)
    loss, predictions, records, weights = 0.0, [], [], []
    for number, start in enumerate(range(0, len(images), batch_size)):
        batch = jnp.asarray(images[start : start + batch_size])
        batch_key = None if key is None else jax.random.fold_in(key, number)
        total, predicted, record = _evaluate_batch(
            graphdef, state, batch, jnp.asarray(labels[start : start + batch_size]), batch_key, timesteps
        )
        loss += float(total)
        predictions.append(np.asarray(predicted))
        records.append(jax.tree.map(float, record))
        weights.append(len(batch) / len(images))
    record = jax.tree.map(
        lambda *rates: jnp.asarray(sum(w * r for w, r in zip(weights, rates, strict=True)), jnp.float32),
        *records,
    )
    predicted_classes = np.concatenate(predictions)
    return Evaluation(
        accuracy=float(np.mean(predicted_classes == np.asarray(labels))),
        loss=loss / len(images),
        record=record,
        predictions=predicted_classes,
    )


def mean_spike_rate(record: tuple[LayerRecord, ...]) -> Any:
    """The mean over spiking layers of their spike rate; 0 when nothing spikes."""
    rates = [layer.spike_rate for layer in record if layer.spiking]
    return sum(rates) / len(rates) if rates else jnp.zeros(())


def _identity(network: Network, dataset: Dataset, config: TrainConfig) -> dict[str, Any]:
    graphdef, state = nnx.split(network)
    shapes = [
        (jax.tree_util.keystr(path), str(leaf.dtype), leaf.shape)
        for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]
    ]
    # Functions print with their address, which every process chooses anew.
    described = re.sub(r" at 0x[0-9a-f]+", "", f"{shapes} {graphdef}")
    identity = asdict(config) | {
        "network": hashlib.sha256(described.encode()).hexdigest()[:16],
        "initial_weights": digest(state)[:16],
        "dataset": f"{dataset.name} {dataset.fingerprint[:16]}",
    }
    return json.loads(json.dumps(identity))


@partial(
    jax.jit,
    static_argnames=("graphdef", "optimizer", "scale", "timesteps", "transform"),
    donate_argnames=("params", "rest", "opt_state"),
)
def _train_step(
    graphdef, optimizer, scale, timesteps, transform, params, rest, opt_state, images, labels, indices, key
):
    batch = scale(jnp.take(images, indices, axis=0))
    targets = jnp.take(labels, indices, axis=0).astype(jnp.int32)
    encode_key, transform_key = jax.random.split(key)

    def loss_of(params):
        used = params if transform is None else transform(params, transform_key)
        network = nnx.merge(graphdef, used, rest)
        logits, record = network(batch, timesteps=timesteps, key=encode_key, training=True)
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, targets))
        accuracy = jnp.mean(jnp.argmax(logits, axis=-1).astype(jnp.int32) == targets, dtype=jnp.float32)
        rest_after = split_parameters(network)[2]
        return loss, (
            rest_after,
            jnp.stack([jnp.float32(m) for m in (loss, accuracy, mean_spike_rate(record))]),
        )

    gradient, (rest, metrics) = jax.grad(loss_of, has_aux=True)(params)
    with jax.numpy_dtype_promotion("standard"):  # Optax raises floats to integer powers.
        updates, opt_state = optimizer.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), rest, opt_state, metrics


def fit(
    network: Network,
    dataset: Dataset,
    config: TrainConfig,
    *,
    checkpoint_dir: str | PathLike | None = None,
    transform: Transform | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    progress: bool = False,
) -> TrainResult:
    """Train a network in place on softmax cross-entropy of its logits.

    The order of the images, the spikes of Poisson encoding and the draws of `transform` are functions of
    (seed, epoch, batch), so the same inputs give the same bits, also through a kill and a resume.

    **Arguments:**

    - `checkpoint_dir`: after each epoch, the run's state is written here ("last", and "best" by test
      accuracy), with `metrics.jsonl` beside it. When the folder already holds this run, it continues.
    - `transform`: parameters → parameters used in the forward pass, e.g. the effective weights of a chip. A
      checkpoint cannot tell one transform from another.
    - `on_epoch`: called with the metrics of each finished epoch, restored ones included.
    - `progress`: show a progress bar with loss, accuracy, spike rate and images per second.

    **Returns:** a [`TrainResult`][]; the network holds the last epoch's parameters.

    **Raises:** `ValueError` for weights that are not finite, for a checkpoint that is corrupt or of another
    run, and when the loss diverges (the last finished epoch stays on disk).
    """
    graphdef, params, rest = split_parameters(network)
    check_finite(params)
    batch_size = min(config.batch_size, len(dataset.train_images))
    batches = len(dataset.train_images) // batch_size
    optimizer = config.transformation(batches)
    opt_state = optimizer.init(params)
    history: list[EpochMetrics] = []
    checkpoints = None
    if checkpoint_dir is not None:
        checkpoints = Checkpoints(checkpoint_dir, _identity(network, dataset, config))
        restored = checkpoints.restore("last", (params, rest, opt_state))
        if restored is not None:
            (params, rest, opt_state), facts = restored
            history = [EpochMetrics(**line) for line in facts["history"]]
    resumed = len(history)
    for metrics in history:
        if on_epoch is not None:
            on_epoch(metrics)
    # The jitted step gives its inputs' memory to its outputs, and the caller's network still holds them.
    params, rest, opt_state = jax.tree.map(jnp.array, (params, rest, opt_state))
    images, labels = jnp.asarray(dataset.train_images), jnp.asarray(dataset.train_labels)

    with _Progress(progress, config.epochs, batches) as bar:
        for epoch in range(resumed, config.epochs):
            began = time.perf_counter()
            epoch_key = jax.random.fold_in(jax.random.key(config.seed), epoch)
            order = jax.random.permutation(epoch_key, len(images))
            totals = []
            for batch in range(batches):
                params, rest, opt_state, metrics = _train_step(
                    graphdef,
                    optimizer,
                    dataset.scale,
                    config.timesteps,
                    transform,
                    params,
                    rest,
                    opt_state,
                    images,
                    labels,
                    order[batch * batch_size : (batch + 1) * batch_size],
                    jax.random.fold_in(epoch_key, 1 + batch),
                )
                totals.append(metrics)
                bar.batch(epoch, totals)
            loss, train_accuracy, spike_rate = (float(value) for value in np.mean(np.stack(totals), axis=0))
            if not math.isfinite(loss):
                raise ValueError(
                    f"training diverged in epoch {epoch + 1}: the loss is {loss}; lower learning_rate "
                    f"({config.learning_rate}) or check the input's scale."
                )
            seconds = time.perf_counter() - began
            nnx.update(network, params, rest)
            history.append(
                EpochMetrics(
                    epoch=epoch + 1,
                    loss=loss,
                    train_accuracy=train_accuracy,
                    test_accuracy=_test_accuracy(network, dataset, config, transform, epoch_key),
                    spike_rate=spike_rate,
                    learning_rate=float(config.schedule(batches)((epoch + 1) * batches - 1)),
                    images_per_second=batches * batch_size / seconds,
                )
            )
            bar.epoch(history[-1])
            if checkpoints is not None:
                facts = {"history": [asdict(line) for line in history]}
                if history[-1].test_accuracy >= max(line.test_accuracy for line in history):
                    checkpoints.save("best", (params, rest, opt_state), facts)
                checkpoints.save("last", (params, rest, opt_state), facts)
                checkpoints.write_lines("metrics.jsonl", facts["history"])
            if on_epoch is not None:
                on_epoch(history[-1])
    nnx.update(network, params, rest)
    return TrainResult(history=tuple(history), resumed_epochs=resumed)


def _test_accuracy(network, dataset, config, transform, epoch_key) -> float:
    encode_key, transform_key = jax.random.split(jax.random.fold_in(epoch_key, 0))
    if transform is not None:
        graphdef, params, rest = split_parameters(network)
        network = nnx.merge(graphdef, transform(params, transform_key), rest)
    return evaluate(
        network,
        dataset.scale(dataset.test_images),
        dataset.test_labels,
        timesteps=config.timesteps,
        key=encode_key,
    ).accuracy


class _Progress:
    """A rich bar over all batches, or nothing."""

    def __init__(self, show: bool, epochs: int, batches: int):
        self.bar = None
        if show:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
            )
            self.task = self.bar.add_task("", total=epochs * batches)
            self.batches = batches

    def __enter__(self):
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *exception):
        if self.bar is not None:
            self.bar.stop()

    def batch(self, epoch: int, totals: list) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=epoch * self.batches + len(totals))

    def epoch(self, metrics: EpochMetrics) -> None:
        if self.bar is not None:
            self.bar.update(
                self.task,
                description=f"loss {metrics.loss:.3f}  test {metrics.test_accuracy:.1%}  "
                f"spikes {metrics.spike_rate:.1%}  {metrics.images_per_second:.0f} images/s",
            )
