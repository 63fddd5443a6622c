"""The networks of the papers as workloads: VGG9, VGG16 and ResNet18."""

from collections.abc import Sequence

from hwmodels.workload import Layer, Scalar, Workload

VGG9: tuple[int | str, ...] = (64, 64, "P", 128, 128, "P", 256, 256, 256, "P")
"""Robustness paper, and SpikeSim's golden network."""

VGG16: tuple[int | str, ...] = (
    *(64, 64, "P", 128, 128, "P", 256, 256, 256, "P"),
    *(512, 512, 512, "P", 512, 512, 512, "P"),
)
"""Simonyan and Zisserman, ICLR 2015, configuration D."""


def vgg(
    channels: Sequence[int | str],
    *,
    size: int = 32,
    classes: int = 10,
    hidden: Sequence[int] = (),
    timesteps: Scalar = 5,
    input_rate: Scalar = 0.1,
) -> Workload:
    """A VGG with 3×3 kernels and direct encoding.

    **Arguments:** `channels`: output channels in order, `"P"` for 2×2 average pooling behind the layer
    before. `size`: side of the RGB image. `hidden`: widths of the linear layers before the readout.
    `classes`: outputs of the readout. `timesteps`: T. `input_rate`: spike rate of every layer but the first.

    **Returns:** a workload of layers conv1, conv2, ..., fc1, ...
    """
    layers: list[Layer] = []
    inputs = 3
    for position, outputs in enumerate(channels):
        if isinstance(outputs, str):
            continue
        pool = 2 if position + 1 < len(channels) and channels[position + 1] == "P" else 1
        layers.append(
            Layer.conv(
                f"conv{len(layers) + 1}",
                height=size,
                width=size,
                in_channels=inputs,
                out_channels=outputs,
                padding=1,
                pool=pool,
                analog_input=not layers,
                input_rate=input_rate if layers else 1.0,
            )
        )
        inputs, size = outputs, size // pool
    features = inputs * size * size
    for index, width in enumerate((*hidden, classes)):
        layers.append(
            Layer.linear(
                f"fc{index + 1}",
                in_features=features,
                out_features=width,
                input_rate=input_rate,
                spiking=index < len(hidden),
            )
        )
        features = width
    return Workload(layers=tuple(layers), timesteps=timesteps)


def resnet18(
    *, size: int = 64, classes: int = 200, timesteps: Scalar = 4, input_rate: Scalar = 0.1
) -> Workload:
    """ResNet18 (He et al., CVPR 2016) with the 3×3 stem of small images, direct encoding, projections as
    layers of their own, and global average pooling before the readout.

    **Arguments:** as for [`vgg`][]; `size` must be a multiple of 8.

    **Returns:** a workload of layers stem, stage1.block1.conv1, ..., fc.

    **Raises:** `ValueError` for another size.
    """

    if size < 8 or size % 8:
        raise ValueError(f"size must be a multiple of 8, at least 8, got {size}.")

    def conv(name: str, inputs: int, outputs: int, side: int, **options) -> Layer:
        options = {"padding": 1, "input_rate": input_rate} | options
        return Layer.conv(name, height=side, width=side, in_channels=inputs, out_channels=outputs, **options)

    layers = [conv("stem", 3, 64, size, analog_input=True, input_rate=1.0)]
    inputs = 64
    for stage, outputs in enumerate((64, 128, 256, 512), start=1):
        for block in (1, 2):
            name = f"stage{stage}.block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            layers.append(conv(f"{name}.conv1", inputs, outputs, size, stride=stride))
            if stride > 1:
                options = {"kernel": 1, "padding": 0, "stride": stride, "spiking": False}
                layers.append(conv(f"{name}.projection", inputs, outputs, size, **options))
            size //= stride
            last = stage == 4 and block == 2
            layers.append(
                conv(f"{name}.conv2", outputs, outputs, size, residual_add=True, pool=size if last else 1)
            )
            inputs = outputs
    layers.append(
        Layer.linear("fc", in_features=inputs, out_features=classes, input_rate=input_rate, spiking=False)
    )
    return Workload(layers=tuple(layers), timesteps=timesteps)
