"""What every config can set: data, training, networks, chips and all their parts."""

from typing import Any

from experiments import registry
from hwmodels import sata, spikeflow
from hwmodels.crossbar import (
    BitResistors,
    Converters,
    Crossbar,
    Device,
    Drift,
    Faults,
    ReadNoise,
    Variation,
    Wires,
)
from jaxsnn.data import datasets
from jaxsnn.data.dataset import Dataset
from jaxsnn.learning.training import TrainConfig
from jaxsnn.models.digits import digits_convnet
from jaxsnn.models.spikformer import spikformer
from jaxsnn.neuron import LIF


def load(
    name: str,
    path: str | None = None,
    seed: int | None = None,
    test_fraction: float | None = None,
    normalize: bool | None = None,
    complete: bool | None = None,
    timesteps: int | None = None,
    values: str | None = None,
    by: str | None = None,
) -> Dataset:
    """A data set by name, see [`jaxsnn.data.datasets.load`][].

    **Arguments:** `seed` is that of the split, and of no effect for sets that come with one.
    """
    options: dict[str, Any] = {"normalize": normalize, "complete": complete, "test_fraction": test_fraction}
    options |= {"timesteps": timesteps, "values": values, "by": by}
    if name == "digits":
        options["seed"] = seed
    return datasets.load(name, path=path, **options)


make_dataset = registry.register(load)
make_training = registry.register(TrainConfig)
make_neuron = registry.register(LIF)
make_digits_convnet = registry.register(digits_convnet)
make_spikformer = registry.register(spikformer)
make_crossbar = registry.register(Crossbar)
make_wires = registry.register(Wires)
make_device = registry.register(Device)
make_accelerator = registry.register(sata.Accelerator, name="Accelerator")
make_chip = registry.register(spikeflow.Chip, name="Chip")
make_converters = registry.register(Converters)
for part in (
    BitResistors,
    Drift,
    Faults,
    ReadNoise,
    Variation,
    sata.Array,
    sata.Buffers,
    sata.Precision,
    spikeflow.Adc,
    spikeflow.Cell,
    spikeflow.Components,
    spikeflow.Mesh,
):
    registry.register(part)
registry.constant("RRAM", spikeflow.RRAM)
registry.constant("SRAM", spikeflow.SRAM)
