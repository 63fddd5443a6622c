"""The networks of the published tables, from the reference files."""

from hwmodels.workload import Layer, Workload
from tests.helpers import reference_json


def golden_vgg9() -> Workload:
    """VGG9 on CIFAR10 at T = 5, as the published script lists it."""
    golden = reference_json("spikeflow/ela.json")["golden_vgg9_cifar10_t5"]
    sizes = zip(
        golden["in_channels"], golden["out_channels"], golden["in_dim"], golden["out_dim"], strict=True
    )
    layers = [
        Layer.conv(
            f"conv{index + 1}",
            height=size,
            width=size,
            in_channels=inputs,
            out_channels=outputs,
            padding=1,
            pool=size // out_size,
            analog_input=index == 0,
            input_rate=1.0 if index == 0 else 0.1,
        )
        for index, (inputs, outputs, size, out_size) in enumerate(sizes)
    ]
    return Workload(layers=layers, timesteps=golden["timesteps"])


def table_ii(work: str, timesteps: int) -> Workload:
    """A network of Table II: the layers that SATA's tool lists, padding 1, linear layers as 1×1."""
    layers = []
    for row in reference_json("sata/published.json")["workloads"][work]["layers"]:
        if row["ifmap_height"] == 1 and row["filter_height"] == 1:
            layer = Layer.linear(row["name"], in_features=row["channels"], out_features=row["num_filters"])
        else:
            layer = Layer.conv(
                row["name"],
                height=row["ifmap_height"],
                width=row["ifmap_width"],
                in_channels=row["channels"],
                out_channels=row["num_filters"],
                kernel=(row["filter_height"], row["filter_width"]),
                stride=row["stride"],
                padding=1,
                analog_input=not layers,
            )
        layers.append(layer)
    return Workload(layers=layers, timesteps=timesteps)
