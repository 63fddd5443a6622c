r"""Energy of one training step of one sample on SATA: forward, backward and weight update of BPTT.

SATA (Yin et al., arXiv:2204.05422) trains with backpropagation through time and skips zeros of three kinds:
spikes o, gradients ∂u of the membrane, and the surrogate's derivative ∂f, which is zero outside the window
around the firing threshold. The membrane gradient is formed by the PGU (potential gradient unit).

Counts of a layer with W weights, I inputs, O outputs, D dense products per timestep, over T timesteps, with b
bits in the forward pass (T/b words hold the spikes of one input):

| count | per layer |
|---|---|
| lif, pgu | O·T |
| mac_fwd | D·T·(spike rate); mac_wup the same; mac_bwd D·T·(rate of ∂u) |
| dram_fwd | W + I·T/b + O·T; glb_fwd twice that; spad_fwd 2·(W + I·T/b) |
| dram_bwd | I·T/b + O·T; glb_bwd W + 7·O·T + 2·I·T/b; spad_bwd W + O·T |
| dram_wup | 2·W; glb_wup 2·W + (2·W + O)·T + I·T/b; spad_wup 2·W + (4·W + O)·T + I·T/b |

The unit is the energy of one 16-bit multiply-accumulate ("mac"), as upstream reports it.
"""

from typing import Any

import equinox as eqx

from hwmodels import rounding
from hwmodels.ranges import Range, fraction, require_ranges
from hwmodels.sata.technology import CLOCK_HZ, power
from hwmodels.sata.twin import dense_workload
from hwmodels.workload import Layer, Scalar, Workload

COMPONENTS = {
    "mul": 0.239,
    "acc": 0.0389,
    "add": 0.00967,
    "and": 0.000794,
    "comp": 0.00309,
    "mux": 0.00172,
    "reg": 0.0301,
    "sft": 0.00605,
}
"""Energy of a component per operation, in upstream's unit (training_energy_cal)."""
MAC = COMPONENTS["mul"] + COMPONENTS["acc"]
MEMORIES = {"dram": 55.58, "glb": 1.95, "spad": 0.2779}
OPERATIONS: dict[str, dict[str, int]] = {
    "lif": {"add": 1, "comp": 1, "mux": 2, "reg": 3, "sft": 1},
    "mac_fwd": {"acc": 1, "and": 1},
    "pgu": {"mul": 1, "add": 2, "mux": 1, "sft": 2},
    "mac_bwd": {"mul": 1, "acc": 1},
    "mac_wup": {"acc": 1, "and": 1},
}
DENSE_OPERATIONS: dict[str, dict[str, int]] = {
    "lif": {"comp": 1, "mux": 1},
    "mac_fwd": {"mul": 1, "acc": 1},
    "pgu": {"mux": 1},
    "mac_bwd": {"mul": 1, "acc": 1},
    "mac_wup": {"mul": 1, "acc": 1},
}
"""The same five operations of an ANN: a rectifier, a masked gradient, and multiplications everywhere."""
STAGES = {
    "forward": ("lif", "mac_fwd", "dram_fwd", "glb_fwd", "spad_fwd"),
    "backward": ("pgu", "mac_bwd", "dram_bwd", "glb_bwd", "spad_bwd"),
    "weight_update": ("mac_wup", "dram_wup", "glb_wup", "spad_wup"),
}


def mac_energy_j() -> float:
    """A 16-bit multiply-accumulate in joules, from the 28 nm tables of the inference chip.

    Multiplier, adder and register at 16 bits, one clock each. Upstream's training estimator knows no joules;
    this converts its unit so that training and inference can be compared, roughly.
    """
    return sum(power(kernel, 16).dynamic_w for kernel in ("multiplier", "adder", "register")) / CLOCK_HZ


class TrainingCost(eqx.Module):
    """What one training step of one sample costs.

    - `counts`: operations and memory words by kind (see the table of this module).
    - `energy_by_count_mac`, `energy_by_layer_mac`: their energies, in 16-bit multiply-accumulates.
    - `energy_by_stage_mac`: forward, backward, weight update.
    - `total_mac`, and `total_j` by [`mac_energy_j`][].
    """

    counts: dict[str, Any]
    energy_by_count_mac: dict[str, Any]
    energy_by_layer_mac: dict[str, Any]

    @property
    def total_mac(self) -> Any:
        return sum(self.energy_by_count_mac.values())

    @property
    def total_j(self) -> Any:
        return self.total_mac * mac_energy_j()

    @property
    def energy_by_stage_mac(self) -> dict[str, Any]:
        return {
            stage: sum(self.energy_by_count_mac[name] for name in names) for stage, names in STAGES.items()
        }

    @property
    def forward_compute_mac(self) -> Any:
        return self.energy_by_count_mac["lif"] + self.energy_by_count_mac["mac_fwd"]

    @property
    def forward_memory_mac(self) -> Any:
        return sum(self.energy_by_count_mac[f"{memory}_fwd"] for memory in MEMORIES)


def unit_energies_mac(fwd_bits: Any = 16, *, dense: bool = False) -> dict[str, Any]:
    """Energy of one unit of each count, in 16-bit multiply-accumulates.

    Forward energies scale by `fwd_bits/16`; backward and weight update run at 16 bits.

    **Arguments:**

    - `fwd_bits`: bits of the forward pass.
    - `dense`: multipliers and rectifiers, for the ANN's step.

    **Returns:** the energies by name of the count.
    """
    operations = DENSE_OPERATIONS if dense else OPERATIONS
    units: dict[str, Any] = {
        name: sum(COMPONENTS[part] * times for part, times in parts.items())
        for name, parts in operations.items()
    }
    units |= {f"{memory}_{s}": e for memory, e in MEMORIES.items() for s in ("fwd", "bwd", "wup")}
    scale = rounding.as_scalar(fwd_bits) / 16
    return {
        name: energy * (scale if name in STAGES["forward"] else 1.0) / MAC for name, energy in units.items()
    }


def _layer_counts(
    layer: Layer, timesteps: Any, bits: Any, rates: tuple[Any, Any, Any], published: bool, dense: bool
) -> dict[str, Any]:
    spike, gradient, window = rates
    weights, outputs = layer.weights, layer.outputs
    inputs = layer.height * layer.width * layer.in_channels
    packed, steps = inputs * timesteps / bits, outputs * timesteps
    forward = layer.macs * timesteps
    # A backward product belongs to a forward one. Upstream counts positions of the input map, which differs
    # where the stride or the padding change the size.
    backward = forward
    if published and layer.kind == "conv":
        backward = layer.height * layer.width * layer.weights * timesteps
    if published and layer.kind == "linear":
        spike = gradient = 1  # not scaled by sparsity
    if layer.analog_input and not published:
        forward = layer.macs  # the image's products are computed once and reused at every timestep
    if dense or (layer.analog_input and not published):
        packed = inputs * 16 / bits  # values of 16 bits instead of spikes
    if not published:
        kept = 1 - rounding.as_scalar(layer.weight_sparsity)
        spike, gradient = spike * kept, gradient * kept  # no product, and no update, of a pruned weight
    return {
        "lif": steps if published or layer.spiking else 0,
        "mac_fwd": forward * spike,
        "pgu": steps if published else (steps * window if layer.spiking else 0),
        "mac_bwd": backward * gradient,
        "mac_wup": layer.macs * timesteps * spike,
        "dram_fwd": weights + packed + steps,
        "glb_fwd": 2 * (weights + packed + steps),
        "spad_fwd": 2 * (weights + packed),
        "dram_bwd": packed + steps,
        "glb_bwd": weights + 7 * steps + 2 * packed,
        "spad_bwd": weights + steps,
        "dram_wup": 2 * weights,
        "glb_wup": 2 * weights + (2 * weights * timesteps + steps) + packed,
        "spad_wup": 2 * weights + (4 * weights * timesteps + steps) + packed,
    }


def training_energy(
    workload: Workload,
    *,
    fwd_bits: Scalar = 8,
    sparsity_du: Scalar = 0.0,
    sparsity_df: Scalar = 0.0,
    conventions: str = "corrected",
    dense: bool = False,
) -> TrainingCost:
    r"""Prices one training step of one sample: `E = Σ counts · unit energies` over three stages.

    **Arguments:**

    - `workload`: its `input_rate`s are the spike rates (one minus the spikes' sparsity). Pooling and
      shortcuts, which the estimator does not know, are not charged.
    - `fwd_bits`: precision of the forward pass; the other stages use 16 bits.
    - `sparsity_du`: fraction of membrane gradients ∂u that are zero: products of the backward pass to skip.
    - `sparsity_df`: fraction of neurons outside the firing window, where ∂f is zero: the PGU skips them.
    - `conventions`: "published" follows the authors' estimator: a linear layer overwrites the products
      counted before it instead of adding to them and ignores sparsity, a last linear layer that does not
      spike is left out, ∂f's sparsity does nothing, and the backward products follow the input map's size.
      "corrected" adds layers up, applies every sparsity, counts the last layer, asks for no gradient of the
      image, computes the products of a directly encoded input once, skips pruned weights, and lets neurons
      and PGU act in spiking layers only.
    - `dense`: the ANN's step: pass a workload with `timesteps=1`; see [`dense_training_energy`][].

    **Returns:** a [`TrainingCost`][].

    **Raises:** `ValueError` for fractions outside [0, 1], bits outside 1 to 32 and unknown conventions.

    Source: SATA_Sim, `training_energy_cal`; Yin et al., arXiv:2204.05422.
    """
    if conventions not in ("corrected", "published"):
        raise ValueError(f"unknown conventions {conventions!r}; choose 'corrected' or 'published'.")
    require_ranges(
        fraction("sparsity_du", sparsity_du),
        fraction("sparsity_df", sparsity_df),
        Range("fwd_bits must lie in 1 to 32.", fwd_bits, 1, 32),
    )
    published = conventions == "published"
    bits, timesteps = rounding.as_scalar(fwd_bits), rounding.as_scalar(workload.timesteps)
    gradient, window = 1 - rounding.as_scalar(sparsity_du), 1 - rounding.as_scalar(sparsity_df)
    units = unit_energies_mac(bits, dense=dense)

    counts: dict[str, Any] = dict.fromkeys(units, 0)
    by_layer: dict[str, dict[str, Any]] = {}
    for index, layer in enumerate(workload.layers):
        if published and layer.kind == "linear" and not layer.spiking:
            continue
        rates = (rounding.as_scalar(layer.input_rate), gradient, window)
        of_layer = _layer_counts(layer, timesteps, bits, rates, published, dense)
        if index == 0 and not published:
            of_layer["mac_bwd"] = 0  # nothing lies before the input
        by_layer[layer.name] = of_layer
        for name, count in of_layer.items():
            overwrites = published and layer.kind == "linear" and name.startswith("mac_")
            counts[name] = count if overwrites else counts[name] + count

    if published:  # what a linear layer overwrote is charged to no layer
        last = next((n for n in reversed(by_layer) if _is_linear(workload, n)), None)
        order = list(by_layer)
        for name in order[: order.index(last)] if last else ():
            by_layer[name] |= {"mac_fwd": 0, "mac_bwd": 0, "mac_wup": 0}
    return TrainingCost(
        counts=counts,
        energy_by_count_mac={name: counts[name] * units[name] for name in units},
        energy_by_layer_mac={
            layer: sum(count * units[name] for name, count in of_layer.items())
            for layer, of_layer in by_layer.items()
        },
    )


def _is_linear(workload: Workload, name: str) -> bool:
    return next(layer for layer in workload.layers if layer.name == name).kind == "linear"


def dense_training_energy(workload: Workload, *, activation_rate: Scalar = 1.0) -> TrainingCost:
    """The twin ANN's step on the same machine: one timestep, 16 bits throughout, multipliers in every stage.

    **Arguments:**

    - `workload`: the spiking network; its layers are kept, its timesteps and rates are not.
    - `activation_rate`: fraction of activations (and of their gradients) that a rectifier leaves non-zero and
      the array does not skip. 1: nothing is skipped.

    **Returns:** a [`TrainingCost`][].

    **Raises:** `ValueError` that names the layer for a rate outside [0, 1].
    """
    twin = dense_workload(workload, activation_rate)
    sparsity = 1 - rounding.as_scalar(activation_rate)
    return training_energy(twin, fwd_bits=16, sparsity_du=sparsity, sparsity_df=sparsity, dense=True)
