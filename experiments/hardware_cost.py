"""What one inference costs on the modelled chips, beside what a FLOP count would claim."""

import dataclasses
from collections.abc import Sequence

from hwmodels import sata, spikeflow
from hwmodels.flops import estimated_energy
from hwmodels.workload import Layer, Workload
from jaxsnn.network import LayerRecord


def to_workload(records: Sequence[LayerRecord], timesteps: int) -> Workload:
    """Translate what a network recorded into what a chip is asked: the same words, measured rates."""
    layers = [
        Layer(
            **{
                field.name: getattr(record, field.name)
                for field in dataclasses.fields(Layer)
                if hasattr(record, field.name)
            }
            | {"input_rate": float(record.input_rate), "weight_sparsity": 0.0}
        )
        for record in records
    ]
    return Workload(layers=layers, timesteps=timesteps)


@dataclasses.dataclass(frozen=True)
class Costs:
    """One inference of one workload, three ways."""

    estimated_j: float
    sata: sata.InferenceEnergy
    spikeflow: spikeflow.Cost


def hardware_costs(workload: Workload) -> Costs:
    """The FLOP estimate, SATA and SpikeFlow at their default (published) chips, corrected conventions."""
    return Costs(
        estimated_j=float(estimated_energy(workload)),
        sata=sata.inference_energy(workload, sata.Accelerator()),
        spikeflow=spikeflow.evaluate(workload, spikeflow.Chip()),
    )
