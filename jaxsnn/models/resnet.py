"""ResNets of the papers, as SNN or (with `neuron=ReLU`) as ANN twin."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxsnn.composite import Residual, SharedMembrane
from jaxsnn.encoding import Direct, Encoding
from jaxsnn.layers import Block, Conv, Linear
from jaxsnn.models._parts import normalization, scaled
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, Identity, Neuron, Readout
from jaxsnn.normalization import Normalization, TdBN


def resnet(
    stages: Sequence[tuple[int, int]],
    *,
    stem: int,
    hidden: Sequence[int] = (),
    final_pool: int | None = None,
    image_size: int = 32,
    in_channels: int = 3,
    classes: int = 10,
    width: float = 1.0,
    neuron: Callable[[], Neuron] = LIF,
    norm: Callable[[int], Normalization] | None = TdBN,
    shared: bool = False,
    encoding: Encoding = Direct(),
    kernel_init=None,
    param_dtype=jnp.float32,
    dtype=None,
    rngs: nnx.Rngs,
) -> Network:
    """A stem convolution, stages of residual blocks, average pooling, linear layers, a readout.

    Every stage after the first starts with stride 2. A block is conv–norm–neuron–conv–norm–(+)–neuron, with a
    normalised 1×1 projection where the shape changes (He et al., 2016; Zheng et al., tdBN, 2021).

    **Arguments:**

    - `stages`: (channels, blocks) of each stage; `stem`: channels of the first convolution.
    - `hidden`: sizes of hidden linear layers.
    - `final_pool`: side of the last average pooling; None pools the whole map.
    - `norm`: as for [`jaxsnn.models.vgg.vgg`][]. `TdBN` takes α = 1/√2 in the second convolution of a block
      and in the projection, whose outputs are added, and α = 1 elsewhere; `partial(TdBN, alpha=1.0)` makes it
      1 everywhere. A shortcut without projection carries spikes, as they are. A network without `norm` hardly
      trains.
    - `shared`: the neurons of each stage take turns on one membrane, the stem keeping its own (Kim et al.,
      EfficientLIF-Net, 2023); see [`jaxsnn.composite.SharedMembrane`][]. It needs `norm=partial(BNTT, …)` or
      None.
    - the others as for [`jaxsnn.models.vgg.vgg`][].

    **Returns:** a [`Network`][].

    **Raises:** `ValueError` for an image too small for the last pooling, a width that is not positive, and
    neurons or a normalisation that cannot share a membrane.
    """
    options: dict[str, Any] = {
        "kernel_init": kernel_init,
        "param_dtype": param_dtype,
        "dtype": dtype,
        "rngs": rngs,
    }
    count = 0

    def conv(channels_in, channels_out, stride=1, pool=1, branches=1):
        nonlocal count
        count += 1
        made = neuron()
        return Block(
            f"conv{count}",
            Conv(channels_in, channels_out, stride=stride, **options),
            made,
            norm=normalization(norm, channels_out, made, branches),
            pool=pool,
        )

    channels, side = scaled(stem, width), image_size
    layers: list[Any] = [conv(in_channels, channels)]
    for index, (stage_channels, blocks) in enumerate(stages):
        stage: list[Residual] = []
        for block in range(blocks):
            stride = 2 if index > 0 and block == 0 else 1
            out, side = scaled(stage_channels, width), -(-side // stride)
            last = index == len(stages) - 1 and block == blocks - 1
            pool = (side if final_pool is None else final_pool) if last else 1
            if pool > side:
                raise ValueError(
                    f"an image of {image_size} pixels is too small for this network: its last map, of side "
                    f"{side}, cannot be pooled by {pool}."
                )
            first, second = conv(channels, out, stride), conv(out, out, pool=pool, branches=2)
            projection = None
            if stride != 1 or channels != out:
                synapse = Conv(channels, out, 1, stride=stride, padding=0, **options)
                fitting = normalization(norm, out, second.neuron, branches=2)
                projection = Block(f"shortcut{count}", synapse, Identity(), norm=fitting)
            stage.append(Residual(first, second, projection))
            channels = out
        layers += [SharedMembrane(stage)] if shared else stage
        if last:
            side //= pool
    units, number = side * side * channels, 1
    for hidden_size in hidden:
        out = scaled(hidden_size, width)
        layers.append(Block(f"fc{number}", Linear(units, out, **options), neuron()))
        units, number = out, number + 1
    layers.append(Block(f"fc{number}", Linear(units, classes, **options), Readout()))
    return Network(layers, encoding)


resnet18 = partial(resnet, ((64, 2), (128, 2), (256, 2), (512, 2)), stem=64)
resnet19 = partial(resnet, ((128, 3), (256, 3), (512, 2)), stem=128, hidden=(256,), final_pool=2)
