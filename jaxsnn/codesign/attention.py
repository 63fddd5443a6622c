"""What the products of spikes with spikes ask of a digital chip."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hwmodels import sata, spikeflow
from hwmodels.checks import is_traced
from hwmodels.chip import Chip, Cost, Digital
from hwmodels.workload import Layer, Scalar, Workload
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


def attention_costs(
    records: Sequence[LayerRecord], timesteps: Scalar, chip: Chip, conventions: Any = "corrected"
) -> dict[str, "Products"]:
    """What every attention product of one inference costs on a digital chip, all heads one after another.

    Operands are priced at their own bits, as an array that adapts its elements to each layer would have them.

    **Arguments:** as for [`attention_workloads`][].

    **Returns:** a cost by "layer: scores" and "layer: mixture".
    """
    heads = {record.name: record.attention.heads for record in records if record.attention is not None}
    return {
        name: Products(chip.cost(workload, conventions), heads[name.rsplit(": ", 1)[0]])
        for name, workload in attention_workloads(records, timesteps).items()
    }


def attention_energy_j(
    records: Sequence[LayerRecord],
    timesteps: Scalar,
    chip: Chip | None = None,
    conventions: Any = "corrected",
) -> dict[str, float]:
    """Joule of every attention product; see [`attention_costs`][].

    **Arguments:** as there; `chip` by default the published SATA accelerator.
    """
    chip = sata.Accelerator() if chip is None else chip
    costs = attention_costs(records, timesteps, chip, conventions)
    return {name: float(cost.energy_j) for name, cost in costs.items()}


@dataclasses.dataclass(frozen=True)
class Products:
    """The cost of one head's product, and how many heads there are."""

    cost: Cost
    heads: int

    @property
    def energy_j(self) -> Scalar:
        return self.heads * self.cost.energy_j

    @property
    def latency_s(self) -> Scalar:
        return self.heads * self.cost.latency_s

    @property
    def energy_by_component_j(self) -> dict[str, Scalar]:
        return {name: self.heads * value for name, value in self.cost.energy_by_component_j.items()}


@dataclasses.dataclass(frozen=True)
class WithProducts:
    """A [`hwmodels.chip.Cost`][] of a network's layers, and of the attention products on the same arrays."""

    layers: Cost
    products: Mapping[str, Products]

    @property
    def energy_j(self) -> Scalar:
        return self.layers.energy_j + sum(cost.energy_j for cost in self.products.values())

    @property
    def latency_s(self) -> Scalar:
        return self.layers.latency_s + sum(cost.latency_s for cost in self.products.values())

    @property
    def area_mm2(self) -> Scalar:
        return self.layers.area_mm2

    @property
    def energy_by_component_j(self) -> dict[str, Scalar]:
        total = dict(self.layers.energy_by_component_j)
        for cost in self.products.values():
            for name, value in cost.energy_by_component_j.items():
                total[name] = total.get(name, 0.0) + value
        return total

    @property
    def energy_by_layer_j(self) -> dict[str, Scalar]:
        return {**self.layers.energy_by_layer_j, **{n: c.energy_j for n, c in self.products.items()}}

    @property
    def latency_by_layer_s(self) -> dict[str, Scalar]:
        return {**self.layers.latency_by_layer_s, **{n: c.latency_s for n, c in self.products.items()}}

    @property
    def area_by_component_mm2(self) -> Mapping[str, Scalar]:
        return self.layers.area_by_component_mm2


def multiplies_spikes(chip: Chip) -> bool:
    """Whether a chip's own arrays can do attention's products: a digital one's, and no crossbars."""
    # A SpikeFlow chip whose sizes are traced has no arithmetic, and needs none to be known.
    return not isinstance(chip, spikeflow.Chip) and isinstance(chip.arithmetic(), Digital)


def _number(value: Any) -> Any:
    return value if is_traced(value) else float(value)
