"""A small convolutional network for 8×8 digits."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxsnn.checks import require_count
from jaxsnn.encoding import Direct, Encoding
from jaxsnn.layers import Block, Conv, Linear
from jaxsnn.models._parts import normalization
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, Neuron, Readout
from jaxsnn.normalization import Normalization

_NEURON = partial(LIF, leak=0.5)


def digits_convnet(
    *,
    width: int = 16,
    classes: int = 10,
    image_size: int = 8,
    in_channels: int = 1,
    neuron: Callable[[], Neuron] = _NEURON,
    norm: Callable[[int], Normalization] | None = None,
    encoding: Encoding = Direct(),
    param_dtype=jnp.float32,
    rngs: nnx.Rngs,
) -> Network:
    """conv3×3(width) – conv3×3(2·width) – average pool 2 – fc(4·width) – fc(classes), no biases.

    **Arguments:**

    - `width`: channels of the first convolution.
    - `classes`, `image_size`, `in_channels`: 10, 8 and 1 for scikit-learn's digits.
    - `neuron`: makes one layer of neurons, e.g. `partial(LIF, leak=0.9)`.
    - `norm`: makes a normalisation from a channel count; it follows all weights but the last.
    - `encoding`: direct or Poisson.
    - `param_dtype`: of stored parameters. `rngs`: of the initial weights.

    **Returns:** a [`Network`][].

    **Raises:** `ValueError` for a width or classes below 1, and for images too small to be pooled.
    """
    for name, value, least in (("width", width, 1), ("classes", classes, 1), ("image_size", image_size, 2)):
        require_count(name, value, least)
    options = {"param_dtype": param_dtype, "rngs": rngs}
    side = image_size // 2

    def after(channels: int) -> dict[str, Any]:
        made = neuron()
        return {"neuron": made, "norm": normalization(norm, channels, made)}

    return Network(
        [
            Block("conv1", Conv(in_channels, width, **options), **after(width)),
            Block("conv2", Conv(width, 2 * width, **options), **after(2 * width), pool=2),
            Block("fc1", Linear(2 * width * side * side, 4 * width, **options), **after(4 * width)),
            Block("fc2", Linear(4 * width, classes, **options), Readout()),
        ],
        encoding,
    )
