#!/usr/bin/env bash
# sinabs 3.1.3: to_nir followed by from_nir gives LIF neurons whose input is 1 / (1 − α) times as strong.
#
# A sinabs LIF scales its input by 1 − α by default (norm_input=True): v = α·v + (1 − α)·x with α = exp(−1 / τ). That is
# a step of NIR's LIF, τ·v' = −v + r·i, with r = 1, and to_nir writes r = 1. But from_nir builds the layer with
# norm_input=False, v = α·v + x, whatever r is; it never looks at r (it does for LI, and refuses another r there). At
# τ = 20 steps the input is 20.5 times too strong. from_nir says that it returns a model that is equivalent to the graph.
#
# In the other direction, to_nir writes r = 1 for a layer with norm_input=False as well, so that two layers whose gains
# differ twentyfold give the same NIR node. Nothing is said in either case.
#
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"
$pip torch==2.14.1 numpy==2.4.6 nir==1.0.4 nirtorch==2.0.1 pbr==7.1.3 matplotlib==3.11.2 2>/dev/null
# The package of its chips, samna, isn't needed for this.
$pip --no-deps sinabs==3.1.3 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
import nir
import sinabs.layers as layers
import torch
from sinabs.nir import from_nir, to_nir

print("sinabs", version("sinabs"), "nir", version("nir"), "nirtorch", version("nirtorch"), "torch", torch.__version__)
tau, steps = 20.0, 200
drive = torch.full((steps, 1), 1.5)  # a constant input of 1.5 thresholds


def network(norm_input):
    linear = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(linear.weight)
    return torch.nn.Sequential(linear, layers.LIFSqueeze(tau_mem=tau, batch_size=1, norm_input=norm_input))


def count(net):
    with torch.no_grad():
        out = net(drive)
    return float((out[0] if isinstance(out, tuple) else out).sum())


# NIR's equation by Euler's rule in 100 parts of a step, with the subtracting reset of sinabs at the end of each step
v, by_equation = 0.0, 0
for _ in range(steps):
    for _ in range(100):
        v += 0.01 / tau * (1.5 - v)
    if v >= 1:
        v, by_equation = v - 1, by_equation + 1
print("spikes by the equation of NIR with r = 1:", by_equation)

before, after, r = {}, {}, {}
for norm_input in (True, False):
    net = network(norm_input)
    before[norm_input] = count(net)
    graph = to_nir(net, drive)
    (node,) = [node for node in graph.nodes.values() if isinstance(node, nir.LIF)]
    r[norm_input] = float(node.r)
    after[norm_input] = count(from_nir(graph, batch_size=1))
    print(f"norm_input={norm_input}: {before[norm_input]:.0f} spikes, NIR node tau {float(node.tau):.0f}, r {r[norm_input]:.0f},", end=" ")
    print(f"{after[norm_input]:.0f} spikes after the round trip")
as_said = before[True] == by_equation and after[True] > 10 * before[True]
as_said = as_said and r[True] == r[False] == 1 and before[False] > 10 * before[True]
raise SystemExit(0 if as_said else 1)
PYTHON
