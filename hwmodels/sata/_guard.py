"""Ranges of traced numbers, which only a run can check."""

from hwmodels.checks import Range, guard
from hwmodels.sata.accelerator import Accelerator
from hwmodels.sata.technology import WIDTH_LIMITS
from hwmodels.workload import Workload


def guarded(workload: Workload, chip: Accelerator) -> tuple[Workload, Accelerator]:
    """The same two, such that their use raises where a traced fraction or precision is out of range.

    Known values were checked when the layer and the precision were made. Traced array and buffer sizes need
    no check: they stand for the nearest machine that can be built.

    **Raises:** `RuntimeError`, when run, that names the layer or the operand.
    """
    fractions = [
        Range(
            f"layer {layer.name!r}: {name} is a fraction and must lie in [0, 1].", getattr(layer, name), 0, 1
        )
        for layer in workload.layers
        for name in ("input_rate", "weight_sparsity")
    ]
    widths = [
        Range(
            f"unsupported precision: {name}; the component tables cover {low} to {high} bits.",
            value,
            low,
            high,
        )
        for name, value in vars(chip.precision).items()
        for low, high in (WIDTH_LIMITS[name],)
    ]
    return guard((workload, chip), [*fractions, *widths])
