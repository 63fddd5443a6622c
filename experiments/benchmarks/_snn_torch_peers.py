"""The benchmark's network in SpikingJelly, snnTorch and Norse; prints one JSON line per measurement.

It imports torch and nothing of this project, so that it can run in an environment of its own.
"""

import importlib.metadata
import json
import resource
import sys
import time

# CIFAR-10's images, and the channels of 3×3 convolutions, where "P" pools 2×2.
SIDE, CHANNELS = 32, 3
FEATURES: tuple = (64, 64, "P", 128, 128, "P", 256, 256, 256, "P")


def spikingjelly(torch, timesteps):
    """All timesteps layer by layer, as its multi-step mode has it."""
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    def lif():
        return neuron.LIFNode(
            tau=2.0, decay_input=False, v_reset=0.0, detach_reset=True, step_mode="m",
            surrogate_function=surrogate.ATan(),
        )  # fmt: skip

    side, (first, *features) = SIDE, FEATURES
    encoder = torch.nn.Conv2d(CHANNELS, first, 3, padding=1, bias=False)
    channels, layers = first, [lif()]
    for item in features:
        if item == "P":
            layers.append(layer.AvgPool2d(2))
            side //= 2
        else:
            layers += [layer.Conv2d(channels, item, 3, padding=1, bias=False), lif()]
            channels = item
    layers += [layer.Flatten(), layer.Linear(side * side * channels, 1024, bias=False), lif()]
    rest = torch.nn.Sequential(*layers, layer.Linear(1024, 10, bias=False))
    functional.set_step_mode(rest, "m")

    def forward(x):
        functional.reset_net(rest)
        current = encoder(x)
        return rest(current.unsqueeze(0).expand(timesteps, *current.shape)).mean(0)

    return torch.nn.ModuleList([encoder, rest]), forward


def snntorch(torch, timesteps):
    import snntorch as snn

    def cell():
        return snn.Leaky(beta=0.5, reset_mechanism="zero", init_hidden=False)

    def step(cell, current, state):
        return cell(current, cell.init_leaky() if state is None else state)

    return _stepped(torch, timesteps, cell, step)


def norse(torch, timesteps):
    from norse.torch import LIFBoxCell

    return _stepped(torch, timesteps, LIFBoxCell, lambda cell, *inputs: cell(*inputs))


def _stepped(torch, timesteps, make_cell, step):
    """The usual loop over time."""
    nn = torch.nn
    side, (first, *features) = SIDE, FEATURES
    encoder, first_cell = nn.Conv2d(CHANNELS, first, 3, padding=1, bias=False), make_cell()
    channels, layers, pooled = first, [], [False]
    for item in features:
        if item == "P":
            pooled[-1] = True
            side //= 2
        else:
            layers.append(nn.Conv2d(channels, item, 3, padding=1, bias=False))
            pooled.append(False)
            channels = item
    layers += [nn.Linear(side * side * channels, 1024, bias=False), nn.Linear(1024, 10, bias=False)]
    cells = nn.ModuleList([first_cell, *(make_cell() for _ in layers[:-1])])
    net = nn.ModuleList([encoder, *layers, *cells])
    pooled.append(False)

    def forward(x):
        states, total = [None] * len(cells), 0.0
        encoded = encoder(x)
        for _ in range(timesteps):
            current = encoded
            for index, layer in enumerate(layers):
                spikes, states[index] = step(cells[index], current, states[index])
                if pooled[index]:
                    spikes = nn.functional.avg_pool2d(spikes, 2)
                current = layer(spikes.flatten(1) if isinstance(layer, nn.Linear) else spikes)
            total = total + current
        return total / timesteps

    return net, forward


def measure(torch, name, device, timesteps, batch, repeats):
    torch.manual_seed(0)
    net, forward = globals()[name](torch, timesteps)
    net.to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    x = torch.rand(batch, CHANNELS, SIDE, SIDE).to(device)
    y = torch.randint(0, 10, (batch,)).to(device)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(forward(x), y).backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()

    step()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return {
        "version": importlib.metadata.version(name),
        "images_per_s": round(batch / min(seconds), 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


if __name__ == "__main__":
    import torch

    print(json.dumps(measure(torch, *sys.argv[1:3], *map(int, sys.argv[3:6]))))
