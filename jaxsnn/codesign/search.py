"""The chip for a network: the least energy times delay under limits of area and weight error."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwmodels import spikeflow
from hwmodels.crossbar import Crossbar
from hwmodels.search import Choice, Constraint, Optimum, minimise
from hwmodels.workload import Workload
from jaxsnn.codesign.sensitivity import weight_errors
from jaxsnn.codesign.workload import Conventions
from jaxsnn.network import Network


@dataclass(frozen=True)
class ChipSpace:
    """The chips among which a search may choose.

    **Arguments:**

    - `crossbar_sizes`: rows = columns of a crossbar.
    - `adc_bits`, `mux_ratios`, `pes_per_tile`: of [`hwmodels.spikeflow.Chip`][].
    - `rows_per_code`: the most rows of a crossbar for each code of its converters.
    - `weight_error`: the most that wires and variation may change a weight on average, a fraction.

    **Raises:** `ValueError` for mux ratios beyond the columns of the smallest crossbar.
    """

    crossbar_sizes: tuple[int, ...]
    adc_bits: tuple[int, ...]
    mux_ratios: tuple[int, ...]
    pes_per_tile: tuple[int, ...]
    rows_per_code: float
    weight_error: float

    def __post_init__(self):
        if min(self.crossbar_sizes) < max(self.mux_ratios):
            raise ValueError(
                f"ChipSpace: {max(self.mux_ratios)} columns cannot share a converter in crossbars of "
                f"{min(self.crossbar_sizes)}; drop that mux ratio or that size."
            )

    @property
    def parameters(self) -> tuple[Choice, ...]:
        return (
            Choice("crossbar_size", self.crossbar_sizes),
            Choice("adc_bits", self.adc_bits, unit="bit"),
            Choice("mux_ratio", self.mux_ratios),
            Choice("pes_per_tile", self.pes_per_tile),
        )

    @property
    def designs(self) -> int:
        return int(np.prod([len(parameter.values) for parameter in self.parameters]))


def find_chip(
    workload: Workload,
    base: spikeflow.Chip,
    space: ChipSpace,
    errors: Sequence[float],
    area_limit_mm2: float,
    key: jax.Array,
    conventions: Conventions = "corrected",
    **settings: Any,
) -> Optimum:
    """The chip with the least product of energy and latency for one inference.

    **Arguments:**

    - `workload`: of the network, with its rates.
    - `base`: a chip, whose parameters outside the space stand.
    - `errors`: the mean weight error of each of the space's crossbar sizes.
    - `area_limit_mm2`: of the chip.
    - `key`, `settings`: of [`hwmodels.search.minimise`][].

    **Raises:** [`hwmodels.search.InfeasibleError`][].
    """

    def build(crossbar_size: Any, **sizes: Any) -> spikeflow.Chip:
        return dataclasses.replace(base, crossbar_rows=crossbar_size, crossbar_columns=crossbar_size, **sizes)

    def cost(chip: spikeflow.Chip) -> spikeflow.Cost:
        return spikeflow.evaluate(workload, chip, conventions)

    def energy_delay(chip: spikeflow.Chip) -> Any:
        found = cost(chip)
        return found.energy_j * found.latency_s * 1e12  # nJ·ms: joule second would underflow in float32

    def weight_error(chip: spikeflow.Chip) -> Any:
        return jnp.interp(chip.crossbar_rows, np.array(space.crossbar_sizes, float), np.array(errors))

    constraints = (
        Constraint("area", lambda chip: cost(chip).area_mm2, upper=area_limit_mm2, unit="mm²"),
        Constraint("weight error", weight_error, upper=space.weight_error),
        Constraint(
            "rows per ADC code",
            lambda chip: chip.crossbar_rows / 2.0**chip.adc_bits,
            upper=space.rows_per_code,
        ),
    )
    return minimise(energy_delay, build, space.parameters, key=key, constraints=constraints, **settings)


def sized(crossbar: Crossbar, rows: int, columns: int) -> Crossbar:
    """The same design at another size."""
    return dataclasses.replace(crossbar, rows=rows, columns=columns)


def mean_weight_errors(
    network: Network, crossbar: Crossbar, sizes: Sequence[int], key: jax.Array
) -> list[float]:
    """The mean over the layers of the weight error on square crossbars of each size."""
    kernels = {layer.name: layer.synapse.kernel[...] for layer in network.layers}
    errors = [_weight_errors(kernels, sized(crossbar, size, size), key) for size in sizes]
    return [float(np.mean(list(by_layer.values()))) for by_layer in errors]


_weight_errors = jax.jit(weight_errors)
