"""NIR's equations by Euler's method in NumPy, node after node, channels first, one input without a batch."""

import nir
import numpy as np


def convolution(x, node):
    w = np.asarray(node.weight, x.dtype)
    line = w.ndim == 3
    if line:
        x, w = x[:, None], w[:, :, None]

    def both(value, neutral):
        value = np.ravel(value)
        return (neutral, int(value[0])) if line else tuple(np.broadcast_to(value, 2).tolist())

    stride, dilation, groups = both(node.stride, 1), both(node.dilation, 1), int(node.groups)
    out, depth, rows, columns = w.shape
    named = node.padding if isinstance(node.padding, str) else ""
    if named == "same":
        total = [dilation[0] * (rows - 1), dilation[1] * (columns - 1)]
        pad = [(t // 2, t - t // 2) for t in total]
    else:
        pad = [(0, 0)] * 2 if named == "valid" else [(p, p) for p in both(node.padding, 0)]
    x = np.pad(x, [(0, 0), *pad])
    height = (x.shape[1] - dilation[0] * (rows - 1) - 1) // stride[0] + 1
    width = (x.shape[2] - dilation[1] * (columns - 1) - 1) // stride[1] + 1
    result = np.zeros((out, height, width), x.dtype)
    for o, i, j, r, c in np.ndindex(out, rows, columns, height, width):
        first = o // (out // groups) * depth
        seen = x[first : first + depth, r * stride[0] + i * dilation[0], c * stride[1] + j * dilation[1]]
        result[o, r, c] += seen @ w[o, :, i, j]
    result += np.asarray(node.bias, x.dtype).reshape(-1, 1, 1)
    return result[:, 0] if line else result


def pooling(x, node):
    kernel, stride, pad = (np.broadcast_to(v, 2) for v in (node.kernel_size, node.stride, node.padding))
    x = np.pad(x, [(0, 0), (pad[0], pad[0]), (pad[1], pad[1])])
    height, width = ((x.shape[1 + i] - kernel[i]) // stride[i] + 1 for i in (0, 1))
    result = np.zeros((len(x), height, width), x.dtype)
    for r, c in np.ndindex(height, width):
        top, left = r * stride[0], c * stride[1]
        result[:, r, c] = x[:, top : top + kernel[0], left : left + kernel[1]].sum((1, 2))
    return result / kernel.prod() if isinstance(node, nir.AvgPool2d) else result


def flattened(x, node):
    shape, start, end = x.shape, int(node.start_dim), int(node.end_dim) % x.ndim
    return x.reshape(*shape[:start], -1, *shape[end + 1 :])


def neuron(x, node, state, dt):
    """The output of a neuron, whose potential starts at its leak and whose current starts at zero."""
    state.setdefault("v", np.zeros_like(x) + getattr(node, "v_leak", 0.0))
    if hasattr(node, "tau_syn"):
        i = state.setdefault("i", np.zeros_like(x))
        x = state["i"] = i + dt / node.tau_syn * (node.w_in * x - i)
    if hasattr(node, "v_leak"):
        tau = node.tau_mem if hasattr(node, "tau_mem") else node.tau
        v = state["v"] + dt / tau * (node.v_leak - state["v"] + node.r * x)
    else:
        v = state["v"] + dt * node.r * x
    if not hasattr(node, "v_threshold"):
        state["v"] = v
        return v
    fires = v > node.v_threshold
    state["v"] = np.where(fires, node.v_reset, v)
    return fires.astype(x.dtype)


def simulate(graph, inputs, dt, order, late=()):
    """The output at every timestep.

    `order`: the nodes as they are computed. An edge from a node that comes later carries what that node gave
    in the timestep before; `late` names such nodes and the shapes of their silence at the start.
    """
    before, states, outputs = {name: np.zeros(shape) for name, shape in dict(late).items()}, {}, []
    for x in inputs:
        values = {}
        for name in order:
            node = graph.nodes[name]
            sources = [a for a, b in graph.edges if b == name]
            entering = sum(values[s] if s in values else before[s] for s in sources) if sources else x
            if isinstance(node, nir.Conv1d | nir.Conv2d):
                entering = convolution(entering, node)
            elif isinstance(node, nir.Linear | nir.Affine):
                entering = entering @ node.weight.T + getattr(node, "bias", 0.0)
            elif isinstance(node, nir.Scale):
                entering = entering * node.scale
            elif isinstance(node, nir.Flatten):
                entering = flattened(entering, node)
            elif isinstance(node, nir.AvgPool2d | nir.SumPool2d):
                entering = pooling(entering, node)
            elif not isinstance(node, nir.Input | nir.Output):
                entering = neuron(entering, node, states.setdefault(name, {}), dt)
            values[name] = entering
        outputs.append(values[order[-1]])
        before = values
    return np.array(outputs)
