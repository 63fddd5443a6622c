"""From a trained ANN to a spiking network, by layer-wise threshold balancing."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from jaxsnn.encoding import Encoding, Poisson
from jaxsnn.layers import Block
from jaxsnn.network import Network
from jaxsnn.neuron import IF, ReLU, Reset


@partial(jax.jit, static_argnames=("graphdef", "timesteps", "quantile"))
def _largest_current(graphdef, state, images, key, timesteps, quantile):
    """The quantile of the currents into the network's last block, over steps, images and neurons."""
    network = nnx.merge(graphdef, state)
    signal = network.encoding(images, start=0, steps=timesteps, key=key)
    for layer in network.layers[:-1]:
        signal, _, _ = layer(signal, None, start=0)
    current = network.layers[-1].drive(signal).values
    return jnp.max(current) if quantile == 1 else jnp.quantile(current, quantile)


def convert(
    ann: Network,
    images: Array,
    *,
    timesteps: int,
    key: Array | None = None,
    encoding: Encoding = Poisson(),
    quantile: float = 1.0,
    bias: str = "scale",
    reset: Reset = Reset.ZERO,
    batch_size: int = 64,
) -> tuple[Network, dict[str, float]]:
    """A spiking network with the weights of an ANN and thresholds found layer by layer.

    For layer l = 1 … L − 1: run T steps with the layers below at their thresholds; θ_l is the largest current
    W_l·o_{l−1} over steps and images, layer l itself not firing (algorithm 1 of Bhattacharjee et al., after
    Sengupta et al., 2019).

    **Arguments:**

    - `ann`: blocks with [`jaxsnn.neuron.ReLU`][] and a readout last; it is not changed.
    - `images`: to find the thresholds on, floats as the network takes them.
    - `timesteps`: T of the search.
    - `key`: for Poisson encoding.
    - `quantile`: of the currents, in (0, 1]; 1 takes the maximum.
    - `bias`: "scale" divides each bias by the thresholds before it, which keeps the ANN's ratios; "drop" sets
      it to zero.
    - `reset`: of the IF neurons, see [`Reset`][].

    **Returns:** the spiking network, and the threshold of each converted layer by name.

    **Raises:** `ValueError` when nothing can be converted, and, naming the layer, for a residual or shared
    block, for a normalisation, and for a layer whose currents are never positive.
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile must lie in (0, 1], got {quantile}.")
    if bias not in ("scale", "drop"):
        raise ValueError(f"bias must be 'scale' or 'drop', got {bias!r}.")
    if len(images) == 0:
        raise ValueError("conversion needs images to find thresholds on, got none.")
    blocks = [_convertible(layer) for layer in ann.layers]
    if not any(isinstance(block.neuron, ReLU) for block in blocks):
        raise ValueError("nothing was converted: no layer of the network ends in a ReLU.")
    converted: list[Block] = []
    thresholds: dict[str, float] = {}
    scale = 1.0
    for block in blocks:
        copy = nnx.clone(block)
        if copy.synapse.bias is not None:
            factor = 1 / scale if bias == "scale" else 0.0
            copy.synapse.bias[...] = copy.synapse.bias[...] * factor
        if isinstance(block.neuron, ReLU):
            network = Network([*converted, copy], encoding)
            threshold = _search(network, images, timesteps, key, quantile, batch_size)
            if threshold <= 0:
                raise ValueError(
                    f"layer {block.name!r} has no positive current on these images, so it has no threshold."
                )
            copy.neuron = IF(threshold=threshold, reset=reset)
            thresholds[block.name] = threshold
            scale *= threshold
        converted.append(copy)
    return Network(converted, encoding), thresholds


def _convertible(layer: Any) -> Block:
    if not isinstance(layer, Block):
        raise ValueError(f"a {type(layer).__name__} cannot be converted; only chains of plain blocks can.")
    if layer.norm is not None:
        raise ValueError(
            f"layer {layer.name!r} has a normalisation, which conversion does not fold; train without."
        )
    return layer


def _search(network, images, timesteps, key, quantile, batch_size) -> float:
    graphdef, state = nnx.split(network)
    found = []
    for number, start in enumerate(range(0, len(images), batch_size)):
        batch_key = None if key is None else jax.random.fold_in(key, number)
        batch = jnp.asarray(images[start : start + batch_size])
        found.append(float(_largest_current(graphdef, state, batch, batch_key, timesteps, quantile)))
    return float(np.max(found))
