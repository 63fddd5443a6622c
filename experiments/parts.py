"""What every config can set: data, training, networks, chips and all their parts."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments import registry
from hwmodels import sata, spikeflow
from hwmodels.adc import AsBuilt
from hwmodels.crossbar import (
    PRESETS,
    BitResistors,
    Capacitances,
    Converters,
    Crossbar,
    Cubic,
    Device,
    Drift,
    Faults,
    ProgrammingError,
    ReadNoise,
    Relaxation,
    Series,
    Settling,
    Sinh,
    StateDrift,
    Transistor,
    Variation,
    Wires,
    WriteVerify,
)
from hwmodels.crossbar.laws import InversePower, Logarithmic, Polynomial, Saturating
from hwmodels.crossbar.write_verify import Adaptive, Incremental
from jaxsnn.data import datasets
from jaxsnn.data.dataset import Dataset
from jaxsnn.data.event_sets import FINDERS
from jaxsnn.data.published import SOURCES
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
    read = datasets.loader_of(name, path=path, **options)
    return _outline(name) if registry.rehearsing() else read()


# Of one image, without data: what networks are made for.
_SHAPES = {
    "digits": (8, 8, 1),
    "mnist": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
    "cifar100": (32, 32, 3),
    "tiny_imagenet": (64, 64, 3),
    "nmnist": (1, 34, 34, 2),
    "dvs_gesture": (1, 128, 128, 2),
    "cifar10_dvs": (1, 128, 128, 2),
    "shd": (1, 700),
    "ssc": (1, 700),
}
_MANY = 1_000_000


def _outline(name: str) -> Dataset:
    """A data set of that shape which holds nothing: one image, shown again and again."""
    shape = _SHAPES[name]
    source = SOURCES.get(name)
    counts = source.counts if source else (1_438, 359) if name == "digits" else (_MANY, _MANY)
    images = [np.broadcast_to(np.zeros(shape, np.uint8), (count, *shape)) for count in counts]
    labels = [np.broadcast_to(np.uint8(0), count) for count in counts]
    classes = {"shd": 20, "ssc": 35, "dvs_gesture": 11}.get(name, source.classes if source else 10)
    return Dataset(name, images[0], labels[0], images[1], labels[1], classes, timed=name in FINDERS)


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
_PARTS: tuple[Callable[..., Any], ...] = (
    *PRESETS.values(),
    Adaptive,
    AsBuilt,
    BitResistors,
    Capacitances,
    Converters,
    Cubic,
    Drift,
    Faults,
    Incremental,
    InversePower,
    Logarithmic,
    Polynomial,
    ProgrammingError,
    ReadNoise,
    Relaxation,
    Saturating,
    Series,
    Settling,
    Sinh,
    StateDrift,
    Transistor,
    Variation,
    WriteVerify,
    sata.Array,
    sata.Buffers,
    sata.Precision,
    spikeflow.Adc,
    spikeflow.Cell,
    spikeflow.Components,
    spikeflow.Mesh,
)
for part in _PARTS:
    registry.register(part)
registry.constant("RRAM", spikeflow.RRAM)
registry.constant("SRAM", spikeflow.SRAM)
