"""What a network asks of a chip."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from hwmodels.checks import is_traced
from hwmodels.chip import Chip
from hwmodels.workload import Layer, Scalar, Workload
from jaxsnn.checks import require_choice
from jaxsnn.codesign.attention import attention_costs, multiplies_spikes
from jaxsnn.encoding import Frames
from jaxsnn.layers import synapses, weights
from jaxsnn.network import LayerRecord, Network

Conventions = Literal["corrected", "published"]


def to_workload(
    records: Sequence[LayerRecord], timesteps: Scalar, *, attention: Literal["refuse", "apart"] = "refuse"
) -> Workload:
    """Translate what a network recorded into what a chip is asked: the same words, every fact.

    **Arguments:**

    - `records`: one per weighted layer. Under a gradient the rates stay traced.
    - `timesteps`: T.
    - `attention`: "apart" leaves attention's products of spikes with spikes out, which are no layers;
      [`jaxsnn.codesign.attention.attention_costs`][] prices them.

    **Returns:** a workload with the records' input rates, weight sparsities and bits.

    **Raises:** `ValueError` that names a layer with groups or dilation, which no cost model has, and one with
    attention, unless it is priced apart.
    """
    require_choice("attention", attention, ("refuse", "apart"))
    names = [field.name for field in dataclasses.fields(Layer)]
    for record in records:
        if record.groups != 1 or record.dilation != (1, 1):
            raise ValueError(
                f"layer {record.name!r} has {record.groups} groups and dilation {record.dilation}, and the "
                "cost models know dense kernels alone; price the network with groups=1 and dilation=1 there."
            )
        if record.attention is not None and attention == "refuse":
            raise ValueError(
                f"layer {record.name!r} comes after products of spikes with spikes, which no workload holds: "
                "evaluate and inference_energy_j count them, or leave them to attention_costs with "
                "attention='apart'."
            )
    return Workload(
        layers=tuple(
            Layer(**{name: _fact(getattr(record, name)) for name in names if hasattr(record, name)})
            for record in records
        ),
        timesteps=timesteps,
    )


def workload_of(
    network: Network,
    input_shape: Sequence[int],
    timesteps: Scalar,
    rates: Mapping[str, Scalar] | Scalar | None = None,
    *,
    attention: Literal["refuse", "apart"] = "refuse",
) -> Workload:
    """The workload of any network, without running it: shapes, weights and connections as they are.

    ```
    workload = workload_of(vgg("vgg9", rngs=nnx.Rngs(0)), (32, 32, 3), timesteps=5, rates=0.15)
    spikeflow.evaluate(workload).energy_j
    ```

    **Arguments:**

    - `network`: of any origin.
    - `input_shape`: of one input without batch and time, e.g. (height, width, channels).
    - `timesteps`: T.
    - `rates`: the fraction of inputs that are active in one timestep, of each layer by its name, or one for
      all layers; by default 1. An analogue input's is 1 where nothing is said of that layer by name.
    - `attention`: as for [`to_workload`][].

    **Returns:** a [`hwmodels.workload.Workload`][] of one inference.

    **Raises:** `ValueError` for rates of layers that there are not, for a shape that does not fit, and as
    [`to_workload`][].
    """
    own_time = isinstance(network.encoding, Frames)
    shape = (1, 1, *input_shape) if own_time else (1, *input_shape)
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    records = jax.eval_shape(lambda image: network(image, timesteps=1, key=jax.random.key(0))[1], image)
    named = rates if isinstance(rates, Mapping) else {}
    unknown = sorted(set(named) - {record.name for record in records})
    if unknown:
        raise ValueError(
            f"rates name {unknown[0]!r}, which is no layer of this network; there are "
            f"{', '.join(repr(record.name) for record in records)}."
        )
    everywhere: Any = 1.0 if rates is None or isinstance(rates, Mapping) else rates
    held = synapses(network)
    filled = []
    for record in records:
        synapse = held[record.name.removesuffix("_again")]
        filled.append(
            dataclasses.replace(
                record,
                input_rate=named.get(record.name, 1.0 if record.analog_input else everywhere),
                weight_sparsity=jnp.mean(weights(synapse) == 0),
                weight_bits=None if synapse.quantizer is None else synapse.quantizer.bits,
            )
        )
    return to_workload(filled, timesteps, attention=attention)


def _fact(value: Any) -> Any:
    """A traced number as it is; another one as Python's."""
    if isinstance(value, str | bool | int | tuple) or value is None or is_traced(value):
        return value
    return float(value)


def inference_energy_j(
    records: Sequence[LayerRecord],
    timesteps: Scalar,
    chip: Chip,
    conventions: Any = "corrected",
) -> Scalar:
    r"""Energy of one inference as a function of rates, timesteps and weight bits, to all of which it
    differentiates.

    On SATA a layer whose weights are quantised is priced at its own width, as an array that adapts its
    elements to each layer would have it. On SpikeFlow the chip's own `weight_bits` stand, because its cells
    hold a weight of up to four bits in one column at one price.

    Attention's products of spikes with spikes count on a digital chip. A crossbar cannot hold them, and its
    chip's energy is without them, as in [`evaluate`][jaxsnn.codesign.evaluate.evaluate].

    **Arguments:**

    - `records`: one per weighted layer.
    - `timesteps`: T; under early exit the mean of T over the inputs. SpikeFlow and SATA's own dataflow are
      affine in T, so that the mean energy is the energy at the mean; of "spinalflow" and "ptb", which are
      not, it is one or two percent off, and [`hwmodels.sata.early_exit_cost`][] has the mean.
    - `chip`: any [`hwmodels.chip.Chip`][].
    - `conventions`: of its cost model.

    **Returns:** joule: exact on the host when nothing is traced.
    """
    energy_j = chip.cost(to_workload(records, timesteps, attention="apart"), conventions).energy_j
    if any(record.attention is not None for record in records) and multiplies_spikes(chip):
        products = attention_costs(records, timesteps, chip, conventions)
        energy_j = energy_j + sum(product.energy_j for product in products.values())
    return energy_j
