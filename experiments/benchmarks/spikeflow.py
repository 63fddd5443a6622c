"""SpikeFlow: designs a second, alone and mapped, with gradients, and beside SpikingJelly if installed."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.timing import seconds_of
from hwmodels import spikeflow
from hwmodels.workload import Layer, Workload

DESIGNS = 50_000


def _alone(workload: Workload) -> float:
    return float(spikeflow.evaluate(workload).energy_j)


def _designs(count: int) -> tuple[jax.Array, ...]:
    keys = jax.random.split(jax.random.key(0), 5)
    ranges = [(16, 257), (2, 33), (1, 9), (2, 9), (4, 33)]
    return tuple(
        jax.random.randint(key, (count,), low, high).astype(float)
        for key, (low, high) in zip(keys, ranges, strict=True)
    )


def _objective(workload: Workload) -> Callable[..., jax.Array]:
    def edap(size, pes_per_tile, timesteps, adc_bits, membrane_bits):
        chip = spikeflow.Chip(
            crossbar_rows=size,
            crossbar_columns=size,
            pes_per_tile=pes_per_tile,
            adc_bits=adc_bits,
            membrane_bits=membrane_bits,
        )
        cost = spikeflow.evaluate(Workload(workload.layers, timesteps), chip)
        return jnp.log(cost.energy_j) + jnp.log(cost.latency_s) + jnp.log(cost.area_mm2)

    return edap


def run() -> dict:
    """Rows of task, network, seconds and rate."""
    rows: list[dict[str, Any]] = []
    networks = {
        "VGG9, 32×32": spikeflow.vgg(spikeflow.VGG9),
        "VGG16, 64×64": spikeflow.vgg(spikeflow.VGG16, size=64, classes=200),
        "ResNet18, 64×64": spikeflow.resnet18(),
    }
    designs = _designs(DESIGNS)
    for name, workload in networks.items():
        objective = _objective(workload)
        gradient = jax.value_and_grad(objective, argnums=(0, 1, 2, 3, 4))
        tasks: dict[str, tuple[int, Callable[[], Any]]] = {
            "one design on the host, float64": (1, functools.partial(_alone, workload)),
            "designs mapped": (DESIGNS, functools.partial(jax.jit(jax.vmap(objective)), *designs)),
            "designs mapped, five derivatives each": (
                DESIGNS,
                functools.partial(jax.jit(jax.vmap(gradient)), *designs),
            ),
        }
        for task, (count, function) in tasks.items():
            seconds = seconds_of(function, 5)
            rows.append(
                {
                    "task": task,
                    "network": name,
                    "designs": count,
                    "seconds": seconds,
                    "per_s": count / seconds,
                }
            )
    notes = [
        "A design varies crossbar size, PEs per tile, timesteps, ADC bits and membrane bits; its result is "
        "the logarithm of energy · delay · area, placement and mesh hops included.",
        f"JAX computes in {jnp.zeros(()).dtype}.",
        "Made by `python -m experiments.benchmarks spikeflow`: median of five runs after one that compiles.",
    ]
    peer, note = _peer()
    return {"title": "SpikeFlow cost model", "rows": rows + peer, "notes": [*notes, note]}


def _peer() -> tuple[list[dict[str, Any]], str]:
    try:
        import torch
        from spikingjelly.activation_based import neuron
        from spikingjelly.activation_based.op_counter import spikesim
    except ImportError:
        return (
            [],
            "SpikingJelly is not installed: no comparison with a peer (pip install spikingjelly torch).",
        )
    name = "one 3×3 convolution, 64 → 64, 32×32, T = 4"
    model = torch.nn.Sequential(torch.nn.Conv2d(64, 64, 3, padding=1, bias=False), neuron.IFNode()).eval()
    spikes = torch.from_numpy((np.random.default_rng(0).random((4, 1, 64, 32, 32)) < 0.1).astype(np.float32))

    def peer_energy() -> float:
        profiler = spikesim.SpikeSimEnergyProfiler(config=spikesim.SpikeSimEnergyConfig())
        with torch.no_grad(), profiler:
            for step in spikes:
                model(step)
        return profiler.get_report().energy_total_pj * 1e-12

    layer = Layer.conv("conv", height=32, width=32, in_channels=64, out_channels=64, padding=1)
    workload = Workload((layer,), 4)

    def our_energy() -> float:
        return float(spikeflow.evaluate(workload, conventions="published").energy_j)

    rows = []
    for task, function in (("SpikingJelly, dense", peer_energy), ("here, published", our_energy)):
        seconds = seconds_of(function, 5)
        rows.append(
            {"task": task, "network": name, "seconds": seconds, "per_s": 1 / seconds, "energy_j": function()}
        )
    return (
        rows,
        "SpikingJelly runs the network to count; here shapes suffice, so its time is no like for like.",
    )
