"""What the products of spikes with spikes ask of a digital chip."""

import math
from collections.abc import Sequence
from typing import Any

from hwmodels import sata
from hwmodels.workload import Layer, Scalar, Workload
from jaxsnn.codesign.workload import Conventions
from jaxsnn.network import LayerRecord

_FEWEST_BITS = 2


def attention_workloads(records: Sequence[LayerRecord], timesteps: Scalar) -> dict[str, Workload]:
    r"""The attention products of a network, as layers whose weights are activations.

    Per head with N tokens and d channels of the key: the scores $Q K^\top$ are N inputs of d spikes against
    N·d weights, the keys, of which a fraction `1 − rate` is zero; they have one bit and count as two, the
    fewest that SATA's component tables know. The mixture $(Q K^\top) V$ is taken
    transposed, $V^\top (Q K^\top)^\top$: its inputs are the values' spikes, N for each channel, and its
    weights the scores, whole numbers up to d, ⌈log₂(d + 1)⌉ bits but two at least, taken as dense. All
    heads are alike.

    No crossbar can hold such weights, which are new in every timestep; the kernels around them are layers of
    the network's own workload ([`jaxsnn.codesign.workload.to_workload`][]) and are not counted here. The
    scaling s is a shift where it is a power of two.

    **Arguments:** `records`: of a network, with the rates it measured. `timesteps`: T.

    **Returns:** a workload of one layer and one head each, by "layer: scores" and "layer: mixture"; the
    number of heads multiplies what they cost ([`attention_energy_j`][]). None for networks without attention.

    **Raises:** `ValueError` for records that lack a query, key or value.
    """
    by_name = {record.name: record for record in records}
    found = {}
    for record in records:
        if record.attention is None:
            continue
        of = record.attention
        for name in (of.query, of.key, of.value):
            if name not in by_name:
                raise ValueError(
                    f"layer {record.name!r}: its attention multiplies the spikes of {name!r}, which is not "
                    "among the records; give all of a network's records."
                )
        query, key, value = (by_name[name] for name in (of.query, of.key, of.value))
        tokens = query.outputs // query.out_channels
        of_key, of_value = key.out_channels // of.heads, value.out_channels // of.heads
        parts = {
            "scores": (tokens, of_key, query.spike_rate, 1 - _number(key.spike_rate), _FEWEST_BITS),
            "mixture": (
                of_value,
                tokens,
                value.spike_rate,
                0.0,
                max(_FEWEST_BITS, math.ceil(math.log2(of_key + 1))),
            ),
        }
        for part, (places, inputs, rate, zeros, bits) in parts.items():
            name = f"{record.name}: {part}"
            layer = Layer.conv(
                name,
                height=places,
                width=1,
                in_channels=inputs,
                out_channels=tokens,
                kernel=1,
                input_rate=_number(rate),
                weight_sparsity=zeros,
                weight_bits=bits,
                # The mixture drives neurons; the scores go on as they are.
                spiking=part == "mixture",
            )
            found[name] = Workload(layers=(layer,), timesteps=timesteps)
    return found


def attention_energy_j(
    records: Sequence[LayerRecord],
    timesteps: Scalar,
    chip: sata.Accelerator | None = None,
    conventions: Conventions = "corrected",
) -> dict[str, float]:
    """Joule of every attention product of one inference on a SATA accelerator, all heads together.

    Operands are priced at their own bits, as an array that adapts its elements to each layer would have them.

    **Arguments:** as for [`attention_workloads`][]; `chip` by default the published one.

    **Returns:** joule by "layer: scores" and "layer: mixture".
    """
    chip = sata.Accelerator() if chip is None else chip
    heads = {record.name: record.attention.heads for record in records if record.attention is not None}
    return {
        name: heads[name.rsplit(": ", 1)[0]] * float(chip.cost(workload, conventions).energy_j)
        for name, workload in attention_workloads(records, timesteps).items()
    }


def _number(value: Any) -> Any:
    return float(value)
