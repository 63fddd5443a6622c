"""Batch normalisation of currents over (time, batch, ...), and adaptation of its statistics."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jaxsnn.data.batches import batch_starts
from jaxsnn.data.pixels import check_images
from jaxsnn.encoding import inputs_of


class Normalization(nnx.Module):
    """Subclasses map currents (time or 1, batch, ..., channels) to the same, per timestep.

    `across_time` says that training statistics mix timesteps, so that all of them must run at once;
    `timesteps` is how many there are parameters for, or None.
    """

    across_time = False
    timesteps: int | None = None
    variance: nnx.BatchStat

    def __call__(self, current: Array, *, start: int | Array, steps: int, training: bool) -> Array:
        raise NotImplementedError


def _moments(current: Array, keep: int, steps: int) -> tuple[Array, Array, int]:
    """Mean and (biased) variance over all axes but the last and, with keep = 1, the first; and of how many.

    A current that stands for all `steps` counts as often.
    """
    axes = tuple(range(keep, current.ndim - 1))
    wide = current.astype(jnp.float32) if current.dtype == jnp.bfloat16 else current
    count = math.prod(wide.shape[1:-1]) * (1 if keep else steps)
    return wide.mean(axes), wide.var(axes), count


def _running(old: Array, new: Array, momentum: float) -> Array:
    return momentum * old + (1 - momentum) * jax.lax.stop_gradient(new).astype(old.dtype)


def _unbiased(variance: Array, count: int) -> Array:
    return variance * (count / max(count - 1, 1))


class BatchNorm(Normalization):
    """`y = gain·γ·(x − μ)/√(σ² + ε) + β` per channel, with μ and σ² over time, batch and space together.

    In training the statistics are those of the batch, and running averages follow them; otherwise the running
    averages are used, which all timesteps share. Running variances are unbiased, as in torch.

    **Arguments:**

    - `channels`: size of the last axis.
    - `momentum`: share of the old running average that stays (torch's momentum 0.1 is 0.9 here).
    - `epsilon`: ε.
    - `gain`: a fixed factor; α·θ makes it tdBN (see [`TdBN`][]).
    """

    across_time = True

    def __init__(self, channels: int, *, momentum: float = 0.9, epsilon: float = 1e-5, gain: float = 1.0):
        self.momentum, self.epsilon, self.gain = momentum, epsilon, gain
        self.scale = nnx.Param(jnp.ones((channels,), jnp.float32))
        self.offset = nnx.Param(jnp.zeros((channels,), jnp.float32))
        self.mean = nnx.BatchStat(jnp.zeros((channels,), jnp.float32))
        self.variance = nnx.BatchStat(jnp.ones((channels,), jnp.float32))

    def __call__(self, current: Array, *, start: int | Array, steps: int, training: bool) -> Array:
        if training:
            mean, variance, count = _moments(current, keep=0, steps=steps)
            self.mean[...] = _running(self.mean[...], mean, self.momentum)
            self.variance[...] = _running(self.variance[...], _unbiased(variance, count), self.momentum)
        else:
            mean, variance = self.mean[...], self.variance[...]
        dtype = current.dtype
        factor = self.gain * self.scale[...].astype(mean.dtype) / jnp.sqrt(variance + self.epsilon)
        shift = self.offset[...].astype(mean.dtype) - mean * factor
        return current * factor.astype(dtype) + shift.astype(dtype)


class TdBN(BatchNorm):
    """Threshold-dependent batch normalisation: [`BatchNorm`][] with gain α·θ (Zheng et al., tdBN, 2021).

    **Arguments:** `threshold`: θ of the neurons behind it. `alpha`: α. `channels`, `momentum`: as for
    [`BatchNorm`][].
    """

    def __init__(self, channels: int, *, threshold: float = 1.0, alpha: float = 1.0, momentum: float = 0.9):
        super().__init__(channels, momentum=momentum, gain=alpha * threshold)


class BNTT(Normalization):
    """Batch normalisation through time: `y_t = γ_t·(x_t − μ_t)/√(σ_t² + ε)`, no offset.

    Each timestep has its own scale and statistics, over batch and space (Kim and Panda, BNTT, 2021;
    ε = 1e-4 and no offset as in their code).

    **Arguments:**

    - `channels`: size of the last axis.
    - `timesteps`: how many timesteps there are scales for; running more raises `ValueError`.
    - `momentum`: share of the old running average that stays.
    """

    def __init__(self, channels: int, timesteps: int, *, momentum: float = 0.9, epsilon: float = 1e-4):
        self.timesteps: int = timesteps
        self.momentum, self.epsilon = momentum, epsilon
        self.scale = nnx.Param(jnp.ones((timesteps, channels), jnp.float32))
        self.mean = nnx.BatchStat(jnp.zeros((timesteps, channels), jnp.float32))
        self.variance = nnx.BatchStat(jnp.ones((timesteps, channels), jnp.float32))

    def __call__(self, current: Array, *, start: int | Array, steps: int, training: bool) -> Array:
        if isinstance(start, int) and start + steps > self.timesteps:
            raise ValueError(f"BNTT has {self.timesteps} timesteps and was run for {start + steps}.")
        take = partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=steps)
        if training:
            mean, variance, count = _moments(current, keep=1, steps=steps)
            mean, variance = (jnp.broadcast_to(x, (steps, x.shape[-1])) for x in (mean, variance))
            for stat, new in ((self.mean, mean), (self.variance, _unbiased(variance, count))):
                updated = _running(take(stat[...]), new, self.momentum)
                stat[...] = jax.lax.dynamic_update_slice_in_dim(stat[...], updated, start, axis=0)
        else:
            mean, variance = take(self.mean[...]), take(self.variance[...])
        dtype = current.dtype
        factor = take(self.scale[...]).astype(mean.dtype) / jnp.sqrt(variance + self.epsilon)
        shape = (steps, *(1,) * (current.ndim - 2), current.shape[-1])
        factor, shift = factor.reshape(shape), (-mean * factor).reshape(shape)
        return current * factor.astype(dtype) + shift.astype(dtype)


@partial(jax.jit, static_argnames=("graphdef", "timesteps"))
def _statistics_after(graphdef, state, images, key, timesteps):
    network = nnx.merge(graphdef, state)
    inputs = inputs_of(network.encoding, images, timesteps)
    network(inputs, timesteps=timesteps, key=key, training=True)
    return nnx.state(network, nnx.BatchStat)


def adapt_statistics(
    network: Any,
    images: Any,
    *,
    timesteps: int,
    batch_size: int = 64,
    key: Array | None = None,
    means_only: bool = False,
) -> None:
    """Move the running statistics to what the network sees now, with every weight frozen.

    Noise-aware BN adaptation of Bhattacharjee et al. (section IV-E): a network whose kernels were replaced by
    a crossbar's effective kernels forwards some images, and only the running averages follow.

    **Arguments:**

    - `network`: a network with normalisation; changed in place.
    - `images`: as for [`jaxsnn.learning.evaluation.evaluate`][]. Each full batch moves the
      averages once.
    - `means_only`: keep the variances, as the paper's text has it ("updating the average mean").

    **Raises:** `ValueError` when the network has no normalisation, fewer images than a batch, and NaN
    or infinite pixels.
    """
    if not jax.tree.leaves(nnx.state(network, nnx.BatchStat)):
        raise ValueError("the network has no normalisation layer, so there is nothing to adapt.")
    batch_starts(len(images), batch_size)
    if len(images) < batch_size:
        raise ValueError(f"adaptation needs at least one batch of {batch_size} images, got {len(images)}.")
    check_images(images, "adaptation")
    graphdef, state = nnx.split(network)
    variances = _variances(network)
    for number in range(len(images) // batch_size):
        batch = jnp.asarray(images[number * batch_size : (number + 1) * batch_size])
        batch_key = None if key is None else jax.random.fold_in(key, number)
        statistics = _statistics_after(graphdef, state, batch, batch_key, timesteps)
        nnx.update(network, statistics)
        if means_only:
            for stat, value in variances:
                stat[...] = value
        state = nnx.state(network)


def _variances(network: Any) -> list[tuple[nnx.BatchStat, Array]]:
    norms = [module for _, module in nnx.iter_graph(network) if isinstance(module, Normalization)]
    return [(norm.variance, norm.variance[...]) for norm in norms]
