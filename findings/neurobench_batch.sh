#!/bin/sh
# NeuroBench 2.3.0: two of its metrics describe how a network was run, not the network and its data.
#
# SynapticOperations calls what a layer does in a timestep accumulates (ACs) if all its inputs in the whole batch are
# -1, 0 or 1, else multiply-accumulates (MACs). On frames that count events, one pixel with two events turns the other
# samples' accumulates into MACs: the same network and data have 1.5 ACs a sample in batches of one and none in
# batches of two. A split between MACs and ACs can be compared at one batch size only.
#
# Footprint adds up the model's buffers, and snnTorch keeps its membrane in one, which is empty until the first run:
# the footprint of the same network is larger after a benchmark, by the potentials of the last batch.
#
# Exits 0 while this is so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"
$pip torch==2.13.0 numpy==2.4.6 tqdm==4.70.1 2>/dev/null
# Its data sets need more packages, the metrics these.
$pip --no-deps neurobench==2.3.0 snntorch==1.0.0 2>/dev/null
"$folder/venv/bin/python" - <<'PY'
from importlib.metadata import version

import snntorch as snn
import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import Footprint
from neurobench.metrics.workload import SynapticOperations
from neurobench.models import SNNTorchModel
from torch.utils.data import DataLoader, TensorDataset


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 3, bias=False)
        torch.nn.init.ones_(self.linear.weight)
        self.neurons = snn.Leaky(beta=0.9, init_hidden=True)

    def forward(self, x):
        return self.neurons(self.linear(x)), None


def run(net, batch):
    events = torch.tensor([[[1.0, 0.0]], [[2.0, 0.0]]])  # (samples, timesteps, pixels)
    data = DataLoader(TensorDataset(events, torch.zeros(2)), batch_size=batch)
    metrics = [[Footprint], [SynapticOperations]]
    with torch.no_grad():
        return Benchmark(SNNTorchModel(net), data, [], [], metrics).run(quiet=True)


print("neurobench", version("neurobench"), "snntorch", version("snntorch"), "torch", version("torch"))
ones, twos = run(Net(), 1)["SynapticOperations"], run(Net(), 2)["SynapticOperations"]
print("batches of one:", ones)
print("batches of two:", twos)
net = Net()
first, second = run(net, 2)["Footprint"], run(net, 2)["Footprint"]
print("footprint of one network in its first and in its second benchmark:", first, second)
split = (ones["Effective_ACs"], ones["Effective_MACs"], twos["Effective_ACs"], twos["Effective_MACs"])
assert split == (1.5, 1.5, 0, 3), split
assert second - first == 2 * 3 * 4, (first, second)
PY
