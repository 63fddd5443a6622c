"""The six networks of Table II, as the authors' workload files state them."""

from hwmodels.workload import Layer, Scalar, Workload

_BNTT = ((32, 3, 64), (32, 64, 64), (16, 64, 128), (8, 128, 128), (4, 128, 256), (4, 256, 256), (4, 256, 256))
_TSSL = ((32, 3, 128), (32, 128, 256), (16, 256, 512), (8, 512, 1024), (4, 1024, 512))
_RESNET = (
    (32, 3, 128),
    *[(32, 128, 128)] * 6,
    (32, 128, 256, 2),
    *[(16, 256, 256)] * 5,
    (16, 256, 512, 2),
    *[(8, 512, 512)] * 3,
)
_VGG_HEAD = ((1024, 1024), (1024, 512))
_TSSL_HEAD = ((8192, 1024), (1024, 512))

# name: convolutions (side, in, out, stride), linear layers (in, out), timesteps, sparsity, baseline timesteps
_WORKS = {
    "sbp": (_BNTT, _VGG_HEAD, 50, 0.9, 260),
    "bntt": (_BNTT, _VGG_HEAD, 20, 0.91, 80),
    "direct": (_TSSL, _TSSL_HEAD, 10, 0.9, 40),
    "tssl": (_TSSL, _TSSL_HEAD, 5, 0.9, 80),
    "lth": (_RESNET, ((8192, 256),), 5, 0.98, 10),
    "tdbn": (_RESNET, ((8192, 256),), 4, 0.85, 100),
}
PUBLISHED_WORKS: tuple[str, ...] = tuple(_WORKS)


def published_workload(work: str, *, baseline: bool = False) -> Workload:
    """One of the six works of Table II on CIFAR10.

    **Arguments:**

    - `work`: "sbp", "bntt", "direct", "tssl", "lth" or "tdbn".
    - `baseline`: the network it is compared with: the same layers at more timesteps and a rate of one half.

    **Returns:** a [`Workload`][] whose rates are one minus the work's sparsity, in every layer.

    **Raises:** `ValueError` for an unknown work.
    """
    if work not in _WORKS:
        raise ValueError(f"unknown work {work!r}; choose one of {', '.join(_WORKS)}.")
    convolutions, linear, timesteps, sparsity, baseline_timesteps = _WORKS[work]
    rate = 0.5 if baseline else 1 - sparsity
    layers = [
        Layer.conv(
            f"conv{i}",
            height=shape[0],
            width=shape[0],
            in_channels=shape[1],
            out_channels=shape[2],
            kernel=3,
            stride=shape[3] if len(shape) > 3 else 1,
            padding=1,
            input_rate=rate,
        )
        for i, shape in enumerate(convolutions, 1)
    ]
    layers += [
        Layer.linear(f"fc{i}", in_features=shape[0], out_features=shape[1], input_rate=rate)
        for i, shape in enumerate(linear, 1)
    ]
    return Workload(layers=tuple(layers), timesteps=baseline_timesteps if baseline else timesteps)


def vgg9(
    *,
    size: int = 32,
    classes: int = 10,
    timesteps: Scalar = 4,
    input_rate: Scalar = 0.1,
    direct_encoding: bool = True,
) -> Workload:
    """The VGG9 of the paper's mitigation studies: 64-64-P-128-128-P-256-256-256-P-1024-classes.

    **Arguments:**

    - `size`: side of the image (32: CIFAR10, 64: Tiny ImageNet).
    - `classes`: width of the readout, whose neurons do not spike.
    - `timesteps`: T.
    - `input_rate`: spike rate of every layer but a directly encoded first one.
    - `direct_encoding`: the first layer sees the image itself.

    **Returns:** a [`Workload`][]. The authors publish no rates for this network; 0.1 is the usual one of
    their Table II.
    """
    widths = ((64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 1), (256, 2))
    layers, channels, side = [], 3, size
    for index, (width, pool) in enumerate(widths, 1):
        direct = direct_encoding and index == 1
        layers.append(
            Layer.conv(
                f"conv{index}",
                height=side,
                width=side,
                in_channels=channels,
                out_channels=width,
                padding=1,
                input_rate=1.0 if direct else input_rate,
                analog_input=direct,
                pool=pool,
            )
        )
        channels, side = width, side // pool
    features = channels * side**2
    layers.append(Layer.linear("fc1", in_features=features, out_features=1024, input_rate=input_rate))
    layers.append(
        Layer.linear("fc2", in_features=1024, out_features=classes, input_rate=input_rate, spiking=False)
    )
    return Workload(layers=tuple(layers), timesteps=timesteps)
