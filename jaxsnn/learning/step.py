"""One step of training: the gradient of a batch, and what the optimiser makes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding

from jaxsnn.compilation import lean_options
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

    def running(self, params, rest, transform_state, key):
        """The network that runs: its arrays that have a derivative; aside, what else it is."""
        network = nnx.merge(self.graphdef, params, rest, copy=True)
        if self.transform is not None:
            network = self.transform.apply(network, transform_state, key)
        graphdef, state = nnx.split(network)
        smooth, fixed = eqx.partition(state, eqx.is_inexact_array)
        return smooth, (graphdef, fixed)

    def loss(self, smooth, params, others, statistics, batch, targets, key):
        """Mean cross-entropy and penalty; aside: the statistics after these images, and the metrics."""
        config = self.config
        graphdef, fixed = others
        network = nnx.merge(graphdef, eqx.combine(smooth, fixed), copy=True)
        nnx.update(network, statistics)
        outputs, record = network.outputs(
            inputs_of(network.encoding, self.scale(batch), config.timesteps),
            timesteps=config.timesteps,
            key=key,
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
        return loss + penalty, (nnx.state(network, nnx.BatchStat), jnp.stack(metrics))

    def gradient(self, params, rest, transform_state, batch, targets, keys):
        """The gradient of a batch; aside: the statistics after it, and the metrics."""
        encode_key, transform_key = keys

        def running(params):
            return self.running(params, rest, transform_state, transform_key)

        def statistics(smooth, others):
            return nnx.state(nnx.merge(others[0], eqx.combine(smooth, others[1]), copy=True), nnx.BatchStat)

        def whole(params):
            smooth, others = running(params)
            return self.loss(smooth, params, others, statistics(smooth, others), batch, targets, encode_key)

        size = self.config.microbatch or len(batch)
        count = len(batch) // size
        if count == 1:
            return jax.grad(whole, has_aux=True)(params)
        # The transform, which may solve circuits, runs once: the parts' gradients to what it made are added.
        smooth, pull, others = jax.vjp(running, params, has_aux=True)
        of_part = jax.grad(self.loss, argnums=(0, 1), has_aux=True)

        def add(carry, part):
            seen, total = carry
            gradients, (seen, metrics) = of_part(smooth, params, others, seen, *part)
            return (seen, jax.tree.map(jnp.add, total, (gradients, metrics))), None

        # Every count-th image is of one part, so that each device has its share of every part.
        cut = [array.reshape(size, count, *array.shape[1:]).swapaxes(0, 1) for array in (batch, targets)]
        zeros = jax.tree.map(jnp.zeros_like, ((smooth, params), jnp.zeros(4, jnp.float32)))
        parts = (*cut, jax.random.split(encode_key, count))
        (seen, total), _ = jax.lax.scan(add, (statistics(smooth, others), zeros), parts)
        (by_smooth, by_params), metrics = jax.tree.map(lambda leaf: leaf / count, total)
        return jax.tree.map(jnp.add, pull(by_smooth)[0], by_params), (seen, metrics)


def train_step(step, params, rest, opt_state, transform_state, images, labels, indices, key):
    """What is left of a run's state after one more batch, and the metrics of the batch.

    The memory of the state before is given to the state after.
    """
    # A transform may march through circuits.
    options = lean_options(step.config.remat) if step.transform is None else ()
    return _compiled(options)(step, params, rest, opt_state, transform_state, images, labels, indices, key)


@cache
def _compiled(options):
    donated = "params", "rest", "opt_state", "transform_state"
    return jax.jit(
        _train_step, static_argnums=0, donate_argnames=donated, compiler_options=dict(options) or None
    )


def _train_step(step, params, rest, opt_state, transform_state, images, labels, indices, key):
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
    gradient, (statistics, metrics) = step.gradient(params, rest, transform_state, batch, targets, keys)
    rest = nnx.merge_state(rest, statistics)
    with jax.numpy_dtype_promotion("standard"):  # Optax raises floats to integer powers.
        updates, opt_state = step.optimizer.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), rest, opt_state, transform_state, metrics
