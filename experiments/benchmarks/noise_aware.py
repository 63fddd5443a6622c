"""What training on the chip costs: steps of a spiking VGG5 with and without crossbars in the forward pass.

The network and the step are those of the benchmark `snn`; the crossbars are 64×64 differential pairs with the
paper's resistances and a device variation drawn anew in each step. A period is one step with an exact
solution of all circuits and the steps that use an expansion about it until the next; its mean counts.

What the expansions give up is measured beside it: values and gradients on devices drawn about the
conductances they were expanded at, against those of the exact solution.
"""

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from hwmodels.crossbar import Crossbar, Device, Variation, effective_conductance
from hwmodels.crossbar.deploy import target_tiles
from jaxsnn.codesign.noise_aware import EXPANSIONS, Between, NoiseAware
from jaxsnn.learning.training import split_parameters
from jaxsnn.learning.transform import Transform
from jaxsnn.models.digits import digits_convnet
from jaxsnn.models.vgg import vgg5
from jaxsnn.network import Network
from jaxsnn.neuron import LIF

BATCH = 64
TIMESTEPS = 5
PERIODS = (16, 32, 64)
VARIATION = Variation(0.1)
CROSSBAR = Crossbar(device=Device(variation=VARIATION))
TIMED: tuple[Between, ...] = ("reuse", "lumped")


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
    means = {"plain": plain, "exact solution in every step": exact}
    periods = []
    for name in TIMED:
        # All longer periods are made of the same two steps.
        transform = NoiseAware(CROSSBAR, every=max(PERIODS), between=name)
        solved, *between = _step_seconds(network, transform, batch, 4)
        for period in PERIODS:
            mean = (solved + (period - 1) * min(between)) / period
            means[f"exact solution every {period} steps, {name}"] = mean
        periods.append(
            f"A period, {name}: one step of {solved:.3g} s that solves without a derivative, and steps of "
            f"{min(between):.3g} s that use its expansion."
        )
    errors = expansion_errors()
    rows = [
        {"training": name, "s_per_step": mean, "over_plain": mean / plain} for name, mean in means.items()
    ]
    notes = [
        f"VGG5 of width {width:g}, batch {batch}, T = {TIMESTEPS}, float32, {tiles} tiles of 64×64.",
        *periods,
        "Errors of the expansions (`expansion_errors`): on devices of σ/µ = 10 % about the conductances of "
        "the expansion, with normal cotangents; relative error of the values, then relative error, cosine "
        "and norm ratio of the gradients.",
        *(" ".join(_text(value) for value in row.values()) for row in errors),
    ]
    return {"title": "Noise-aware training step", "rows": rows, "notes": notes, "expansion_errors": errors}


def expansion_errors() -> list[dict[str, Any]]:
    """Values and gradients of every expansion against the exact ones: a full tile, and a network's tiles."""
    device = CROSSBAR.device
    shape = (1, CROSSBAR.rows, CROSSBAR.columns)
    tile = jax.random.uniform(
        jax.random.key(0), shape, jnp.float32, float(device.g_min_siemens), float(device.g_max_siemens)
    )
    network = digits_convnet(width=16, rngs=nnx.Rngs(0))
    (tiles,) = target_tiles(split_parameters(network)[1], CROSSBAR).values()
    return [
        {"tiles": name, "between": between} | errors
        for name, targets in (("one tile of 64×64", tile), ("those of the digits network", tiles))
        for between, errors in _errors_at(targets).items()
    ]


def _errors_at(targets: jax.Array) -> dict[str, dict[str, float]]:
    wires = CROSSBAR.wires
    drawn = VARIATION(targets, jax.random.key(1))
    cotangent = jax.random.normal(jax.random.key(2), targets.shape, targets.dtype)

    def value_and_gradient(solve):
        @jax.jit
        def found(drawn):
            value, pull = jax.vjp(solve, drawn)
            return value, pull(cotangent)[0]

        return [np.asarray(part, np.float64).ravel() for part in found(drawn)]

    exact, slope = value_and_gradient(lambda G: effective_conductance(G, wires))
    rows = {}
    for name, expansion in EXPANSIONS.items():
        held = jax.jit(expansion.at)(targets, wires)
        value, gradient = value_and_gradient(lambda G, held=held: held(G, wires))
        norms = np.linalg.norm(gradient), np.linalg.norm(slope)
        rows[name] = {
            "value_error": float(np.linalg.norm(value - exact) / np.linalg.norm(exact)),
            "gradient_error": float(np.linalg.norm(gradient - slope) / norms[1]),
            "cosine": float(gradient @ slope / (norms[0] * norms[1])),
            "norm_ratio": float(norms[0] / norms[1]),
        }
    return rows


def _text(value: str | float) -> str:
    return value + ":" * (value in EXPANSIONS) if isinstance(value, str) else f"{value:.3g}"


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
