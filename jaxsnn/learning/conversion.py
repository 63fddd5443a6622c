"""From a trained ANN to a spiking network, by layer-wise threshold balancing."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from jaxsnn.checks import require_choice, require_count
from jaxsnn.composite import Residual
from jaxsnn.data.batches import batch_starts
from jaxsnn.data.pixels import check_images
from jaxsnn.encoding import Encoding, Poisson, inputs_of
from jaxsnn.layers import Block, require_reachable
from jaxsnn.learning.quantile import streamed_quantile
from jaxsnn.network import Network
from jaxsnn.neuron import IF, Identity, ReLU, Reset
from jaxsnn.normalization import BatchNorm


class SilentLayerError(ValueError):
    """No image gave a layer a positive current, so that it has no threshold."""


@partial(jax.jit, static_argnames=("graphdef", "timesteps"))
def _currents(graphdef, state, images, key, timesteps):
    """The network's output at every step."""
    network = nnx.merge(graphdef, state)
    inputs = inputs_of(network.encoding, images, timesteps)
    signal = network.encoding(inputs, start=0, steps=timesteps, key=key)
    for layer in network.layers:
        signal, _, _ = layer(signal, None, start=0)
    return signal.values


def fold_normalization(network: Network) -> Network:
    """The same network in evaluation, with every batch normalisation in the weights before it:

    `W' = f·W` and `b' = f·(b − μ) + β` with `f = gain·γ/√(σ² + ε)`, per output channel (Jacob et al., 2018).

    **Arguments:** `network`: with [`BatchNorm`][] or `TdBN`, or none; it is not changed.

    **Returns:** a [`Network`][] without normalisation.

    **Raises:** `ValueError`, naming the layer, for a normalisation that differs between timesteps, and for
    weights that are quantised; for a programmed chip, whose tiles hold the weights.
    """
    require_reachable(network, "folding", "fold the network before it is programmed")
    folded = nnx.clone(network)
    for _, block in list(nnx.iter_graph(folded)):
        if isinstance(block, Block) and block.norm is not None:
            _fold(block)
    return folded


def _fold(block: Block) -> None:
    norm, synapse = block.norm, block.synapse
    if not isinstance(norm, BatchNorm):
        raise ValueError(
            f"layer {block.name!r}: a {type(norm).__name__} differs between timesteps and cannot be folded "
            "into the weights; train with BatchNorm or TdBN."
        )
    if synapse.quantizer is not None:
        raise ValueError(
            f"layer {block.name!r}: folding would change the levels of its quantiser; fold before quantising."
        )
    dtype = synapse.kernel[...].dtype
    factor = norm.gain * norm.scale[...] / jnp.sqrt(norm.variance[...] + norm.epsilon)
    bias = 0 if synapse.bias is None else synapse.bias[...].astype(factor.dtype)
    synapse.bias = nnx.data(nnx.Param((factor * (bias - norm.mean[...]) + norm.offset[...]).astype(dtype)))
    synapse.kernel[...] = synapse.kernel[...] * factor.astype(dtype)
    block.norm = None


def convert(
    ann: Network,
    images: Any,
    *,
    timesteps: int,
    key: Array | None = None,
    encoding: Encoding = Poisson(),
    quantile: float = 1.0,
    bias: str = "scale",
    reset: Reset = Reset.ZERO,
    max_pooling: Literal["currents", "spikes"] = "currents",
    batch_size: int = 64,
) -> tuple[Network, dict[str, float]]:
    """A spiking network with the weights of an ANN and thresholds found layer by layer.

    For layer l = 1 … L − 1: run T steps with the layers below at their thresholds; θ_l is the largest current
    W_l·o_{l−1} over steps and images, layer l itself not firing (algorithm 1 of Bhattacharjee et al., after
    Sengupta et al., 2019). Batch normalisation is folded into the weights first.

    A spike of Poisson encoding stands for 1/gain, and a spike of a layer for that times the thresholds up to
    it. In a residual block the second weights are therefore multiplied by the first threshold, so that both
    summands are in the units of the block's input.

    **Arguments:**

    - `ann`: blocks and residual blocks with [`jaxsnn.neuron.ReLU`][], and a readout last; it is not changed.
    - `images`: to find the thresholds on, as for [`jaxsnn.learning.evaluation.evaluate`][].
    - `timesteps`: T of the search, at least 1.
    - `key`: for Poisson encoding.
    - `quantile`: of all currents of a layer, in (0, 1]; 1 takes the maximum. A smaller one runs the images
      twice, and in float64 four times.
    - `bias`: "scale" divides each bias by what a spike before it stands for, which keeps the ANN's ratios;
      "drop" sets it to zero.
    - `reset`: of the IF neurons, see [`Reset`][].
    - `max_pooling`: of blocks that have it. "currents" pools before the neurons, as the largest of ReLUs is
      the ReLU of the largest current: exact where a patch's largest current is that of the same place at all
      timesteps, as behind a directly encoded image, and else fires too often. "spikes" keeps the OR of
      spikes, which a chip has for little and which fires too often wherever several of a patch fire.
    - `batch_size`: images at a time. It changes the spikes that Poisson encoding draws, and nothing else.

    **Returns:** the spiking network, and the threshold of each converted layer by name.

    **Raises:** `ValueError` for options out of range, when nothing can be converted, for layers that share a
    membrane, and, naming the layer, for a normalisation that cannot be folded, for a residual block whose
    neurons are not ReLU. [`SilentLayerError`][] for a layer whose currents are never positive.
    """
    require_count("timesteps", timesteps)
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile must lie in (0, 1], got {quantile}.")
    require_choice("bias", bias, ("scale", "drop"))
    require_choice("max_pooling", max_pooling, ("currents", "spikes"))
    if len(images) == 0:
        raise ValueError("conversion needs images to find thresholds on, got none.")
    check_images(images, "conversion")
    for layer in ann.layers:
        _check_convertible(layer)
    layers = list(fold_normalization(ann).layers)
    converted: list[Any] = []
    thresholds: dict[str, float] = {}
    scale = encoding.unit

    def rescale_bias(block: Block) -> None:
        if block.synapse.bias is not None:
            factor = 1 / scale if bias == "scale" else 0.0
            block.synapse.bias[...] = block.synapse.bias[...] * factor

    def balance(block: Block, layers: Sequence[Any]) -> float:
        if block.pooling == "max" and max_pooling == "currents":
            block.pool_first = True
        pool, block.neuron = block.pool, Identity()
        block.pool = pool if block.pool_first else 1
        threshold = _search(Network(layers, encoding), images, timesteps, key, quantile, batch_size)
        if threshold <= 0:
            raise SilentLayerError(
                f"layer {block.name!r} has no positive current on these images, so it has no threshold."
            )
        block.neuron, block.pool = IF(threshold=threshold, reset=reset), pool
        thresholds[block.name] = threshold
        return threshold

    for layer in layers:
        if isinstance(layer, Residual):
            for block in (layer.first, layer.second, layer.projection):
                if block is not None:
                    rescale_bias(block)
            inner = balance(layer.first, [*converted, layer.first])
            layer.second.synapse.kernel[...] = layer.second.synapse.kernel[...] * inner
            scale *= balance(layer.second, [*converted, layer])
        else:
            rescale_bias(layer)
            if isinstance(layer.neuron, ReLU):
                scale *= balance(layer, [*converted, layer])
        converted.append(layer)
    if not thresholds:
        raise ValueError("nothing was converted: no layer of the network ends in a ReLU.")
    return Network(converted, encoding), thresholds


def _check_convertible(layer: Any) -> None:
    if isinstance(layer, Residual):
        for block in (layer.first, layer.second):
            if not isinstance(block.neuron, ReLU):
                raise ValueError(f"layer {block.name!r} of a residual block must end in a ReLU.")
    elif not isinstance(layer, Block):
        raise ValueError(f"a {type(layer).__name__} cannot be converted; blocks and residual blocks can.")


def _search(network, images, timesteps, key, quantile, batch_size) -> float:
    """The quantile of the network's output over steps, images and neurons."""
    graphdef, state = nnx.split(network)

    def currents():
        for number, start in enumerate(batch_starts(len(images), batch_size)):
            batch_key = None if key is None else jax.random.fold_in(key, number)
            batch = jnp.asarray(images[start : start + batch_size])
            yield _currents(graphdef, state, batch, batch_key, timesteps)

    if quantile == 1:
        return float(np.max([jnp.max(current) for current in currents()]))
    return streamed_quantile(currents, quantile)
