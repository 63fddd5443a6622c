"""Ranges of traced numbers, which only a run can check."""

from hwmodels.ranges import guard
from hwmodels.sata.accelerator import Accelerator
from hwmodels.workload import Workload


def guarded(workload: Workload, chip: Accelerator) -> tuple[Workload, Accelerator]:
    """The same two, such that their use raises where a traced fraction or precision is out of range.

    Known values were checked when the layer and the precision were made. Traced array and buffer sizes need
    no check: they stand for the nearest machine that can be built.

    **Raises:** `RuntimeError`, when run, that names the layer or the operand.
    """
    fractions = [each for layer in workload.layers for each in layer.fractions()]
    return guard((workload, chip), [*fractions, *chip.precision.ranges()])
