"""What a network asks of a chip, and the energy of that."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from hwmodels import sata, spikeflow
from hwmodels.checks import is_traced
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
