"""VGG networks of the papers, as SNN or (with `neuron=ReLU`) as ANN twin."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
from flax import nnx

from jaxsnn.checks import require_choice
from jaxsnn.composite import SharedMembrane
from jaxsnn.encoding import Direct, Encoding
from jaxsnn.layers import Block, Conv, Linear, Pooling
from jaxsnn.models._parts import normalization, scaled
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, Neuron, Readout
from jaxsnn.normalization import Normalization

# Channels of 3×3 convolutions; "P" pools 2×2, "M" takes the largest of 2×2, "GAP" averages over the whole
# map; then the hidden linear layers.
PLANS: dict[str, tuple[tuple[int | str, ...], tuple[int, ...]]] = {
    "vgg5": ((64, "P", 128, 128, "P"), (1024,)),
    "vgg9": ((64, 64, "P", 128, 128, "P", 256, 256, 256, "P"), (1024,)),
    "vgg11": ((64, "P", 128, "P", 256, 256, "P", 512, 512, "P", 512, 512, "GAP"), (4096,)),
    "vgg16": (
        (64, 64, "P", 128, 128, "P", 256, 256, 256, "P", 512, 512, 512, "P", 512, 512, 512, "GAP"),
        (),
    ),
}


def vgg(
    plan: str | tuple[tuple[int | str, ...], tuple[int, ...]],
    *,
    image_size: int = 32,
    in_channels: int = 3,
    classes: int = 10,
    width: float = 1.0,
    neuron: Callable[[], Neuron] = LIF,
    norm: Callable[[int], Normalization] | None = None,
    norm_on: Literal["all", "conv"] = "all",
    pooling: Pooling = "average",
    shared: Sequence[tuple[int, int]] = (),
    encoding: Encoding = Direct(),
    kernel_init=None,
    use_bias: bool = False,
    param_dtype=jnp.float32,
    dtype=None,
    rngs: nnx.Rngs,
) -> Network:
    """A VGG: 3×3 convolutions with pooling after the neurons, then linear layers and a readout.

    Kim and Panda (BNTT, 2021) for VGG5, VGG9 and VGG11; VGG16 is the usual one for small images, with one
    linear layer after global average pooling.

    **Arguments:**

    - `plan`: "vgg5", "vgg9", "vgg11", "vgg16", or (channels with "P", "M" and "GAP", hidden linear sizes).
    - `image_size`, `in_channels`, `classes`: 28 and 1 for MNIST, 32 and 3 for CIFAR, 64 for Tiny ImageNet.
    - `width`: factor on every hidden channel and unit count, positive.
    - `neuron`: makes one layer of neurons, e.g. `partial(LIF, leak=0.95)`; `ReLU` makes the ANN twin, which
      runs for one timestep.
    - `norm`: makes a normalisation from a channel count, e.g. `partial(BNTT, timesteps=20)`; it follows every
      convolution and hidden linear layer, or, if `norm_on` is "conv", convolutions alone. `TdBN` takes the
      neurons' threshold, unless a `partial` names one.
    - `pooling`: what "P" does, "average" or "max"; "M" is always max, and "GAP" the average.
    - `shared`: convolutions that share a membrane, as pairs (first, last) counted from 1, e.g.
      `[(3, 4), (5, 7)]`; see [`jaxsnn.composite.SharedMembrane`][].
    - `encoding`: direct or Poisson. `kernel_init`: Xavier-uniform with gain 2 by default.
    - `use_bias`: whether layers have biases. `rngs`: of the initial weights.
    - `param_dtype`, `dtype`: of stored parameters and of the products, e.g. `dtype=jnp.bfloat16`.

    **Returns:** a [`Network`][].

    **Raises:** `ValueError` for an unknown plan, an image too small for the poolings, a width that is not
    positive, and layers that cannot share a membrane.
    """
    if isinstance(plan, str):
        if plan not in PLANS:
            raise ValueError(f"unknown VGG {plan!r}; known are {', '.join(PLANS)}.")
        plan = PLANS[plan]
    require_choice("norm_on", norm_on, ("all", "conv"))
    features, hidden = plan
    unknown = [item for item in features if isinstance(item, str) and item not in ("P", "M", "GAP")]
    if unknown:
        raise ValueError(f"a plan's poolings are 'P', 'M' and 'GAP', got {unknown[0]!r}.")
    for before, item in zip((None, *features), features, strict=False):
        if isinstance(item, str) and (before is None or isinstance(before, str)):
            raise ValueError(
                f"{item!r} of a plan pools a convolution's map, and before it comes {before!r}; put channels "
                "there."
            )
    options: dict[str, Any] = {
        "kernel_init": kernel_init,
        "use_bias": use_bias,
        "param_dtype": param_dtype,
        "dtype": dtype,
        "rngs": rngs,
    }

    def after(channels: int, *, flat: bool = False) -> dict[str, Any]:
        made = neuron()
        chosen = None if flat and norm_on == "conv" else norm
        return {"neuron": made, "norm": normalization(chosen, channels, made)}

    blocks: list[Any] = []
    side, channels = image_size, in_channels
    for index, item in enumerate(features):
        if isinstance(item, str):
            continue
        following = features[index + 1] if index + 1 < len(features) else None
        pool = {"P": 2, "M": 2, "GAP": side}[following] if isinstance(following, str) else 1
        kind: Pooling = "max" if following == "M" else "average" if following == "GAP" else pooling
        if pool > 1 and side // pool == 0:
            raise ValueError(f"an image of {image_size} pixels is too small for this network's poolings.")
        out = scaled(item, width)
        name = f"conv{len(blocks) + 1}"
        conv = Conv(channels, out, **options)
        blocks.append(Block(name, conv, **after(out), pool=pool, pooling=kind))
        side, channels = side // pool, out
    units = side * side * channels
    linear: list[Any] = []
    for size in hidden:
        out = scaled(size, width)
        name = f"fc{len(linear) + 1}"
        linear.append(Block(name, Linear(units, out, **options), **after(out, flat=True)))
        units = out
    linear.append(Block(f"fc{len(linear) + 1}", Linear(units, classes, **options), Readout()))
    return Network([*_share(blocks, shared), *linear], encoding)


def _share(blocks: list[Any], shared: Sequence[tuple[int, int]]) -> list[Any]:
    result = list(blocks)
    for first, last in sorted(shared, reverse=True):
        if not 2 <= first < last <= len(blocks):
            raise ValueError(
                f"convolutions {first} to {last} cannot share a membrane: there are {len(blocks)}, and "
                "sharing starts at the second."
            )
        result[first - 1 : last] = [SharedMembrane(result[first - 1 : last])]
    return result


vgg5 = partial(vgg, "vgg5")
vgg9 = partial(vgg, "vgg9")
vgg11 = partial(vgg, "vgg11")
vgg16 = partial(vgg, "vgg16")
