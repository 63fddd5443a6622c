#!/usr/bin/env bash
# snnTorch 1.0.0: import_from_nir reads nir.IF, an integrator without a leak, as a Leaky neuron with beta = 0.9.
#
# NIR's IF keeps its potential: v' = r·i. snnTorch's importer asserts r = 1 and then builds Leaky(beta=0.9). A constant
# input of 0.09 reaches the threshold 1 every twelve steps in an integrator, and never with that leak, where the
# potential stays below 0.09 / (1 − 0.9) = 0.9. No warning is given; SpikingJelly's and Norse's importers integrate.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "snntorch==1.0.0" "nir==1.0.8" "nirtorch==2.6" "torch==2.14.1" "numpy==2.4.6" 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import contextlib
import importlib.metadata
import io
import warnings

warnings.simplefilter("ignore")
import nir
import numpy as np
import snntorch
import torch
from snntorch.import_nir import import_from_nir

print("snntorch", importlib.metadata.version("snntorch"))
one = np.ones(1, dtype=np.float32)
ends = {"input": nir.Input({"input": np.array([1])}), "output": nir.Output({"output": np.array([1])})}
graph = nir.NIRGraph({**ends, "if": nir.IF(r=one, v_threshold=one)}, [("input", "if"), ("if", "output")])
with contextlib.redirect_stdout(io.StringIO()):
    network = import_from_nir(graph)
(neuron,) = [part for part in network.modules() if isinstance(part, snntorch.Leaky)]
state, spikes, potential, expected = None, 0.0, 0.0, 0
for _ in range(40):
    out, state = network(torch.full((1,), 0.09), state)
    spikes += float(out[0])
    potential += 0.09
    if potential > 1:
        potential, expected = 0.0, expected + 1
print(f"beta of the neuron that was read: {float(neuron.beta):.1f}")
print(f"spikes in 40 steps: snnTorch {spikes:.0f}, the integrator {expected}")
raise SystemExit(0 if abs(float(neuron.beta) - 0.9) < 1e-6 and spikes == 0 and expected == 3 else 1)
PYTHON
