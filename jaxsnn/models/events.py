"""A small convolutional network for the frames of event cameras."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxsnn.checks import require_count
from jaxsnn.encoding import Encoding, Frames
from jaxsnn.layers import Block, Conv, Linear
from jaxsnn.models._parts import normalization
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, Neuron, Readout
from jaxsnn.normalization import Normalization

_NEURON = partial(LIF, leak=0.5)


def event_convnet(
    *,
    image_size: int = 34,
    in_channels: int = 2,
    width: int = 16,
    classes: int = 10,
    neuron: Callable[[], Neuron] = _NEURON,
    norm: Callable[[int], Normalization] | None = None,
    encoding: Encoding = Frames(),
    param_dtype=jnp.float32,
    rngs: nnx.Rngs,
) -> Network:
    """conv5×5 stride 2 (width) – conv3×3(2·width) – average pool 2 – fc(8·width) – fc(classes), no biases.

    Its inputs are given at every timestep, (time, batch, height, width, channels).

    **Arguments:**

    - `image_size`, `in_channels`, `classes`: 34, 2 and 10 for N-MNIST; 128, 2 and 11 for DVS Gesture.
    - `width`: channels of the first convolution.
    - `neuron`: makes one layer of neurons, e.g. `partial(LIF, leak=0.9)`.
    - `norm`: makes a normalisation from a channel count; it follows all weights but the last.
    - `encoding`: frames; of images direct or Poisson.
    - `param_dtype`: of stored parameters. `rngs`: of the initial weights.

    **Returns:** a [`Network`][].

    **Raises:** `ValueError` for a size below what the layers need.
    """
    for name, value, least in (
        ("image_size", image_size, 4),
        ("in_channels", in_channels, 1),
        ("width", width, 1),
        ("classes", classes, 1),
    ):
        require_count(name, value, least)
    options: dict[str, Any] = {"param_dtype": param_dtype, "rngs": rngs}
    side = (image_size - 1) // 2 + 1  # After the stride; then the pool halves it.
    units = 2 * width * (side // 2) ** 2

    def after(channels: int) -> dict[str, Any]:
        made = neuron()
        return {"neuron": made, "norm": normalization(norm, channels, made)}

    return Network(
        [
            Block("conv1", Conv(in_channels, width, 5, stride=2, padding=2, **options), **after(width)),
            Block("conv2", Conv(width, 2 * width, **options), **after(2 * width), pool=2),
            Block("fc1", Linear(units, 8 * width, **options), **after(8 * width)),
            Block("fc2", Linear(8 * width, classes, **options), Readout()),
        ],
        encoding,
    )
