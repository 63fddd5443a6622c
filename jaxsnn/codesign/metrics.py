"""What NeuroBench counts in a network and its run, whatever chip it is for."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from jaxsnn.codesign.listening import silent_at_rest
from jaxsnn.codesign.table import Table
from jaxsnn.codesign.units import si
from jaxsnn.data.batches import batch_starts
from jaxsnn.data.pixels import check_images
from jaxsnn.encoding import Frames, inputs_of
from jaxsnn.graph import Graph
from jaxsnn.layers import Conv, Linear, draws, weights
from jaxsnn.learning.evaluation import check_finite
from jaxsnn.network import Network
from jaxsnn.neuron import Neuron, ReLU

_CHUNK = 8
"""Timesteps that are compiled in one piece."""


@dataclass(frozen=True)
class Metrics:
    r"""The metrics of NeuroBench as its package `neurobench` 2.3.0 computes them (Yik et al., The NeuroBench
    framework, 2025, "complexity metrics"). Counts are of one sample and all its timesteps.

    - `footprint_bytes`: $\sum n·b$ over parameters and buffers of n elements of b bytes, as they are stored:
      kernels, biases, normalisation with its statistics, what neurons and quantisers learn. A kernel that a
      quantiser rounds is stored in full. Numbers that a layer's design fixes, such as λ and θ, are no arrays
      here; snnTorch has 20 bytes of them a layer.
    - `connection_sparsity`: weights that are zero over weights, of all kernels of linear layers and
      convolutions as they multiply (after their quantiser), without biases; rounded to four decimals, as
      there.
    - `activation_sparsity`: $1 - s/n$ with the s outputs of neurons that are not zero among all n, over
      layers, timesteps and samples, before pooling. Neurons are those that fire, and ReLU; a readout that
      accumulates is none.
    - `dense_operations`: pairs of an input and a weight that meet, zeros included. Zeros around a map are no
      inputs, and biases, normalisation and pooling no operations.
    - `effective_macs`, `effective_acs`: of these pairs, the ones with neither input nor weight zero. Those
      of a layer in one timestep are accumulates (ACs) if all its inputs there, in the whole batch, are −1, 0
      or 1, else multiply-accumulates (MACs): behind average pooling a layer multiplies, but not in a
      timestep in which nothing was averaged to a fraction, and a larger batch has fewer of these.
    - `membrane_updates`: potentials that differ after a timestep from before it, and in the first timestep
      all. The reset belongs to the timestep of its spike.
    - `samples`, `timesteps`, `batch_size`: what was run.
    """

    footprint_bytes: int
    connection_sparsity: float
    activation_sparsity: float
    dense_operations: float
    effective_macs: float
    effective_acs: float
    membrane_updates: float
    samples: int
    timesteps: int
    batch_size: int

    def numbers(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def table(self) -> Table:
        """One row a metric."""
        rows = [
            ["footprint", si(float(self.footprint_bytes), "B")],
            ["connection sparsity", f"{self.connection_sparsity:.4f}"],
            ["activation sparsity", f"{self.activation_sparsity:.4f}"],
            ["dense synaptic operations", f"{self.dense_operations:,.0f}"],
            ["effective MACs", f"{self.effective_macs:,.0f}"],
            ["effective ACs", f"{self.effective_acs:,.0f}"],
            ["membrane updates", f"{self.membrane_updates:,.0f}"],
        ]
        note = (
            f"As neurobench 2.3.0 defines them, in software: of one inference, the mean of {self.samples} "
            f"inputs in batches of {self.batch_size}."
        )
        return Table("NeuroBench metrics", ["metric", "value"], rows, note=note)


def metrics(
    network: Network,
    images: Any,
    *,
    timesteps: int | None = None,
    batch_size: int = 256,
    key: jax.Array | None = None,
) -> Metrics:
    """The metrics of NeuroBench: footprint, sparsities, synaptic operations and membrane updates.

    ```
    metrics(network, dataset.scale(dataset.test_images), timesteps=5).effective_acs
    ```

    Operations are counted exactly; `neurobench` adds them up in float32, and rounds what exceeds 2^24 in a
    layer, timestep and batch.

    **Arguments:**

    - `network`: of any origin; it is left as it is.
    - `images`: what it sees, (count, ...), as for [`jaxsnn.learning.evaluation.evaluate`][]; for a network of
      [`jaxsnn.encoding.Frames`][], (count, timesteps, ...).
    - `timesteps`: T, by default that of inputs with a time axis of their own.
    - `batch_size`: samples that are looked at together, on which MAC or AC depends.
    - `key`: for Poisson encoding.

    **Returns:** [`Metrics`][].

    **Raises:** `ValueError` for no images, for NaN and infinity in them or in the weights, for a batch size
    below 1, and for timesteps that are missing, below 1 or more than the inputs have.
    """
    timesteps = _checked(network, images, timesteps, batch_size)
    check_finite(nnx.state(network))
    synapses = {path: part for path, part in _parts(network) if isinstance(part, Conv | Linear)}
    used = {path: np.asarray(weights(synapse)) != 0 for path, synapse in synapses.items()}
    reached: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    total: Counter[str] = Counter()
    for samples, steps, heard, fired in _seen(network, images, timesteps, batch_size, key):
        for path, (active, ternary) in heard.items():
            if path not in reached:
                reach = partial(_reach, synapses[path], shape=active.shape[1:])
                reached[path] = reach(used[path]), reach(np.ones_like(used[path]))
            effective, dense = reached[path]
            # What is constant in time is multiplied once here, and at every timestep where it is counted. In
            # a graph's circle weights may multiply twice a timestep: its spikes and those of the step before.
            times = max(steps // len(active), 1)
            operations = times * np.sum(active * effective, axis=tuple(range(1, active.ndim)))
            total["acs"] += int(operations[ternary].sum())
            total["macs"] += int(operations[~ternary].sum())
            total["dense"] += samples * times * len(active) * int(dense.sum())
        for active, outputs, updates in fired:
            total.update(active=int(active), outputs=int(outputs), updates=int(updates))
    kept, weighed = (sum(int(count(mask)) for mask in used.values()) for count in (np.sum, np.size))
    return Metrics(
        footprint_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(nnx.state(network))),
        # The package divides in float32, which can show in the fourth decimal.
        connection_sparsity=round(float(np.float32(weighed - kept) / np.float32(weighed)), 4),
        activation_sparsity=(total["outputs"] - total["active"]) / max(total["outputs"], 1),
        dense_operations=total["dense"] / len(images),
        effective_macs=total["macs"] / len(images),
        effective_acs=total["acs"] / len(images),
        membrane_updates=total["updates"] / len(images),
        samples=len(images),
        timesteps=timesteps,
        batch_size=min(batch_size, len(images)),
    )


def _parts(network: Network) -> list[tuple[str, Any]]:
    """Every module by the name of its path."""
    return [("/".join(map(str, path)), part) for path, part in nnx.iter_graph(network)]


def _checked(network: Network, images: Any, timesteps: int | None, batch_size: int) -> int:
    """T, if everything fits."""
    if len(images) == 0:
        raise ValueError("metrics need at least one image, got none.")
    batch_starts(len(images), batch_size)
    check_images(images, "metrics")
    timed = isinstance(network.encoding, Frames)
    if timesteps is None:
        if not timed:
            raise ValueError("timesteps says how long an image is shown; give it, e.g. timesteps=5.")
        timesteps = images.shape[1]
    network.check_timesteps(timesteps)
    if timed and timesteps > images.shape[1]:
        raise ValueError(
            f"the inputs have {images.shape[1]} frames and {timesteps} timesteps were asked for; run at most "
            "as many."
        )
    return timesteps


def _seen(
    network: Network, images: Any, timesteps: int, batch_size: int, key: jax.Array | None
) -> Iterator[tuple[int, int, dict[str, Any], list[Any]]]:
    """Of every batch and stretch of time: samples, timesteps, and what [`_watched`][] returns."""
    graphdef, variables = nnx.split(network)
    for number, start in enumerate(batch_starts(len(images), batch_size)):
        examples = jnp.asarray(images[start : start + batch_size])
        states, batch_key = None, None if key is None else jax.random.fold_in(key, number)
        for first in range(0, timesteps, _CHUNK):
            steps = min(_CHUNK, timesteps - first)
            states, *seen = _watched(graphdef, variables, examples, states, first, batch_key, steps)
            yield len(examples), steps, *jax.device_get(seen)


@partial(jax.jit, static_argnames=("graphdef", "steps"))
def _watched(graphdef, variables, examples, states, start, key, steps):
    """Some timesteps of a network, from the layers' states (None: at rest).

    **Returns:** the states after them; by path of a synapse, how many samples have an input that is not zero,
    (time, ...), and whether all are −1, 0 or 1, (time,); and per neuron and timestep the outputs that are not
    zero, all outputs, and the potentials that changed.
    """
    network = nnx.merge(graphdef, variables)
    heard: dict[str, list[Any]] = {}
    fired: list[Any] = []
    inputs = inputs_of(network.encoding, examples, steps)
    for path, module in _parts(network):
        if isinstance(module, Conv | Linear):
            module.product = nnx.static(_listening(module, len(examples), heard.setdefault(path, [])))
        elif isinstance(module, Graph):
            module.modules = nnx.List(
                _Watched(node, fired, states is None) if isinstance(node, Neuron) else node
                for node in module.modules
            )
        elif not isinstance(module, Neuron) and isinstance(getattr(module, "neuron", None), Neuron):
            module.neuron = _Watched(module.neuron, fired, states is None)
    silent_at_rest(network, nnx.merge(graphdef, variables))
    # Loops over time are unrolled, as what is seen inside of one could not leave it.
    with jax.disable_jit():
        _, states, _ = network.advance(inputs, states, start=start, steps=steps, key=key)
    joined = {
        path: jax.tree.map(lambda *parts: jnp.concatenate(parts), *parts)
        for path, parts in heard.items()
        if parts
    }
    return states, joined, fired


def _listening(synapse: Conv | Linear, batch: int, heard: list[Any]) -> Callable[..., Array]:
    """The synapse's product, which notes what it was given."""
    product = synapse.product

    def call(x, kernel, *geometry, **options):
        values = x.reshape(-1, batch, *x.shape[-3 if isinstance(synapse, Conv) else -1 :])
        if any(synapse.extra_padding):
            below, right = synapse.extra_padding
            values = values[:, :, : values.shape[2] - below, : values.shape[3] - right]
        ternary = (values == 0) | (jnp.abs(values) == 1)
        heard.append((jnp.sum(values != 0, axis=1, dtype=jnp.int32), ternary.all(range(1, ternary.ndim))))
        return product(x, kernel, *geometry, **options)

    # What layers ask of a product, they ask by these names.
    noted: Any = call
    noted.draws, noted.holds_bias = draws(synapse), getattr(product, "holds_bias", False)
    return noted


class _Watched(Neuron):
    """A neuron that notes what it gives, and which potentials it changed."""

    def __init__(self, neuron: Neuron, fired: list[Any], at_rest: bool):
        self.neuron = neuron
        self.spiking, self.accumulates = neuron.spiking, neuron.accumulates
        self.note = nnx.static(fired.append)
        self.at_rest = at_rest

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Any:
        return self.neuron.initial_state(shape, dtype)

    def __call__(self, current: Array, state: Any) -> tuple[Array, Any]:
        out, after = self.neuron(current, state)
        before, potential = self.neuron.potential(state), self.neuron.potential(after)
        inner = getattr(self.neuron, "neuron", self.neuron)
        if not self.accumulates and (potential.ndim or isinstance(inner, ReLU)):
            changed = potential.size if self.at_rest else jnp.sum(potential != before, dtype=jnp.int32)
            self.note((jnp.sum(out != 0, dtype=jnp.int32), out.size, changed if potential.ndim else 0))
        self.at_rest = False
        return out, after


def _reach(synapse: Conv | Linear, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """How many of the weights in a mask every input meets, int64 of the inputs' shape."""
    if not isinstance(synapse, Conv):
        return np.asarray(mask.sum(axis=1), np.int64)
    # Of every tap, the weights of an input channel: a channel sees the outputs of its own group.
    taps = mask.reshape(*mask.shape[:3], synapse.groups, -1).sum(axis=-1, dtype=np.int64)
    taps = np.moveaxis(taps, 3, 2).reshape(*mask.shape[:2], synapse.in_channels)
    padding = list(zip(synapse.padding, synapse.extra_padding, strict=True))
    reach = np.zeros(
        (*(size + 2 * p + e for size, (p, e) in zip(shape, padding, strict=False)), shape[2]), int
    )
    spans = [
        [slice(d * tap, size - d * (taps_in - 1 - tap), stride) for tap in range(taps_in)]
        for size, taps_in, stride, d in zip(
            reach.shape, synapse.kernel_size, synapse.stride, synapse.dilation, strict=False
        )
    ]
    for row, rows in enumerate(spans[0]):
        for column, columns in enumerate(spans[1]):
            reach[rows, columns] += taps[row, column]
    (top, _), (left, _) = padding
    return reach[top : top + shape[0], left : left + shape[1]]
