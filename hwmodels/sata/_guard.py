"""Ranges of traced numbers, which only a run can check."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from hwmodels.sata.accelerator import Accelerator
from hwmodels.sata.technology import WIDTH_LIMITS
from hwmodels.workload import Workload


def _is_traced(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)


def guarded(workload: Workload, chip: Accelerator) -> tuple[Workload, Accelerator]:
    """The same two, such that their use raises where a traced fraction or precision is out of range.

    Known values were checked when the layer and the precision were made. Traced array and buffer sizes need
    no check: they stand for the nearest machine that can be built.

    **Raises:** `RuntimeError`, when run, that names the layer or the operand.
    """
    limits = [
        (f"layer {layer.name!r}: {name} is a fraction and must lie in [0, 1].", getattr(layer, name), 0, 1)
        for layer in workload.layers
        for name in ("input_rate", "weight_sparsity")
    ]
    limits += [
        (f"unsupported precision: {name}; the component tables cover {low} to {high} bits.", value, low, high)
        for name, value in vars(chip.precision).items()
        for low, high in (WIDTH_LIMITS[name],)
    ]
    limits = [limit for limit in limits if _is_traced(limit[1])]
    if not limits:
        return workload, chip
    bad = jnp.stack([~((low <= value) & (value <= high)) for _, value, low, high in limits])  # NaN is bad
    messages = [message for message, *_ in limits]
    traced, known = eqx.partition((workload, chip), _is_traced)
    traced = eqx.branched_error_if(traced, jnp.any(bad), jnp.argmax(bad), messages)
    return eqx.combine(traced, known)
