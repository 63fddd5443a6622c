"""The benchmark's networks in SpikingJelly, snnTorch and Norse; prints one JSON line per measurement.

It imports torch and nothing of this project, so that it can run in an environment of its own.
"""

import json
import resource
import sys
import time

# Side and channels of the image, and the channels of 3×3 convolutions, where "P" pools 2×2.
PLANS: dict[str, tuple] = {
    "vgg5": (28, 1, (64, "P", 128, 128, "P")),
    "vgg9": (32, 3, (64, 64, "P", 128, 128, "P", 256, 256, 256, "P")),
}


def spikingjelly(torch, timesteps, network):
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    def lif():
        return neuron.LIFNode(
            tau=2.0, decay_input=False, v_reset=0.0, detach_reset=True, step_mode="m",
            surrogate_function=surrogate.ATan(),
        )  # fmt: skip

    side, channels, features = PLANS[network]
    layers = []
    for item in features:
        if item == "P":
            layers.append(layer.AvgPool2d(2))
            side //= 2
        else:
            layers += [layer.Conv2d(channels, item, 3, padding=1, bias=False), lif()]
            channels = item
    layers += [layer.Flatten(), layer.Linear(side * side * channels, 1024, bias=False), lif()]
    net = torch.nn.Sequential(*layers, layer.Linear(1024, 10, bias=False))
    functional.set_step_mode(net, "m")

    def forward(x):
        functional.reset_net(net)
        return net(x.unsqueeze(0).expand(timesteps, *x.shape)).mean(0)

    return net, forward


def _layers(torch, network):
    if network != "vgg5":
        raise ValueError(f"the loop over time is written for vgg5, got {network}.")
    nn = torch.nn
    return nn.ModuleList(
        [
            nn.Conv2d(1, 64, 3, padding=1, bias=False),
            nn.Conv2d(64, 128, 3, padding=1, bias=False),
            nn.Conv2d(128, 128, 3, padding=1, bias=False),
            nn.Linear(6272, 1024, bias=False),
            nn.Linear(1024, 10, bias=False),
        ]
    )


def _stepped(torch, timesteps, weights, cells):
    """The usual loop over time, with the image convolved once."""
    pool = torch.nn.functional.avg_pool2d

    def forward(x):
        states, total = [None] * 4, 0.0
        current = weights[0](x)
        for _ in range(timesteps):
            s, states[0] = cells[0](current, states[0])
            s, states[1] = cells[1](weights[1](pool(s, 2)), states[1])
            s, states[2] = cells[2](weights[2](s), states[2])
            s, states[3] = cells[3](weights[3](pool(s, 2).flatten(1)), states[3])
            total = total + weights[4](s)
        return total / timesteps

    return forward


def snntorch(torch, timesteps, network):
    import snntorch as snn

    weights = _layers(torch, network)
    cells = torch.nn.ModuleList(
        [snn.Leaky(beta=0.5, reset_mechanism="zero", init_hidden=False) for _ in range(4)]
    )

    def wrap(cell):
        return lambda current, state: cell(current, cell.init_leaky() if state is None else state)

    net = torch.nn.ModuleList([weights, cells])
    return net, _stepped(torch, timesteps, weights, [wrap(cell) for cell in cells])


def norse(torch, timesteps, network):
    from norse.torch import LIFBoxCell

    weights = _layers(torch, network)
    cells = torch.nn.ModuleList([LIFBoxCell() for _ in range(4)])
    net = torch.nn.ModuleList([weights, cells])
    return net, _stepped(torch, timesteps, weights, list(cells))


def measure(torch, name, network, device, timesteps, batch, repeats):
    torch.manual_seed(0)
    net, forward = globals()[name](torch, timesteps, network)
    net.to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    side, channels, _ = PLANS[network]
    x = torch.rand(batch, channels, side, side).to(device)
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
        "library": name,
        "network": network,
        "batch": batch,
        "timesteps": timesteps,
        "images_per_s": round(batch / min(seconds), 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


if __name__ == "__main__":
    import torch

    print(json.dumps(measure(torch, *sys.argv[1:4], *map(int, sys.argv[4:7]))))
