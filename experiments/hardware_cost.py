"""What one inference costs on the modelled chips, beside what a FLOP count would claim."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.ticker import EngFormatter

from experiments.output import Table
from hwmodels import sata, spikeflow
from hwmodels.checks import is_traced
from hwmodels.flops import estimated_energy
from hwmodels.workload import Layer, Scalar, Workload
from jaxsnn.network import LayerRecord

Conventions = Literal["corrected", "published"]


def to_workload(records: Sequence[LayerRecord], timesteps: Scalar) -> Workload:
    """Translate what a network recorded into what a chip is asked: the same words, measured rates.

    **Arguments:** one record per weighted layer, and T. Under a gradient the rates stay traced.

    **Returns:** a workload with the records' input rates and dense weights.
    """
    layers = [
        Layer(
            **{
                field.name: getattr(record, field.name)
                for field in dataclasses.fields(Layer)
                if hasattr(record, field.name)
            }
            | {"input_rate": _scalar(record.input_rate), "weight_sparsity": 0.0}
        )
        for record in records
    ]
    return Workload(layers=tuple(layers), timesteps=timesteps)


def _scalar(value: Any) -> Any:
    return value if is_traced(value) else float(value)


def inference_energy_j(
    records: Sequence[LayerRecord],
    timesteps: Scalar,
    chip: sata.Accelerator | spikeflow.Chip | None = None,
    conventions: Conventions = "corrected",
) -> Scalar:
    r"""Energy of one inference as a function of rates, timesteps and weight bits, to all of which it
    differentiates.

    On SATA a layer whose weights are quantised is priced at its own width, $E = \sum_l E_l(b_l)$, as an array
    that adapts its elements to each layer would have it. On SpikeFlow the chip's own `weight_bits` stand,
    because its cells hold a weight of up to four bits in one column at one price.

    **Arguments:**

    - `records`: one per weighted layer.
    - `timesteps`: T; under early exit the mean of T over the inputs. Both models are affine in T, so that the
      mean energy is the energy at the mean.
    - `chip`: a SATA accelerator (default: the published one) or a SpikeFlow chip.
    - `conventions`: of the cost model.

    **Returns:** joule: exact on the host when nothing is traced.
    """
    workload = to_workload(records, timesteps)
    if isinstance(chip, spikeflow.Chip):
        return spikeflow.evaluate(workload, chip, conventions).energy_j
    chip = sata.Accelerator() if chip is None else chip
    return sum(
        sata.inference_energy(
            Workload(layers=(layer,), timesteps=workload.timesteps),
            chip if record.weight_bits is None else _with_weight_bits(chip, _scalar(record.weight_bits)),
            conventions=conventions,
        ).total_j
        for layer, record in zip(workload.layers, records, strict=True)
    )


def _with_weight_bits(chip: sata.Accelerator, bits: Scalar) -> sata.Accelerator:
    return dataclasses.replace(chip, precision=dataclasses.replace(chip.precision, weight=bits))


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
