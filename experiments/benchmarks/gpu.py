"""What needs an accelerator: tiles a second, a layer of LIF neurons, and the exact noise-aware step.

The layer is N = 64 maps of 64×32×32 neurons, forwards and backwards in bfloat16. SpikingJelly publishes 41.9,
5.2 and 3.4 ms for its torch, CuPy and Triton back ends in fp16 at T = 32 on an RTX 4090. VGG9 beside
SpikingJelly is part of the benchmark `snn`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmarks import noise_aware
from experiments.timing import seconds_of
from hwmodels.crossbar import Wires, effective_conductance
from jaxsnn.neuron import LIF

TILES = 65_536
NEURONS = (64, 32, 32, 64)
TIMESTEPS = (4, 8, 16, 32)
PUBLISHED_MS = {"torch": 41.9, "CuPy": 5.2, "Triton": 3.4}


def run() -> dict[str, Any]:
    """Rates and times, of the device that the stored result names."""
    if jax.default_backend() == "cpu":
        raise SystemExit("the benchmark gpu needs an accelerator, and JAX found none here.")
    rows: list[dict[str, Any]] = [{"what": "tiles of 64×64 a second, solved", "value": tiles_per_s(TILES)}]
    rows += [
        {"what": f"LIF layer at T = {steps}, ms", "value": milliseconds} for steps, milliseconds in layer_ms()
    ]
    steps = {row["training"]: row["over_plain"] for row in noise_aware.run()["rows"]}
    rows += [{"what": f"noise-aware step over a plain one: {name}", "value": r} for name, r in steps.items()]
    published = ", ".join(f"{name} {value} ms" for name, value in PUBLISHED_MS.items())
    notes = [
        f"{TILES} tiles, float32, the paper's wires.",
        f"LIF: {'×'.join(map(str, NEURONS))} neurons, bfloat16, forwards and backwards; SpikingJelly "
        f"publishes for T = 32 on an RTX 4090 in fp16: {published}.",
    ]
    return {"title": "On an accelerator", "rows": rows, "notes": notes}


def tiles_per_s(tiles: int) -> float:
    """Tiles of 64×64 solved in a second, all devices conducting."""
    G = jax.random.uniform(jax.random.key(0), (tiles, 64, 64), jnp.float32, 5e-6, 5e-5)
    solve = jax.jit(lambda G: effective_conductance(G, Wires()))
    return tiles / seconds_of(lambda: solve(G), 5)


def layer_ms(
    timesteps: Sequence[int] = TIMESTEPS, neurons: tuple[int, ...] = NEURONS
) -> list[tuple[int, float]]:
    """Milliseconds of a layer's forward and backward pass for each T."""
    return [(steps, 1e3 * seconds_of(partial(_layer, *_inputs(steps, neurons)), 10)) for steps in timesteps]


def _inputs(timesteps: int, neurons: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    currents, cotangent = jax.random.split(jax.random.key(0))
    shape = (timesteps, *neurons)
    return jax.random.normal(currents, shape, jnp.bfloat16), jax.random.normal(cotangent, shape, jnp.bfloat16)


@jax.jit
def _layer(currents: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    neuron = LIF(leak=0.5)

    def spikes(currents: jax.Array) -> jax.Array:
        def step(state: Any, now: jax.Array) -> tuple[Any, jax.Array]:
            out, state = neuron(now, state)
            return state, out

        start = neuron.initial_state(currents.shape[1:], currents.dtype)
        return jax.lax.scan(step, start, currents, unroll=len(currents))[1]

    out, back = jax.vjp(spikes, currents)
    return out, back(cotangent)[0]
