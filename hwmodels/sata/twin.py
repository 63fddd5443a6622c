"""The artificial network that a spiking one is compared with, on the same array."""

import equinox as eqx

from hwmodels.sata.accelerator import Accelerator
from hwmodels.workload import Scalar, Workload


def dense_twin(
    workload: Workload,
    accelerator: Accelerator | None = None,
    *,
    activation_bits: Scalar = 8,
    activation_rate: Scalar = 1.0,
) -> tuple[Workload, Accelerator]:
    """The same layers as an ANN: one timestep, multipliers instead of AND gates, rectifiers instead of LIF.

    **Arguments:**

    - `workload`: the spiking network; its layers' shapes are kept.
    - `accelerator`: the spiking chip; its array, buffers and dataflow are kept.
    - `activation_bits`: bits of inputs and outputs, 1 to 32.
    - `activation_rate`: fraction of activations that are not zero, whose products draw the gated power.
      1: no product is skipped.

    **Returns:** the workload and the accelerator to hand to [`inference_energy`][].
    """
    chip = Accelerator() if accelerator is None else accelerator
    layers = tuple(
        eqx.tree_at(lambda layer: layer.input_rate, layer, activation_rate) for layer in workload.layers
    )
    layers = tuple(_plain_input(layer) for layer in layers)
    precision = eqx.tree_at(
        lambda p: (p.activation, p.output), chip.precision, (activation_bits, activation_bits)
    )
    fields = {name: getattr(chip, name) for name in vars(chip)}
    fields |= {"precision": precision, "element": "dense", "lif_sharing": 1}
    return Workload(layers=layers, timesteps=1), Accelerator(**fields)


def _plain_input(layer):
    """An image is an input like any other to an ANN."""
    return type(layer)(**{**vars(layer), "analog_input": False})
