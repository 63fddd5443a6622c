"""A small spiking transformer for images."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxsnn.attention import SpikingAttention
from jaxsnn.composite import Residual
from jaxsnn.encoding import Direct, Encoding
from jaxsnn.layers import Block, Conv, Linear
from jaxsnn.models._parts import normalization
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, Neuron, Readout
from jaxsnn.normalization import BatchNorm, Normalization

_NEURON = partial(LIF, leak=0.5)


def spikformer(
    *,
    image_size: int = 8,
    in_channels: int = 1,
    classes: int = 10,
    channels: int = 32,
    halvings: int = 1,
    depth: int = 1,
    heads: int = 4,
    expansion: int = 2,
    attention_threshold: float = 0.5,
    neuron: Callable[[], Neuron] = _NEURON,
    norm: Callable[[int], Normalization] | None = BatchNorm,
    encoding: Encoding = Direct(),
    param_dtype=jnp.float32,
    rngs: nnx.Rngs,
) -> Network:
    """Convolutions make tokens that spike; then blocks of [`jaxsnn.attention.SpikingAttention`][] and two 1×1
    convolutions with a shortcut; then the mean over tokens, and fc(classes).

    Zhou et al. (Spikformer, 2023) at the size of a CPU, with strides in place of max pooling and shortcuts
    before the neurons, so that all that layers exchange are spikes.

    **Arguments:**

    - `image_size`, `in_channels`, `classes`: 8, 1 and 10 for scikit-learn's digits; 32, 3 and 10 for
      CIFAR-10.
    - `channels`: of a token. `halvings`: convolutions of stride 2 before the blocks, each with twice the
      channels of the one before; the tokens are the (image_size / 2^halvings)² positions then.
    - `depth`, `heads`: blocks, and the parts that each cuts the channels into.
    - `expansion`: width of the hidden layer of a block, in channels.
    - `attention_threshold`: of the LIF neurons (λ = 0.5) after the attention products.
    - `neuron`: makes one layer of all other neurons. `norm`: follows all weights but the last.
    - `encoding`: direct, Poisson, or frames of events.
    - `param_dtype`: of stored parameters. `rngs`: of the initial weights.

    **Returns:** a [`Network`][].

    **Raises:** `ValueError` for sizes that do not divide.
    """
    if halvings < 0 or depth < 1 or image_size % 2**halvings or channels % 2**halvings:
        raise ValueError(
            f"{halvings} halvings must divide image_size {image_size} and channels {channels}, and depth be "
            f"at least 1, got {depth}."
        )
    options: dict[str, Any] = {"param_dtype": param_dtype, "rngs": rngs}

    def block(name: str, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, pool: int = 1) -> Block:
        made = neuron()
        synapse = Conv(inputs, outputs, kernel, stride=stride, padding=kernel // 2, **options)
        return Block(name, synapse, made, norm=normalization(norm, outputs, made), pool=pool)

    wide = [channels // 2 ** (halvings - step) for step in range(halvings + 1)]
    layers: list[Any] = [block("embed1", in_channels, wide[0], kernel=3)]
    for step in range(halvings):
        layers.append(block(f"embed{step + 2}", wide[step], wide[step + 1], kernel=3, stride=2))
    side = image_size // 2**halvings
    for number in range(1, depth + 1):
        query, key, value, projection = (
            block(f"{part}{number}", channels, channels) for part in ("query", "key", "value", "projection")
        )
        gather = LIF(leak=0.5, threshold=attention_threshold)
        layers.append(SpikingAttention(query, key, value, projection, gather, heads=heads))
        hidden = expansion * channels
        layers.append(
            Residual(
                block(f"mlp{number}_1", channels, hidden),
                block(f"mlp{number}_2", hidden, channels, pool=side if number == depth else 1),
            )
        )
    layers.append(Block("fc", Linear(channels, classes, **options), Readout()))
    return Network(layers, encoding)
