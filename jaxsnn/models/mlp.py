"""Fully connected networks."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from flax import nnx

from jaxsnn.encoding import Direct, Encoding
from jaxsnn.layers import Block, Linear
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, Neuron, Readout


def mlp(
    hidden: Sequence[int] = (800,),
    *,
    in_features: int,
    classes: int = 10,
    neuron: Callable[[], Neuron] = LIF,
    encoding: Encoding = Direct(),
    kernel_init=None,
    param_dtype=jnp.float32,
    dtype=None,
    rngs: nnx.Rngs,
) -> Network:
    """fc(hidden[0]) – … – fc(classes) on flattened images, no biases.

    **Arguments:** `in_features` is height · width · channels; the others as for
    [`jaxsnn.models.vgg.vgg`][]. With `neuron=ReLU` and one timestep it is the ANN twin.
    """
    options = {"kernel_init": kernel_init, "param_dtype": param_dtype, "dtype": dtype, "rngs": rngs}
    sizes = [in_features, *hidden]
    blocks = [
        Block(f"fc{i + 1}", Linear(sizes[i], sizes[i + 1], **options), neuron()) for i in range(len(hidden))
    ]
    last = Block(f"fc{len(sizes)}", Linear(sizes[-1], classes, **options), Readout())
    return Network([*blocks, last], encoding)
