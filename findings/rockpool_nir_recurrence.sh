#!/usr/bin/env bash
# Rockpool 3.1.0: to_nir leaves out the recurrent weights and the bias of a LIFTorch layer.
#
# LIFTorch has trainable recurrent weights (has_rec=True) and a trainable bias. to_nir is documented to convert a
# Rockpool module into a NIR graph, and the guide says that torch-backed models can be exported; neither names a limit.
# The exporter does refuse what it can't express (several synapses for a neuron), and from_nir does read a NIR subgraph
# of a CubaLIF with recurrent weights, as well as v_leak as the bias. So a good guess is that the export has both.
#
# But a recurrent layer becomes a plain CubaLIF without a connection to itself, and v_leak is written as zero whatever
# the bias is. The graph is valid, and the network that is read back is another one. No warning is given.
#
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "rockpool==3.1.0" "torch==2.14.1" "numpy==2.4.6" "nir==1.0.8" "nirtorch==2.6" 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
import nir
import torch
from rockpool.nn.combinators import Sequential
from rockpool.nn.modules import LIFTorch, LinearTorch, from_nir, to_nir

print("rockpool", version("rockpool"), "nir", version("nir"), "nirtorch", version("nirtorch"), "torch", torch.__version__)
torch.manual_seed(0)
size = 4
spikes = (torch.rand(1, 200, 3) < 0.1).float()
# Each neuron inhibits the others.
inhibition = -0.1 * (torch.ones(size, size) - torch.eye(size))


def network(bias, recurrent):
    rec = {"has_rec": True, "w_rec": inhibition} if recurrent else {}
    return Sequential(
        LinearTorch((3, size), weight=torch.full((3, size), 0.1), has_bias=False),
        LIFTorch(size, tau_mem=0.02, tau_syn=0.02, bias=bias, threshold=1.0, dt=1e-3, **rec),
    )


counts = {}
for name, bias, recurrent in (("plain", 0.0, False), ("with a bias of 0.05", 0.05, False), ("recurrent", 0.0, True)):
    net = network(bias, recurrent)
    with torch.no_grad():
        before = int(net(spikes)[0].sum())
        graph = to_nir(net)
        after = int(from_nir(graph)(spikes)[0].sum())
    (node,) = [node for node in graph.nodes.values() if isinstance(node, nir.CubaLIF)]
    counts[name] = (before, after)
    print(f"{name}: {before} spikes before, {after} after the round trip;", end=" ")
    print(f"{len(graph.nodes)} nodes, {len(graph.edges)} edges, v_leak {float(abs(node.v_leak).max())}")
plain, biased, recurrent = counts.values()
as_said = plain[0] == plain[1] == biased[1] == recurrent[1] and biased[0] > 1.1 * plain[0] and recurrent[0] < 0.9 * plain[0]
raise SystemExit(0 if as_said else 1)
PYTHON
