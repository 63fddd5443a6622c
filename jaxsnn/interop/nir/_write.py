"""NIR graphs (neuromorphic intermediate representation) of feed-forward networks, in and out.

NIR's neurons are differential equations; with a step `dt` of Euler's method, `τ·v' = (v_leak − v) + R·I`
becomes `v = λ·v + (dt/τ)·R·I` with `λ = 1 − dt/τ`. So `Integration.SUM` is R = τ/dt and `Integration.AVERAGE`
is R = 1. NIR resets to a value, so only `Reset.ZERO` can be expressed.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from jaxsnn.layers import Block, Conv
from jaxsnn.network import Network
from jaxsnn.neuron import IF, LIF, CubaLIF, Integration, Readout, Reset


def _nir():
    try:
        import nir
    except ImportError as error:
        raise ValueError("NIR needs the nir package: pip install 'spikechip[interop]'.") from error
    return nir


def to_nir(network: Network, input_shape: tuple[int, int, int], *, dt: float = 1e-4) -> Any:
    """A NIR graph of a network.

    **Arguments:**

    - `network`: plain blocks of [`LIF`][], [`IF`][], [`CubaLIF`][] and a [`Readout`][], not normalised.
    - `input_shape`: (height, width, channels) of an image.
    - `dt`: seconds that a timestep stands for; snnTorch assumes the default.

    **Raises:** `ValueError` that names the layer which NIR cannot express.
    """
    nir = _nir()
    height, width, channels = input_shape
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([channels, height, width])})}
    flat = False
    for layer in network.layers:
        if not isinstance(layer, Block):
            raise ValueError(f"a {type(layer).__name__} cannot be written to NIR; only plain blocks can.")
        if layer.norm is not None or layer.synapse.quantizer is not None:
            raise ValueError(f"layer {layer.name!r}: normalisation and quantisers cannot be written to NIR.")
        synapse, kernel = layer.synapse, np.asarray(layer.synapse.kernel[...])
        bias = None if synapse.bias is None else np.asarray(synapse.bias[...])
        if isinstance(synapse, Conv):
            weight = kernel.transpose(3, 2, 0, 1)
            nodes[layer.name] = nir.Conv2d(
                (height, width),
                weight,
                synapse.stride,
                synapse.padding,
                1,
                1,
                np.zeros(len(weight)) if bias is None else bias,
            )
            height, width = (
                (side + 2 * synapse.padding[i] - synapse.kernel_size[i]) // synapse.stride[i] + 1
                for i, side in enumerate((height, width))
            )
            channels = synapse.out_channels
            shape: tuple[int, ...] = (channels, height, width)
        else:
            if not flat:
                nodes["flatten"] = nir.Flatten({"input": np.array([channels, height, width])}, 0, -1)
                kernel = (
                    kernel.reshape(height * width, channels, -1).transpose(1, 0, 2).reshape(len(kernel), -1)
                )
                flat = True
            nodes[layer.name] = nir.Linear(kernel.T) if bias is None else nir.Affine(kernel.T, bias)
            shape = (synapse.out_channels,)
        nodes[f"{layer.name}_neuron"] = _neuron_to_nir(nir, layer, shape, dt)
        if layer.pool > 1:
            side = np.array([layer.pool, layer.pool])
            nodes[f"{layer.name}_pool"] = nir.AvgPool2d(side, side, np.array([0, 0]))
            height, width = height // layer.pool, width // layer.pool
    nodes["output"] = nir.Output({"output": np.array(shape)})
    names = list(nodes)
    return nir.NIRGraph(nodes, list(pairwise(names)), type_check=False)


def _neuron_to_nir(nir, layer: Block, shape: tuple[int, ...], dt: float):
    neuron = layer.neuron

    def full(value):
        return np.full(shape, value, np.float64)

    if type(neuron) is Readout:
        if neuron.leak == 1:
            return nir.I(r=full(1 / dt))
        tau = dt / (1 - neuron.leak)
        return nir.LI(tau=full(tau), r=full(tau / dt), v_leak=full(0))
    if type(neuron) not in (LIF, IF, CubaLIF):
        raise ValueError(f"layer {layer.name!r}: a {type(neuron).__name__} cannot be written to NIR.")
    assert isinstance(neuron, LIF)
    if neuron.reset is not Reset.ZERO:
        raise ValueError(f"layer {layer.name!r}: NIR resets to a value; {neuron.reset} cannot be written.")
    common = {"v_threshold": full(neuron.threshold), "v_reset": full(0)}
    if neuron.leak == 1:
        if isinstance(neuron, CubaLIF) or neuron.integration is Integration.AVERAGE:
            raise ValueError(f"layer {layer.name!r}: this neuron without leak cannot be written to NIR.")
        return nir.IF(r=full(1 / dt), **common)
    tau = dt / (1 - neuron.leak)
    resistance = tau / dt if neuron.integration is Integration.SUM else 1.0
    common |= {"r": full(resistance), "v_leak": full(0)}
    if isinstance(neuron, CubaLIF):
        if neuron.current_leak == 1:
            raise ValueError(
                f"layer {layer.name!r}: a synapse that keeps all of its current (current_leak=1) has no time "
                "constant and cannot be written to NIR; give it a current_leak below 1."
            )
        tau_syn = dt / (1 - neuron.current_leak)
        return nir.CubaLIF(tau_syn=full(tau_syn), tau_mem=full(tau), w_in=full(tau_syn / dt), **common)
    return nir.LIF(tau=full(tau), **common)
