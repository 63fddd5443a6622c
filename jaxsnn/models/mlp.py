"""Fully connected networks."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxsnn.encoding import Direct, Encoding
from jaxsnn.layers import Block, Linear
from jaxsnn.models._parts import normalization, scaled
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, Neuron, Readout
from jaxsnn.normalization import Normalization


def mlp(
    hidden: Sequence[int] = (800,),
    *,
    in_features: int,
    classes: int = 10,
    width: float = 1.0,
    neuron: Callable[[], Neuron] = LIF,
    norm: Callable[[int], Normalization] | None = None,
    encoding: Encoding = Direct(),
    kernel_init=None,
    use_bias: bool = False,
    param_dtype=jnp.float32,
    dtype=None,
    rngs: nnx.Rngs,
) -> Network:
    """fc(hidden[0]) – … – fc(classes) on flattened images.

    **Arguments:**

    - `hidden`: sizes of the hidden layers.
    - `in_features`: height · width · channels. `classes`: outputs.
    - `use_bias`: whether layers have biases.
    - the others as for [`jaxsnn.models.vgg.vgg`][]: `width` is a factor on the hidden sizes, and `norm`
      follows every hidden layer. With `neuron=ReLU` and one timestep it is the ANN twin.

    **Returns:** a [`Network`][].

    **Raises:** `ValueError` for a width that is not positive.
    """
    options: dict[str, Any] = {
        "kernel_init": kernel_init,
        "use_bias": use_bias,
        "param_dtype": param_dtype,
        "dtype": dtype,
        "rngs": rngs,
    }
    units, blocks = in_features, []
    for number, size in enumerate(hidden, start=1):
        out, made = scaled(size, width), neuron()
        fitting = normalization(norm, out, made)
        blocks.append(Block(f"fc{number}", Linear(units, out, **options), made, norm=fitting))
        units = out
    last = Block(f"fc{len(hidden) + 1}", Linear(units, classes, **options), Readout())
    return Network([*blocks, last], encoding)
