"""The chip for a network: the least energy times delay under constraints, of any chip."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwmodels import spikeflow
from hwmodels.checks import at_edge
from hwmodels.chip import Chip
from hwmodels.crossbar import Crossbar
from hwmodels.search import Choice, Constraint, Optimum, minimise
from hwmodels.workload import Workload
from jaxsnn.codesign.sensitivity import groups_of_kernels, kernels_of, weight_errors
from jaxsnn.network import Network


def find_chip(
    workload: Workload,
    base: Chip,
    parameters: Sequence[Any],
    *,
    key: jax.Array,
    constraints: Sequence[Constraint] = (),
    build: Callable[..., Chip] | None = None,
    area_limit_mm2: float | None = None,
    conventions: Any = "corrected",
    **settings: Any,
) -> Optimum:
    """The chip with the least product of energy and latency for one inference.

    **Arguments:**

    - `workload`: of the network, with its rates.
    - `base`: any [`hwmodels.chip.Chip`][]; what the search does not choose stands.
    - `parameters`: what it chooses, e.g. [`hwmodels.search.Choice`][]s named as the chip's fields.
    - `key`, `settings`: of [`hwmodels.search.minimise`][].
    - `constraints`: on the chip; `area_limit_mm2` is one more.
    - `conventions`: of the chip's `cost`.
    - `build`: `(**values) -> chip`; by default `base`, a dataclass, with its fields replaced.

    **Returns:** an [`hwmodels.search.Optimum`][], whose `design` is the chip.

    **Raises:** [`hwmodels.search.InfeasibleError`][]; `TypeError` for a chip that is no dataclass, and no
    `build`.
    """
    if build is None and not dataclasses.is_dataclass(base):
        raise TypeError(
            f"find_chip replaces fields of dataclasses, and {base!r} is none; give build=, a function that "
            "makes a chip of the values searched."
        )

    def replaced(**values: Any) -> Any:
        return dataclasses.replace(base, **values)  # type: ignore[type-var]  # Chips are dataclasses.

    def energy_delay(chip: Chip) -> Any:
        found = chip.cost(workload, conventions)
        return found.energy_j * found.latency_s * 1e12  # nJ·ms: joule second would underflow in float32

    limits = list(constraints)
    if area_limit_mm2 is not None:
        area = Constraint(
            "area", lambda chip: chip.cost(workload, conventions).area_mm2, upper=area_limit_mm2, unit="mm²"
        )
        limits.insert(0, area)
    return minimise(
        energy_delay,
        replaced if build is None else build,
        parameters,
        key=key,
        constraints=limits,
        **settings,
    )


@dataclass(frozen=True)
class ChipSpace:
    """The SpikeFlow chips among which a search may choose.

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

    def of(self, base: spikeflow.Chip, errors: Sequence[float]) -> dict[str, Any]:
        """This space around a chip, as the arguments of [`find_chip`][].

        **Arguments:** `errors`: the mean weight error of each of the crossbar sizes.
        """

        def build(crossbar_size: Any, **sizes: Any) -> spikeflow.Chip:
            return dataclasses.replace(
                base, crossbar_rows=crossbar_size, crossbar_columns=crossbar_size, **sizes
            )

        def weight_error(chip: spikeflow.Chip) -> Any:
            return jnp.interp(chip.crossbar_rows, np.array(self.crossbar_sizes, float), np.array(errors))

        constraints = (
            Constraint("weight error", weight_error, upper=self.weight_error),
            Constraint(
                "rows per ADC code",
                lambda chip: chip.crossbar_rows / 2.0**chip.adc_bits,
                upper=self.rows_per_code,
            ),
        )
        return {"base": base, "parameters": self.parameters, "build": build, "constraints": constraints}


def mean_weight_errors(
    network: Network, crossbar: Crossbar, sizes: Sequence[int], key: jax.Array
) -> list[float]:
    """The mean over the layers of the weight error on square crossbars of each size."""
    kernels = kernels_of(network)
    designs = [dataclasses.replace(crossbar, rows=size, columns=size) for size in sizes]
    groups = groups_of_kernels(network)
    errors = [_weight_errors(kernels, design, key, groups=groups) for design in designs]
    return [float(np.mean(list(by_layer.values()))) for by_layer in errors]


_weight_errors = at_edge(weight_errors, static_argnames=("groups",))
