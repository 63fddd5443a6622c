"""What training on the chip costs: steps of a spiking VGG5 with and without crossbars in the forward pass.

The network and the step are those of the benchmark `snn`; the crossbars are 64×64 differential pairs with the
paper's resistances and a device variation drawn anew in each step. A period is one step with an exact
solution of all circuits and the steps that reuse each device's attenuation until the next; its mean counts.
"""

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from experiments.chip_training import NoiseAware
from hwmodels.crossbar import Crossbar, Device, Variation
from hwmodels.crossbar.deploy import target_tiles
from jaxsnn.learning.training import split_parameters
from jaxsnn.learning.transform import Transform
from jaxsnn.models.vgg import vgg5
from jaxsnn.network import Network
from jaxsnn.neuron import LIF

BATCH = 64
TIMESTEPS = 5
PERIODS = (16, 32, 64)
CROSSBAR = Crossbar(device=Device(variation=Variation(0.1)))


class _None(Transform):
    """The plain step."""

    def apply(self, network: Network, state: Any, key: jax.Array) -> Network:
        return network


def run(width: float = 1.0, batch: int = BATCH) -> dict[str, Any]:
    """Seconds per step on average, and the ratio to the plain step, by the period of exact solutions."""
    network = vgg5(image_size=28, in_channels=1, width=width, neuron=partial(LIF, leak=0.5), rngs=nnx.Rngs(0))
    tiles = sum(len(G) for G in target_tiles(split_parameters(network)[1], CROSSBAR).values())
    plain = min(_step_seconds(network, _None(), batch, 3))
    exact = min(_step_seconds(network, NoiseAware(CROSSBAR), batch, 2))
    # All longer periods are made of the same two steps.
    solved, *between = _step_seconds(network, NoiseAware(CROSSBAR, every=max(PERIODS)), batch, 4)
    means = {"plain": plain, "exact solution in every step": exact}
    for period in PERIODS:
        means[f"exact solution every {period} steps"] = (solved + (period - 1) * min(between)) / period
    rows = [
        {"training": name, "s_per_step": mean, "over_plain": mean / plain} for name, mean in means.items()
    ]
    notes = [
        f"VGG5 of width {width:g}, batch {batch}, T = {TIMESTEPS}, float32, {tiles} tiles of 64×64.",
        f"A period: one step of {solved:.3g} s that solves without a derivative, and steps of "
        f"{min(between):.3g} s that reuse the attenuation.",
    ]
    return {"title": "Noise-aware training step", "rows": rows, "notes": notes}


def _step_seconds(network: Network, transform: Transform, batch: int, steps: int) -> list[float]:
    """The time of each training step from the first one of a period on, compilation apart."""
    graph, params, rest = split_parameters(network)
    optimizer = optax.adam(1e-3)
    images = jax.random.uniform(jax.random.key(1), (batch, 28, 28, 1), jnp.float32)
    labels = jax.random.randint(jax.random.key(2), (batch,), 0, 10)

    @jax.jit
    def step(params, opt_state, state, key):
        state = transform.update(nnx.merge(graph, params, rest, copy=True), state, key)

        def loss(params):
            running = transform.apply(nnx.merge(graph, params, rest, copy=True), state, key)
            logits, _ = running(images, timesteps=TIMESTEPS)
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

        updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state, state

    carried = params, optimizer.init(params), transform.init(network)
    compiled = step.lower(*carried, jax.random.key(0)).compile()
    seconds = []
    for number in range(steps):
        began = time.perf_counter()
        carried = jax.block_until_ready(compiled(*carried, jax.random.key(number)))
        seconds.append(time.perf_counter() - began)
    return seconds
