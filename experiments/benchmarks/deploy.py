"""A spiking VGG9 on crossbars: time to deploy it, cost of running it, and memory of many tiles."""

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.timing import in_turns, seconds_of
from hwmodels.chip import Analog
from hwmodels.crossbar import Converters, Crossbar, Device, Variation, Wires, deploy, effective_conductance
from hwmodels.crossbar.deploy import target_tiles
from jaxsnn.codesign.program import program
from jaxsnn.convolution import convolve_by_xla
from jaxsnn.layers import Conv
from jaxsnn.learning.training import split_parameters
from jaxsnn.models.vgg import vgg9
from jaxsnn.network import Network
from jaxsnn.neuron import LIF

BATCH = 16
TIMESTEPS = 5
MANY = 4096
CROSSBAR = Crossbar(device=Device(variation=Variation(0.1)))


def run(width: float = 1.0, tiles: int = MANY) -> dict[str, Any]:
    """Seconds and bytes, with what they are to be compared with."""
    network = vgg9(image_size=32, in_channels=3, width=width, neuron=partial(LIF, leak=0.5), rngs=nnx.Rngs(0))
    graph, params, rest = split_parameters(network)
    count = sum(len(G) for G in target_tiles(params, CROSSBAR).values())
    key = jax.random.key(1)

    began = time.perf_counter()
    compiled = jax.jit(deploy).lower(params, CROSSBAR, key).compile()
    compile_s = time.perf_counter() - began
    deploy_s = seconds_of(lambda: compiled(params, CROSSBAR, key), 3)
    deployed = nnx.merge(graph, compiled(params, CROSSBAR, key), rest, copy=True)

    images = jax.random.uniform(jax.random.key(2), (BATCH, 32, 32, 3), jnp.float32)
    converters = Converters(adc_bits=6)
    networks = {
        "in software": network,
        "in software by XLA's convolution": _by_xla(network),
        "deployed": deployed,
        "with converters": program(network, Analog(CROSSBAR, converters, converters), key),
    }
    evaluation_s = in_turns({name: partial(_logits, one, images) for name, one in networks.items()}, 15)
    rows: list[dict[str, Any]] = [{"what": f"deploy {count} tiles", "seconds": deploy_s}]
    rows += [
        {
            "what": f"evaluate {name}",
            "seconds": seconds,
            "over_software": seconds / evaluation_s["in software"],
            "over_xla": seconds / evaluation_s["in software by XLA's convolution"],
        }
        for name, seconds in evaluation_s.items()
    ]
    rows += [
        {"what": f"{name} of {tiles} tiles", "gib": size / 2**30} for name, size in _memory(tiles).items()
    ]
    notes = [
        f"VGG9 of width {width:g} for 32×32×3, differential pairs on 64×64, float32. Deployment takes "
        f"{compile_s:.1f} s more to compile.",
        f"Evaluation: a batch of {BATCH} at T = {TIMESTEPS}; converters of 6 bits on every tile.",
        "In software: Winograd's algorithm on a CPU, with 2.25 times fewer multiplications than XLA's "
        "convolution. Tiles with converters leave no such choice, and a differential pair has two columns.",
        "GiB: arguments, results and temporaries, as the compiler lays them out.",
    ]
    return {"title": "A VGG9 on crossbars", "rows": rows, "notes": notes}


def _by_xla(network: Network) -> Network:
    network = nnx.clone(network)
    for _, layer in nnx.iter_graph(network):
        if isinstance(layer, Conv):
            layer.product = convolve_by_xla
    return network


@nnx.jit
def _logits(network: Network, images: jax.Array) -> jax.Array:
    return network(images, timesteps=TIMESTEPS)[0]


def _memory(tiles: int) -> dict[str, int]:
    """Bytes of the solution and of its derivative to all devices and resistances."""

    def total(G: jax.Array, wires: Wires) -> jax.Array:
        return jnp.sum(effective_conductance(G, wires))

    G = jax.ShapeDtypeStruct((tiles, 64, 64), jnp.float32)
    wires = jax.tree.map(jnp.float32, Wires())
    found = {}
    for name, function in (
        ("solution", effective_conductance),
        ("value and gradient", jax.value_and_grad(total, (0, 1))),
    ):
        memory: Any = jax.jit(function).lower(G, wires).compile().memory_analysis()
        found[name] = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return found
