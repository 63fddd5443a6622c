"""What the neurons of a peer do: `python neurons.py PEER FILE.npz` in an environment that has it.

PEER is snntorch (with Norse), spikingjelly or sinabs. The answers are stored in
`tests/data/reference/neurons/peers.npz`.
"""

import sys

import numpy as np
import torch

torch.manual_seed(0)
X = torch.rand(60, 1, 16) * 2 - 0.6
QUARTERS = torch.round(X * 4) / 4


def run(neuron, currents):
    with torch.no_grad():
        return np.array([neuron(current)[0].numpy() for current in currents])


def snntorch():
    import snntorch as snn
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.module.lif_box import LIFBoxCell

    settings = {"threshold": 0.7, "init_hidden": True}
    found = {
        f"snntorch_{reset}_{'delayed' if delay else 'now'}": run(
            snn.Leaky(beta=0.8, reset_mechanism=reset, reset_delay=delay, **settings), X
        )
        for reset in ("subtract", "zero", "none")
        for delay in (True, False)
    }
    synaptic = snn.Synaptic(alpha=0.4, beta=0.8, reset_mechanism="zero", reset_delay=False, **settings)
    found["snntorch_synaptic"] = run(synaptic, X)
    parameters = LIFBoxParameters(tau_mem_inv=torch.tensor(200.0), v_th=torch.tensor(0.3))
    cell, state, spikes = LIFBoxCell(parameters, dt=0.001), None, []
    for current in X:
        out, state = cell(current, state)
        spikes.append(out[0].detach().numpy())
    return found | {"norse_box": np.array(spikes)}


def spikingjelly():
    from spikingjelly.activation_based import neuron

    made = {
        "sj_if": neuron.IFNode(v_reset=0.0),
        "sj_lif": neuron.LIFNode(tau=2.0, v_threshold=0.25),
        "sj_nodecay": neuron.LIFNode(tau=2.0, decay_input=False),
        "sj_soft": neuron.IFNode(v_reset=None),
    }
    return {name: run(one, QUARTERS) for name, one in made.items()}


def sinabs():
    import sinabs.activation as activation
    import sinabs.layers as layers

    single = layers.IAF(spike_fn=activation.SingleSpike, reset_fn=activation.MembraneReset())
    with torch.no_grad():
        return {
            "sinabs_single": single(QUARTERS.transpose(0, 1))[0].numpy(),
            "sinabs_multi": layers.IAF()(3 * QUARTERS.transpose(0, 1))[0].numpy(),
        }


if __name__ == "__main__":
    answers = {"snntorch": snntorch, "spikingjelly": spikingjelly, "sinabs": sinabs}[sys.argv[1]]()
    inputs = {"x": X[:, 0].numpy(), "xe": QUARTERS[:, 0].numpy()}
    np.savez_compressed(sys.argv[2], **inputs, **{name: a.astype(np.int8) for name, a in answers.items()})
