"""NIR graphs in a peer: `python nir_round_trips.py PEER FOLDER` in an environment that has it and nir.

PEER is snntorch, spikingjelly, norse, sinabs or spyx. Reads FOLDER/ours_NAME.nir with FOLDER/ours_NAME.npz
(`x`: time first, no batch, channels first; `dt`) and adds the spikes of the last node, as the peer runs the
graph, to FOLDER/answers.npz under "ours_NAME", or what it refuses it with, under "refused_NAME". Exports
networks of its own to FOLDER/theirs_NAME.nir, with their inputs and spikes in FOLDER/theirs_NAME.npz. The
answers are stored in tests/data/reference/nir/peers.
"""

import contextlib
import importlib.metadata
import io
import sys
import warnings
from pathlib import Path

import nir
import numpy as np

warnings.simplefilter("ignore")
RNG = np.random.default_rng(0)
VECTORS = (RNG.random((40, 6)) * 4).astype(np.float32)
MAPS = (RNG.random((20, 2, 8, 8)) * 3).astype(np.float32)


def plain(graph):
    """Arrays in place of tensors, which a file cannot hold."""
    for node in graph.nodes.values():
        for field, value in vars(node).items():
            if hasattr(value, "detach"):
                setattr(node, field, value.detach().numpy())
    return graph


def stepwise(module, x, batch=True):
    """A torch module that returns (output, state), step by step.

    snnTorch and Norse flatten from the axis that the file says, which counts without a batch.
    """
    import torch

    state, found = None, []
    with torch.no_grad():
        for image in torch.tensor(x)[:, None] if batch else torch.tensor(x):
            out, state = module(image, state)
            found.append(out[0].numpy() if batch else out.numpy())
    return np.array(found)


def at_once(module, x):
    """A torch module with states of its own, step by step."""
    import torch

    with torch.no_grad():
        return np.array(
            [(o[0] if isinstance(o := module(torch.tensor(i)[None]), tuple) else o)[0].numpy() for i in x]
        )


def snntorch():
    import snntorch as snn
    import torch
    from snntorch import utils
    from snntorch.export_nir import export_to_nir
    from snntorch.import_nir import import_from_nir
    from torch.nn import AvgPool2d, Conv2d, Flatten, Linear, Sequential

    options = {"init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}

    def leaky(shape, beta, threshold):
        return snn.Leaky(beta=torch.full(shape, beta), threshold=torch.full(shape, threshold), **options)

    def run(graph, x, dt):
        return stepwise(import_from_nir(graph), x, batch=False)

    class Loop(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = Linear(6, 8)
            self.lif1 = snn.RLeaky(beta=0.8, linear_features=8, **options)
            self.fc2 = Linear(8, 5)
            self.lif2 = leaky((5,), 0.7, 0.4)

        def forward(self, x):
            return self.lif2(self.fc2(self.lif1(self.fc1(x))))

    synaptic = snn.Synaptic(
        alpha=torch.full((8,), 0.6),
        beta=torch.rand(8) * 0.5 + 0.4,
        threshold=torch.full((8,), 0.8),
        **options,
    )
    networks = {
        "dense": (
            Sequential(Linear(6, 8), leaky((8,), 0.9, 1.0), Linear(8, 5, bias=False), leaky((5,), 0.8, 0.3)),
            VECTORS,
        ),
        "cuba": (Sequential(Linear(6, 8), synaptic), VECTORS),
        "conv": (
            Sequential(
                *(
                    Conv2d(2, 4, 3, groups=2, padding="same"),
                    leaky((4, 8, 8), 0.9, 1.0),
                    AvgPool2d(2),
                    Flatten(),
                ),
                *(Linear(64, 5), leaky((5,), 0.9, 0.5)),
            ),
            MAPS,
        ),
        "loop": (Loop(), VECTORS),
    }
    theirs = {}
    for name, (net, x) in networks.items():
        graph = plain(export_to_nir(net, torch.tensor(x[:1]), ignore_dims=[0]))
        utils.reset(net)
        theirs[name] = graph, x, at_once(net, x), 1e-4
    return run, theirs


def spikingjelly():
    import torch
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange.from_nir import import_from_nir
    from spikingjelly.activation_based.nir_exchange.to_nir import export_to_nir

    linear, sequential = layer.Linear, torch.nn.Sequential

    def run(graph, x, dt):
        return stepwise(import_from_nir(graph, dt=dt), x)

    # Weights and inputs in eighths, so that potentials meet thresholds.
    exact = sequential(linear(6, 8, bias=False), neuron.IFNode(v_reset=0.0))
    exact[0].weight.data = torch.round(torch.randn(8, 6) * 8) / 8
    cuba = {"c_decay": 0.5, "v_decay": 0.7, "v_reset": 0.0, "v_threshold": 0.8}
    networks = {
        "if": (
            sequential(linear(6, 8), neuron.IFNode(v_reset=0.0), linear(8, 5), neuron.IFNode(v_reset=0.0)),
            VECTORS,
        ),
        "exact": (exact, np.round(VECTORS * 4) / 4),
        "lif": (
            sequential(
                *(linear(6, 8), neuron.LIFNode(tau=2.5, v_threshold=0.4, v_reset=-0.2)),
                *(linear(8, 5, bias=False), neuron.LIFNode(tau=3.0, v_threshold=0.2, decay_input=False)),
            ),
            VECTORS,
        ),
        "plif": (sequential(linear(6, 8), neuron.ParametricLIFNode(init_tau=2.5, v_threshold=0.4)), VECTORS),
        "cuba": (sequential(linear(6, 8), neuron.CUBALIFNode(**cuba)), VECTORS),
        "conv": (
            sequential(
                *(layer.Conv2d(2, 4, 3, stride=2, dilation=2, padding=1), neuron.LIFNode(decay_input=False)),
                *(layer.AvgPool2d(2), layer.Flatten(), linear(4, 5), neuron.IFNode(v_threshold=0.3)),
            ),
            MAPS,
        ),
    }
    theirs = {}
    for name, (net, x) in networks.items():
        graph = export_to_nir(net, torch.tensor(x[:1]), dt=1e-4)
        functional.reset_net(net)
        theirs[name] = graph, x, at_once(net, x), 1e-4
    return run, theirs


def norse():
    import norse.torch as norse
    import torch
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.module.iaf import IAFCell, IAFParameters
    from norse.torch.module.leaky_integrator_box import LIBoxCell, LIBoxParameters
    from norse.torch.module.lif_box import LIFBoxCell
    from norse.torch.utils.export_nir import to_nir
    from torch.nn import Linear

    def run(graph, x, dt):
        return stepwise(norse.from_nir(graph, dt=dt), x, batch=False)

    def full(value, size):
        return torch.full((size,), value)

    def box(size, threshold, leak=0.0):
        return LIFBoxCell(
            LIFBoxParameters(
                tau_mem_inv=full(200.0, size), v_th=full(threshold, size), v_leak=full(leak, size)
            ),
            dt=0.001,
        )

    def integrate(size):
        return IAFCell(IAFParameters(v_th=full(1.0, size)), dt=0.001)

    last = LIBoxCell(LIBoxParameters(tau_mem_inv=full(100.0, 5), v_leak=full(0.0, 5)), dt=0.001)
    networks = {
        "box": [Linear(6, 8), box(8, 0.2, 0.05), Linear(8, 5), box(5, 0.1)],
        "iaf": [Linear(6, 8), integrate(8), Linear(8, 5), integrate(5)],
        "mixed": [Linear(6, 8), integrate(8), Linear(8, 5), box(5, 0.05)],
        "readout": [Linear(6, 8), box(8, 0.1), Linear(8, 5), last],
    }
    theirs = {}
    for name, parts in networks.items():
        net = norse.SequentialState(*parts)
        theirs[name] = plain(to_nir(net, torch.tensor(VECTORS[:1]))), VECTORS, stepwise(net, VECTORS), 1e-3
    return run, theirs


def sinabs():
    import torch
    from sinabs.activation import MembraneReset, SingleSpike
    from sinabs.layers import IAF, LIF
    from sinabs.nir import from_nir, to_nir
    from torch.nn import Linear, Sequential

    single = {"spike_fn": SingleSpike, "reset_fn": MembraneReset()}

    def run(graph, x, dt):
        with torch.no_grad():
            found = from_nir(graph, batch_size=1, num_timesteps=len(x))(torch.tensor(x))
        return (found[0] if isinstance(found, tuple) else found).numpy()

    def lif(size, tau, threshold):
        return LIF(tau_mem=torch.full((size,), tau), spike_threshold=torch.full((size,), threshold), **single)

    networks = {
        "iaf": Sequential(Linear(6, 8), IAF(**single), Linear(8, 5), IAF(**single)),
        "lif": Sequential(Linear(6, 8), lif(8, 4.0, 0.3), Linear(8, 5), lif(5, 10.0, 0.05)),
    }
    theirs = {}
    for name, net in networks.items():
        x = torch.tensor(VECTORS)[None]
        with torch.no_grad():
            net(x[:, :2])
            graph = plain(to_nir(net, x))
            for part in net.modules():
                if hasattr(part, "reset_states"):
                    part.reset_states()
            theirs[name] = graph, VECTORS, net(x)[0].numpy(), 1.0
    return run, theirs


def spyx():
    import jax.numpy as jnp
    import spyx.nir as exchange
    import spyx.nn as snn
    from flax import nnx

    def run(graph, x, dt):
        last = np.moveaxis(x, 1, -1) if x.ndim == 4 else x
        _, found = exchange.from_nir(graph, jnp.asarray(last)[:, None], dt=dt)
        return np.asarray(found)[:, 0]

    rngs = nnx.Rngs(0)
    net = snn.Sequential(
        *(nnx.Linear(6, 8, rngs=rngs), snn.LIF((8,), beta=0.8, rngs=rngs)),
        *(nnx.Linear(8, 5, rngs=rngs), snn.LIF((5,), beta=0.6, rngs=rngs)),
    )
    graph = exchange.to_nir(net, {"input": np.array((6,))}, {"output": np.array((5,))}, dt=1.0)
    spikes, _ = snn.run(net, jnp.asarray(VECTORS)[:, None])
    return run, {"lif": (graph, VECTORS, np.asarray(spikes)[:, 0], 1.0)}


PEERS = {peer.__name__: peer for peer in (snntorch, spikingjelly, norse, sinabs, spyx)}


def main(peer: str, folder: Path) -> None:
    if peer != "spyx":
        import torch

        torch.manual_seed(0)
    run, theirs = PEERS[peer]()
    answers = {"version": np.array(importlib.metadata.version(peer))}
    for path in sorted(folder.glob("ours_*.nir")):
        given = np.load(path.with_suffix(".npz"))
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                answers[path.stem] = run(nir.read(path), given["x"].astype(np.float32), float(given["dt"]))
        except Exception as error:
            answers[path.stem.replace("ours", "refused")] = np.array(f"{type(error).__name__}: {error}"[:200])
    np.savez_compressed(folder / "answers.npz", **answers)
    for name, (graph, x, spikes, dt) in theirs.items():
        nir.write(folder / f"theirs_{name}.nir", graph)
        np.savez_compressed(folder / f"theirs_{name}.npz", x=x, spikes=spikes, dt=dt)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
