"""The artificial network that a spiking one is compared with, on the same chip."""

import dataclasses

from hwmodels.spikeflow.chip import Chip
from hwmodels.workload import Scalar, Workload


def dense_twin(
    workload: Workload, chip: Chip | None = None, *, activation_bits: Scalar = 4
) -> tuple[Workload, Chip]:
    """The same layers as an ANN: one pass, activations bit by bit, rectifiers instead of LIF, no potential.

    **Arguments:**

    - `workload`: the spiking network; its layers are kept, their `input_rate` too.
    - `chip`: the spiking chip; all but its neuron is kept.
    - `activation_bits`: bits of an activation, each a PE cycle.

    **Returns:** the workload and the chip to hand to [`evaluate`][].

    **Raises:** `ValueError` for bits out of range.
    """
    chip = Chip() if chip is None else chip
    twin = dataclasses.replace(workload, timesteps=1)
    return twin, dataclasses.replace(chip, neuron="relu", activation_bits=activation_bits)
