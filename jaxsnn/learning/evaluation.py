"""Accuracy and spike rates of a network on labelled images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxsnn.data.batches import batch_starts
from jaxsnn.data.pixels import check_images, whole_numbers
from jaxsnn.encoding import inputs_of
from jaxsnn.network import LayerRecord, Network, batch_key


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
    graphdef, *parts = nnx.split(network, nnx.Param, ...)
    params, rest = parts
    return graphdef, params, rest


@jax.jit
def _finite(leaves):
    # A sum of zeros unless one is NaN or infinite: XLA compiles a reduction by `and` for twice as long.
    return [jnp.sum(leaf * 0) == 0 for leaf in leaves]


def not_finite(tree: Any) -> str | None:
    """The path of an array that holds NaN or infinity, or None."""
    named = {
        jax.tree_util.keystr(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    }
    finite = jax.device_get(_finite(list(named.values())))
    return next((name for name, good in zip(named, finite, strict=True) if not good), None)


def check_finite(params: Any) -> None:
    """**Raises:** `ValueError` that names a parameter holding NaN or infinity."""
    name = not_finite(params)
    if name is not None:
        raise ValueError(f"parameter {name} holds NaN or infinity.")


def evaluate_batch(
    graphdef: Any, state: Any, images: jax.Array, labels: jax.Array, key: jax.Array | None, timesteps: int
) -> tuple[jax.Array, jax.Array, jax.Array, tuple[LayerRecord, ...]]:
    """The summed loss, logits, classes and record of one batch; what [`evaluate`][] compiles."""
    network = nnx.merge(graphdef, state)
    inputs = inputs_of(network.encoding, images, timesteps)
    logits, record = network(inputs, timesteps=timesteps, key=key)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels.astype(jnp.int32))
    return jnp.sum(losses), logits, jnp.argmax(logits, axis=-1).astype(jnp.int32), record


_compiled = jax.jit(evaluate_batch, static_argnames=("graphdef", "timesteps"))


def evaluate(
    network: Network,
    images: Any,
    labels: Any,
    *,
    timesteps: int,
    batch_size: int = 256,
    key: jax.Array | None = None,
    compiled: Callable[..., Any] = _compiled,
) -> Evaluation:
    """Accuracy and spike rates of a network on labelled images.

    **Arguments:**

    - `images`: (count, height, width, channels), of a type that [`jaxsnn.data.pixels.unit_pixels`][] names;
      for a network of [`Frames`][jaxsnn.encoding.Frames], (count, timesteps, ...). An array, or
      [`Recordings`][jaxsnn.data.frames.Recordings], of which one batch at a time is read. A mean and std are
      the data set's to apply ([`Dataset.scale`][jaxsnn.data.dataset.Dataset.scale]).
    - `labels`: whole numbers, (count,), each below the number of outputs.
    - `timesteps`: T.
    - `key`: for Poisson encoding, and for the reads of a chip, which differ between batches without it too.
    - `compiled`: [`evaluate_batch`][], compiled with `graphdef` and `timesteps` static; `jax.jit` by default.

    **Raises:** `ValueError` for no images, for counts that differ, for NaN or infinite pixels, for labels
    that the network has no output for, and for weights that are not finite.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(f"evaluation needs as many labels as images, got {len(labels)} and {len(images)}.")
    check_images(images, "evaluation")
    labels = whole_numbers(labels, "evaluation")
    graphdef, state = nnx.split(network)
    check_finite(state)
    lowest, highest = int(np.min(labels)), int(np.max(labels))
    loss, predictions, records, weights = 0.0, [], [], []
    for number, start in enumerate(batch_starts(len(images), batch_size)):
        batch = jnp.asarray(images[start : start + batch_size])
        total, logits, predicted, record = compiled(
            graphdef,
            state,
            batch,
            jnp.asarray(labels[start : start + batch_size]),
            batch_key(network, key, number),
            timesteps,
        )
        outputs = logits.shape[-1]
        if lowest < 0 or highest >= outputs:
            raise ValueError(
                f"labels must lie in 0 … {outputs - 1}, as the network has {outputs} outputs, "
                f"and go from {lowest} to {highest}."
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
        accuracy=float(np.mean(predicted_classes == labels)),
        loss=loss / len(images),
        record=record,
        predictions=predicted_classes,
    )


def mean_spike_rate(record: tuple[LayerRecord, ...]) -> Any:
    """The fraction of all spiking neurons that fire in one timestep, every spike counting once."""
    layers = [layer for layer in record if layer.spiking]
    neurons = sum(layer.outputs for layer in layers)
    return sum(layer.spike_rate * (layer.outputs / neurons) for layer in layers) if layers else jnp.zeros(())
