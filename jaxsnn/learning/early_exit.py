"""Dynamic timesteps: stop when the output is sure (DT-SNN)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxsnn.data.batches import batch_starts
from jaxsnn.data.pixels import check_images
from jaxsnn.encoding import inputs_of
from jaxsnn.network import Network, batch_key


def normalized_entropy(logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch"]:
    """`E = −Σ π·log π / log K` with π = softmax(logits): 0 is sure, 1 knows nothing (Li et al., DT-SNN)."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1) / jnp.log(jnp.asarray(logits.shape[-1], logits.dtype))


def soft_exit_fractions(
    outputs: Float[Array, "time batch classes"], *, entropy: float, temperature: float
) -> Float[Array, "time"]:
    r"""How many inputs leave at each timestep, relaxed so that it differentiates to the outputs.

    An input that is still there leaves at t < T with probability $q_t = σ((θ − E_t)/τ)$ and at T for sure:

    $$p_t = q_t \prod_{s<t} (1 − q_s).$$

    As τ → 0 these are the fractions of [`run_until_sure`][]; $\sum_t t\,p_t$ are the expected timesteps.

    **Arguments:**

    - `outputs`: what [`Network.outputs`][jaxsnn.network.Network.outputs] returned.
    - `entropy`: the threshold θ in [0, 1] on [`normalized_entropy`][].
    - `temperature`: τ > 0, in units of normalised entropy.

    **Returns:** means over the batch of p_1 … p_T, which sum to one.

    **Raises:** `ValueError` for a threshold outside [0, 1], for a temperature that is not positive, and for
    outputs without an input or with fewer classes than two.
    """
    _check_threshold(entropy)
    if outputs.shape[1] < 1 or outputs.shape[2] < 2:
        raise ValueError(
            "soft exits need outputs (time, batch, classes) of at least one input and two classes, "
            f"got shape {outputs.shape}."
        )
    if not temperature > 0:
        raise ValueError(f"the temperature of soft exits must be positive, got {temperature}.")
    uncertainty = normalized_entropy(outputs)
    leave = jax.nn.sigmoid((entropy - uncertainty) / temperature).at[-1].set(1)
    still_there = jnp.cumprod(1 - leave[:-1], axis=0)
    there = jnp.concatenate([jnp.ones_like(leave[:1]), still_there])
    return jnp.mean(there * leave, axis=1)


def _check_threshold(entropy: float) -> None:
    if not 0 <= entropy <= 1:
        raise ValueError(f"the entropy threshold lies in [0, 1], got {entropy}.")


@dataclass(frozen=True)
class ExitResult:
    """What early exit did.

    - `logits`: (count, classes), u_t / t at the timestep t each image left.
    - `timesteps`: (count,), that timestep, from 1 to T.
    - `steps_computed`: for each batch, how many timesteps were run.
    """

    logits: np.ndarray
    timesteps: np.ndarray
    steps_computed: tuple[int, ...]

    @property
    def mean_timesteps(self) -> float:
        return float(self.timesteps.mean())

    def histogram(self, timesteps: int) -> np.ndarray:
        """How many images left at each of the timesteps 1 … T, (T,)."""
        return np.bincount(self.timesteps, minlength=timesteps + 1)[1:]


@partial(jax.jit, static_argnames="graphdef")
def _stem(graphdef, parameters, images):
    return nnx.merge(graphdef, parameters).stem(images)


@partial(jax.jit, static_argnames=("encoding", "timesteps"))
def _inputs(encoding, images, timesteps):
    return inputs_of(encoding, images, timesteps)


@partial(jax.jit, static_argnames="graphdef")
def _one_step(graphdef, parameters, images, state, start, key, current):
    network = nnx.merge(graphdef, parameters)
    potential, state, _ = network.advance(images, state, start=start, steps=1, key=key, current=current)
    logits = potential[0] / (start + 1).astype(potential.dtype)
    return logits, state, normalized_entropy(logits)


def run_until_sure(
    network: Network,
    images: Any,
    *,
    timesteps: int,
    entropy: float,
    batch_size: int = 64,
    key: Array | None = None,
) -> ExitResult:
    """Classify images step by step; each leaves when its normalised entropy falls below a threshold.

    A batch stops being computed when all of its images have left.

    **Arguments:**

    - `images`: as for [`jaxsnn.learning.evaluation.evaluate`][].
    - `timesteps`: T, at which the last leave.
    - `entropy`: threshold in [0, 1] on [`normalized_entropy`][]; 0 never exits early.
    - `key`: for Poisson encoding, and for the reads of a chip, which differ between batches without it too.

    **Raises:** `ValueError` for a threshold outside [0, 1], for no images, for NaN or infinite pixels, and
    for timesteps that the network cannot run.
    """
    network.check_timesteps(timesteps)
    _check_threshold(entropy)
    if len(images) == 0:
        raise ValueError("early exit needs images, got none.")
    check_images(images, "early exit")
    graphdef, parameters = nnx.split(network)
    logits, times, computed = [], [], []
    for number, begin in enumerate(batch_starts(len(images), batch_size)):
        batch = _inputs(network.encoding, jnp.asarray(images[begin : begin + batch_size]), timesteps)
        count = min(batch_size, len(images) - begin)
        of_batch = batch_key(network, key, number)
        current = _stem(graphdef, parameters, batch)
        state, step = None, 0
        left = np.zeros(count, bool)
        time = np.full(count, timesteps)
        chosen: np.ndarray | None = None
        while step < timesteps and not left.all():
            out, state, uncertainty = _one_step(
                graphdef, parameters, batch, state, jnp.int32(step), of_batch, current
            )
            step += 1
            out, sure = np.asarray(out), np.asarray(uncertainty) < entropy
            chosen = out.copy() if chosen is None else np.where(left[:, None], chosen, out)
            time[sure & ~left] = step
            left |= sure
        assert chosen is not None
        logits.append(chosen)
        times.append(time)
        computed.append(step)
    return ExitResult(np.concatenate(logits), np.concatenate(times), tuple(computed))


def exit_timesteps(outputs: Float[Array, "time count classes"], entropy: float) -> np.ndarray:
    """The timestep, from 1 to T, at which each input leaves: the first that is sure, or the last, (count,).

    **Arguments:** `outputs`: of all timesteps, as for [`accuracy_curve`][]. `entropy`: the threshold.
    """
    sure = np.asarray(normalized_entropy(outputs)) < entropy
    return np.where(sure.any(0), sure.argmax(0) + 1, len(sure))


def accuracy_curve(
    outputs: Float[Array, "time count classes"], labels: Any, thresholds: Sequence[float]
) -> list[tuple[float, float, float]]:
    """Accuracy against mean timesteps, from the outputs of all timesteps.

    **Arguments:**

    - `outputs`: what [`Network.outputs`][jaxsnn.network.Network.outputs] returned.
    - `thresholds`: on the normalised entropy.

    **Returns:** (threshold, mean timesteps, accuracy as a fraction) for each threshold.
    """
    right = np.asarray(jnp.argmax(outputs, axis=-1)) == np.asarray(labels)
    curve = []
    for threshold in thresholds:
        exits = exit_timesteps(outputs, threshold)
        accuracy = float(right[exits - 1, np.arange(right.shape[1])].mean())
        curve.append((threshold, float(exits.mean()), accuracy))
    return curve
