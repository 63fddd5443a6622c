"""NIR graphs (neuromorphic intermediate representation) of feed-forward networks, in and out.

NIR's neurons are differential equations; with a step `dt` of Euler's method, `τ·v' = (v_leak − v) + R·I`
becomes `v = λ·v + (dt/τ)·R·I` with `λ = 1 − dt/τ`. So `Integration.SUM` is R = τ/dt and `Integration.AVERAGE`
is R = 1. NIR resets to a value, so only `Reset.ZERO` can be expressed.
"""

from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsnn.encoding import Direct, Encoding
from jaxsnn.interop.torch import flatten_order
from jaxsnn.layers import Block, Conv, Linear
from jaxsnn.network import Network
from jaxsnn.neuron import IF, LIF, CubaLIF, Integration, Neuron, Readout, Reset


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


def from_nir(graph: Any, *, dt: float = 1e-4, encoding: Encoding = Direct(), dtype=jnp.float32) -> Network:
    """A network of a NIR graph that is a chain: weights, neurons, average pooling, flattening, a readout.

    **Arguments:** `dt` as in [`to_nir`][]; `encoding` and `dtype` of the network that is made.

    **Raises:** `ValueError` that names the node which cannot be read exactly.
    """
    nir = _nir()
    order = _chain(graph)
    blocks: list[Block] = []
    channels: int | None = None
    weights: Any = None
    weighted = ""
    for name in order:
        node = graph.nodes[name]
        if isinstance(node, nir.Input | nir.Output):
            continue
        if isinstance(node, nir.Flatten):
            if channels is None and blocks:
                raise ValueError(f"node {name!r}: there is no map to flatten.")
        elif isinstance(node, nir.Conv2d | nir.Linear | nir.Affine):
            if weights is not None:
                raise ValueError(f"node {name!r}: no neuron stands between it and {weighted!r}.")
            weights, weighted = _synapse(nir, name, node, channels, dtype), name
            channels = len(node.weight) if isinstance(node, nir.Conv2d) else None
        elif isinstance(node, nir.AvgPool2d):
            _pool(name, node, blocks, weights)
        else:
            neuron = _neuron(nir, name, node, dt)
            if weights is None:
                raise ValueError(f"node {name!r}: neurons must follow weights.")
            blocks.append(Block(weighted, weights, neuron))
            weights = None
    if weights is not None:
        blocks.append(Block(weighted, weights, Readout()))
    if not blocks or not isinstance(blocks[-1].neuron, Readout):
        raise ValueError(f"node {order[-2]!r}: the last neurons must be a readout (I or LI), not spiking.")
    return Network(blocks, encoding)


def _chain(graph: Any) -> list[str]:
    following: dict[str, str] = {}
    incoming: set[str] = set()
    for source, target in graph.edges:
        if source in following or target in incoming:
            raise ValueError(f"node {source if source in following else target!r}: only chains can be read.")
        following[source] = target
        incoming.add(target)
    starts = [name for name in graph.nodes if name not in incoming]
    if len(starts) != 1:
        raise ValueError(f"the graph has {len(starts)} starting nodes; only chains can be read.")
    order = [starts[0]]
    while order[-1] in following:
        order.append(following[order[-1]])
    return order


def _synapse(nir, name: str, node: Any, channels: int | None, dtype):
    weight = np.asarray(node.weight)
    bias = getattr(node, "bias", None)
    use_bias = bias is not None and bool(np.any(bias))
    options: dict[str, Any] = {"use_bias": use_bias, "param_dtype": dtype, "rngs": nnx.Rngs(0)}
    synapse: Conv | Linear
    if isinstance(node, nir.Conv2d):
        if set(np.ravel(node.dilation)) != {1} or node.groups != 1 or isinstance(node.padding, str):
            raise ValueError(f"node {name!r}: dilation, groups and named padding cannot be read.")
        out, inputs, *kernel = weight.shape
        stride, padding = (tuple(np.broadcast_to(v, 2).tolist()) for v in (node.stride, node.padding))
        synapse = Conv(inputs, out, kernel, stride=stride, padding=padding, **options)
        value = weight.transpose(2, 3, 1, 0)
    else:
        synapse = Linear(weight.shape[1], weight.shape[0], **options)
        value = weight.T if channels is None else flatten_order(weight, channels)
    synapse.kernel[...] = jnp.asarray(value, dtype)
    if synapse.bias is not None:
        synapse.bias[...] = jnp.asarray(bias, dtype)
    return synapse


def _pool(name: str, node: Any, blocks: list[Block], weights: Any) -> None:
    side, stride = np.broadcast_to(node.kernel_size, 2), np.broadcast_to(node.stride, 2)
    plain = side[0] == side[1] and np.array_equal(side, stride) and not np.any(node.padding)
    if weights is not None or not blocks or blocks[-1].pool != 1 or not plain:
        raise ValueError(f"node {name!r}: only a square average pooling right after neurons can be read.")
    blocks[-1].pool = int(side[0])


def _one(name: str, field: str, value: Any) -> float:
    values = np.unique(np.asarray(value, np.float64))
    if len(values) != 1:
        raise ValueError(f"node {name!r}: {field} differs between neurons, which cannot be read.")
    return float(values[0])


def _neuron(nir, name: str, node: Any, dt: float) -> Neuron:
    def get(field):
        return _one(name, field, getattr(node, field))

    if not isinstance(node, nir.I | nir.LI | nir.IF | nir.LIF | nir.CubaLIF):
        raise ValueError(f"node {name!r}: a {type(node).__name__} cannot be read.")
    for field in ("v_leak", "v_reset"):
        if getattr(node, field, None) is not None and get(field) != 0:
            raise ValueError(f"node {name!r}: {field} must be 0, got {get(field)}.")
    if isinstance(node, nir.I | nir.IF):
        if not np.isclose(get("r"), 1 / dt):
            raise ValueError(f"node {name!r}: r is {get('r')} and must be 1/dt = {1 / dt}.")
        return Readout() if isinstance(node, nir.I) else IF(threshold=get("v_threshold"))
    tau = get("tau_mem" if isinstance(node, nir.CubaLIF) else "tau")
    leak, gain = 1 - dt / tau, get("r") * dt / tau
    if not 0 <= leak < 1:
        raise ValueError(f"node {name!r}: its time constant {tau} is shorter than dt = {dt}.")
    if np.isclose(gain, 1):
        integration = Integration.SUM
    elif np.isclose(gain, 1 - leak):
        integration = Integration.AVERAGE
    else:
        raise ValueError(f"node {name!r}: r is {get('r')} and must be 1 or tau/dt = {tau / dt}.")
    if isinstance(node, nir.LI):
        if integration is not Integration.SUM:
            raise ValueError(f"node {name!r}: r of a readout must be tau/dt = {tau / dt}.")
        return Readout(leak=leak)
    options: dict[str, Any] = {"threshold": get("v_threshold"), "integration": integration, "leak": leak}
    if isinstance(node, nir.LIF):
        return LIF(**options)
    current_leak = 1 - dt / get("tau_syn")
    if not 0 <= current_leak < 1 or not np.isclose(get("w_in") * (1 - current_leak), 1):
        raise ValueError(f"node {name!r}: w_in must be tau_syn/dt, and tau_syn at least dt.")
    return CubaLIF(current_leak=current_leak, **options)
