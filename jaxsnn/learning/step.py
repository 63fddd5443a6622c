"""One step of training: the gradient of a batch, and what the optimiser makes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding

from jaxsnn.data.augmentation import augment
from jaxsnn.encoding import inputs_of
from jaxsnn.learning.config import TrainConfig
from jaxsnn.learning.evaluation import mean_spike_rate
from jaxsnn.learning.transform import Transform
from jaxsnn.signal import LayerRecord

Penalty = Callable[[jax.Array, tuple[LayerRecord, ...], nnx.State], jax.Array]
"""`(logits after each timestep, records, parameters) -> scalar` that is added to the loss; gradients flow
through the records' rates to whatever made the spikes."""


@dataclass(frozen=True)
class Step:
    """What stays the same over a run's training steps; hashable, so that jit compiles once."""

    graphdef: Any
    config: TrainConfig
    optimizer: optax.GradientTransformation
    scale: Callable[[jax.Array], jax.Array]
    timed: bool
    transform: Transform | None
    penalty: Penalty | None
    sharding: NamedSharding | None

    def loss(self, params, rest, transform_state, batch, targets, keys):
        """Mean cross-entropy and penalty; aside: the statistics after the batch, and the metrics."""
        config = self.config
        encode_key, transform_key = keys
        network = nnx.merge(self.graphdef, params, rest, copy=True)  # Its statistics change in this trace.
        if self.transform is not None:
            network = self.transform.apply(network, transform_state, transform_key)
        outputs, record = network.outputs(
            inputs_of(network.encoding, batch, config.timesteps),
            timesteps=config.timesteps,
            key=encode_key,
            chunk=config.chunk,
            remat=config.remat,
            training=True,
        )
        logits = outputs[-1]
        goal = jax.nn.one_hot(targets, logits.shape[-1], dtype=logits.dtype)
        if config.label_smoothing:
            goal = optax.smooth_labels(goal, config.label_smoothing)
        supervised = outputs if config.loss_at == "every" else logits
        loss = jnp.mean(optax.softmax_cross_entropy(supervised, jnp.broadcast_to(goal, supervised.shape)))
        accuracy = jnp.mean(jnp.argmax(logits, axis=-1).astype(jnp.int32) == targets, dtype=jnp.float32)
        penalty = jnp.zeros_like(loss)
        if self.penalty is not None:
            penalty = self.penalty(outputs, record, params).astype(loss.dtype)
        metrics = [jnp.float32(value) for value in (loss, accuracy, mean_spike_rate(record), penalty)]
        return loss + penalty, (_after(rest, network), jnp.stack(metrics))


def _after(rest, network):
    """`rest` with the variables of the network that ran, which may hold a transform's arrays besides."""
    return nnx.merge_state(rest, nnx.state(network, nnx.All(nnx.Variable, nnx.Not(nnx.Param))))


@partial(jax.jit, static_argnames="step", donate_argnames=("params", "rest", "opt_state", "transform_state"))
def train_step(step, params, rest, opt_state, transform_state, images, labels, indices, key):
    batch = jnp.take(images, indices, axis=0)
    targets = jnp.take(labels, indices, axis=0).astype(jnp.int32)
    if step.sharding is not None:
        batch, targets = jax.lax.with_sharding_constraint((batch, targets), step.sharding)
    config = step.config
    if config.crop or config.flip or config.drop:
        key, augment_key = jax.random.split(key)
        batch = augment(
            batch, augment_key, crop=config.crop, flip=config.flip, drop=config.drop, timed=step.timed
        )
    keys = jax.random.split(key)
    if step.transform is not None:
        network = nnx.merge(step.graphdef, params, rest, copy=True)
        transform_state = step.transform.update(network, transform_state, keys[1])
    gradient, (rest, metrics) = jax.grad(step.loss, has_aux=True)(
        params, rest, transform_state, step.scale(batch), targets, keys
    )
    with jax.numpy_dtype_promotion("standard"):  # Optax raises floats to integer powers.
        updates, opt_state = step.optimizer.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), rest, opt_state, transform_state, metrics
