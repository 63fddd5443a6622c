"""The artificial network that a spiking one is compared with, on the same array."""

from hwmodels.sata.accelerator import Accelerator
from hwmodels.sata.technology import Precision
from hwmodels.workload import Layer, Scalar, Workload


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

    **Raises:** `ValueError` for a rate outside [0, 1], naming the layer, for bits outside 1 to 32, and for a
    dataflow that moves spikes only.
    """
    chip = Accelerator() if accelerator is None else accelerator
    bits = {"activation": activation_bits, "output": activation_bits}
    precision = Precision(**{**vars(chip.precision), **bits})
    fields = {**vars(chip), "precision": precision, "element": "dense", "lif_sharing": 1}
    return dense_workload(workload, activation_rate), Accelerator(**fields)


def dense_workload(workload: Workload, activation_rate: Scalar) -> Workload:
    """The layers for one timestep at one rate; an image is an input like any other to an ANN."""
    plain = {"input_rate": activation_rate, "analog_input": False}
    layers = tuple(Layer(**{**vars(layer), **plain}) for layer in workload.layers)
    return Workload(layers=layers, timesteps=1)
