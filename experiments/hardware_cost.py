"""What one inference costs on the modelled chips, beside what a FLOP count would claim."""

import dataclasses
from typing import Any

from matplotlib.ticker import EngFormatter

from hwmodels import sata, spikeflow
from hwmodels.flops import estimated_energy
from hwmodels.workload import Workload
from jaxsnn.codesign.table import Table
from jaxsnn.codesign.workload import Conventions


@dataclasses.dataclass(frozen=True)
class Costs:
    """One inference of one workload: as a FLOP count claims, on SATA, and on SpikeFlow."""

    conventions: Conventions
    estimated_j: float
    sata: sata.InferenceCost
    spikeflow: spikeflow.Cost

    def numbers(self) -> dict[str, Any]:
        """As JSON: totals, breakdowns, and how many times the estimate each chip needs."""
        return {
            "conventions": self.conventions,
            "estimated_energy_j": self.estimated_j,
            "sata": {
                "energy_j": self.sata.total_j,
                "energy_over_estimate": self.sata.total_j / self.estimated_j,
                "latency_s": self.sata.latency_s,
                "area_mm2": self.sata.area_mm2,
                "energy_by_component_j": self.sata.energy_by_component_j,
                "energy_by_layer_j": self.sata.energy_by_layer_j,
            },
            "spikeflow": {
                "energy_j": self.spikeflow.energy_j,
                "energy_over_estimate": self.spikeflow.energy_j / self.estimated_j,
                "latency_s": self.spikeflow.latency_s,
                "area_mm2": self.spikeflow.area_mm2,
                "energy_by_component_j": self.spikeflow.energy_by_component_j,
                "energy_by_layer_j": self.spikeflow.energy_by_layer_j,
            },
        }


def hardware_costs(
    workload: Workload,
    accelerator: sata.Accelerator | None = None,
    chip: spikeflow.Chip | None = None,
    conventions: Conventions = "corrected",
) -> Costs:
    """One inference of a workload as the FLOP estimate, SATA and SpikeFlow have it.

    **Arguments:** the SATA `accelerator` and the SpikeFlow `chip`, by default the published ones, and the
    conventions of both cost models.

    **Returns:** the three costs.
    """
    return Costs(
        conventions=conventions,
        estimated_j=float(estimated_energy(workload)),
        sata=sata.inference_energy(workload, accelerator, conventions=conventions),
        spikeflow=spikeflow.evaluate(workload, chip, conventions=conventions),
    )


def cost_table(costs: Costs) -> Table:
    """The papers' central point in one table: what is claimed, and what is spent."""
    numbers = costs.numbers()
    rows = [["FLOP estimate", _si(costs.estimated_j, "J"), "1×", "–", "–"]]
    for name, label in (("sata", "SATA (28 nm systolic array)"), ("spikeflow", "SpikeFlow (65 nm RRAM)")):
        chip = numbers[name]
        rows.append(
            [
                label,
                _si(chip["energy_j"], "J"),
                f"{chip['energy_over_estimate']:.0f}×",
                _si(chip["latency_s"], "s"),
                f"{chip['area_mm2']:.3g} mm²",
            ]
        )
    return Table(
        "One inference",
        ["", "energy", "over estimate", "latency", "area"],
        rows,
        note="Estimate: FLOPs · timesteps · (1 − sparsity) · E_AC at measured spike rates, as in Table II. "
        f"Chips: {costs.conventions} conventions.",
    )


def _si(value: float, unit: str) -> str:
    """A number with an SI prefix: 1.2e-7 J is 120 nJ."""
    return EngFormatter(unit=unit, places=2)(value)
