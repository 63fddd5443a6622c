#!/usr/bin/env bash
# Norse 1.1.0 (nirtorch 2.6): what from_nir's network returns depends on the order of a NIR graph's edges.
#
# Edges of a NIR graph have no order, and nirtorch's own export takes them from a set. Where the graph has a shortcut,
# the executor runs a node behind the output for some orders: the network then returns that inner node's values (here
# 3 numbers in place of 5), without an error, and the neurons after it run without its current.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "norse==1.1.0" "nir==1.0.8" "nirtorch==2.6" "torch==2.14.1" "numpy==2.4.6" 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import warnings

warnings.simplefilter("ignore")
import nir
import norse.torch as norse
import numpy as np
import torch

print("norse", importlib.metadata.version("norse"), "nirtorch", importlib.metadata.version("nirtorch"))


def ones(*shape):
    return np.ones(shape, dtype=np.float32)


def lif(size):
    return nir.LIF(tau=2 * ones(size), r=ones(size), v_leak=0 * ones(size), v_threshold=0.4 * ones(size))


nodes = {
    "input": nir.Input({"input": np.array([2])}),
    "a": nir.Affine(ones(3, 2), 0 * ones(3)),
    "n1": lif(3),
    "b": nir.Affine(ones(3, 3), 0 * ones(3)),
    "n2": lif(3),
    "c": nir.Affine(ones(5, 3), 0 * ones(5)),
    "n3": lif(5),
    "output": nir.Output({"output": np.array([5])}),
}
chain = [("input", "a"), ("a", "n1"), ("n1", "b"), ("b", "n2"), ("n1", "n2"), ("n2", "c"), ("c", "n3"), ("n3", "output")]
mixed = [chain[i] for i in (4, 1, 5, 2, 0, 3, 7, 6)]
shapes = []
for name, edges in (("along the chain", chain), ("mixed", mixed)):
    out, _ = norse.from_nir(nir.NIRGraph(dict(nodes), list(edges)), dt=1.0)(torch.ones(2))
    shapes.append(tuple(out.shape))
    print(f"edges {name}: output of shape {tuple(out.shape)}, the graph says (5,)")
raise SystemExit(0 if shapes == [(5,), (3,)] else 1)
PYTHON
