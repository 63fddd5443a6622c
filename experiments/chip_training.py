"""Training that knows the chip: every step runs the network as programmed crossbars would."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwmodels.crossbar import Converters, Crossbar, deploy, effective_conductance, tile_products
from hwmodels.crossbar.deploy import target_tiles
from hwmodels.crossbar.expansion import Linearised, Reused
from hwmodels.crossbar.programming import Solve
from jaxsnn.layers import Conv, Linear
from jaxsnn.learning.training import split_parameters
from jaxsnn.learning.transform import Transform
from jaxsnn.network import Network

Between = Literal["reuse", "linearised"]
_EXPANSIONS: Mapping[str, Any] = {"reuse": Reused, "linearised": Linearised}


@dataclasses.dataclass(frozen=True)
class NoiseAware(Transform):
    """Deploys the network in the forward pass of every training step, on devices drawn anew each time.

    **Arguments:**

    - `crossbar`: the design.
    - `converters`: of every tile; None for ideal ones, which cost nothing.
    - `every`: steps from one exact solution of the circuits to the next. With 1, values and gradients are
      exact in every step.
    - `between`: what serves the steps of a period if it is longer: the expansion about the conductances meant
      at its start that keeps each device's attenuation ("reuse", [`hwmodels.crossbar.expansion.Reused`][]),
      or the tangent ("linearised", [`hwmodels.crossbar.expansion.Linearised`][], which takes much more
      memory). The solution itself is not differentiated.
    - `software`: fraction of the steps that run without the chip, each kernel at its mean scale on it
      ([`at_scale_of`][]), so that the weights also serve a network in software.

    **Raises:** `ValueError` for a period below one step, an unknown `between`, and a fraction out of [0, 1)
    or with products that need their inputs (converters or read noise).
    """

    crossbar: Crossbar
    converters: Converters | None = None
    every: int = 1
    between: Between = "reuse"
    software: float = 0.0

    def __post_init__(self):
        if self.every < 1:
            raise ValueError(
                f"NoiseAware.every is the steps from one exact solution to the next, at least 1; "
                f"got {self.every}."
            )
        if self.between not in _EXPANSIONS:
            raise ValueError(
                f"NoiseAware.between must be one of {', '.join(map(repr, _EXPANSIONS))}; "
                f"got {self.between!r}."
            )
        if not 0 <= self.software < 1:
            raise ValueError(
                "NoiseAware.software is the fraction of steps without the chip, in [0, 1); "
                f"got {self.software}."
            )
        if self.software and (self.converters or self.crossbar.device.read_noise):
            raise ValueError(
                "NoiseAware.software needs a chip that is weights alone; leave out converters and read noise."
            )

    def _solution(self, network: Network) -> dict[str, Any]:
        tiles = target_tiles(split_parameters(network)[1], self.crossbar)
        expansion = _EXPANSIONS[self.between]
        return {dtype: expansion.at(G, self.crossbar.wires) for dtype, G in tiles.items()}

    def init(self, network: Network) -> Any:
        """Steps since the last solution, and that solution: none yet."""
        if self.every == 1:
            return ()
        empty = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(self._solution, network)
        )
        return jnp.zeros((), jnp.int32), empty

    def update(self, network: Network, state: Any, key: jax.Array) -> Any:
        """Solves the circuits again where a period begins."""
        if self.every == 1:
            return state
        step, solution = state
        solution = jax.lax.cond(step == 0, lambda: self._solution(network), lambda: solution)
        return (step + 1) % self.every, solution

    def apply(self, network: Network, state: Any, key: jax.Array) -> Network:
        """The network on chips programmed from `key`, or in software at their scale."""
        chip = programmed(network, self.crossbar, key, converters=self.converters, solve=self._solve(state))
        if not self.software:
            return chip
        # The devices draw from the streams of the leaves.
        apart = jax.random.bernoulli(jax.random.fold_in(key, 0xFFFFFFFF), self.software)
        graph, on_chip, rest = split_parameters(chip)
        own = split_parameters(at_scale_of(network, chip))[1]
        chosen = jax.tree.map(lambda own, seen: jnp.where(apart, own, seen), own, on_chip)
        return nnx.merge(graph, chosen, rest, copy=True)

    def _solve(self, state: Any) -> Solve:
        if self.every == 1:
            return effective_conductance
        return lambda G, wires: state[1][str(G.dtype)](G, wires)


def at_scale_of(network: Network, chip: Network) -> Network:
    """The network in software with each kernel at the scale that the chip gives it on average.

    One factor per layer, the least-squares fit of the chip's kernel by the network's, taken for a constant.
    It is the same as dividing the layer's thresholds by that factor.
    """
    graph, params, rest = split_parameters(network)

    def scaled(own, seen):
        if own.ndim < 2:
            return own
        return own * jax.lax.stop_gradient(jnp.sum(own * seen) / jnp.sum(own * own))

    return nnx.merge(graph, jax.tree.map(scaled, params, split_parameters(chip)[1]), rest, copy=True)


def programmed(
    network: Network,
    crossbar: Crossbar,
    key: jax.Array,
    *,
    converters: Converters | None = None,
    solve: Solve = effective_conductance,
) -> Network:
    """The network as programmed crossbars run it; gradients flow to its kernels.

    **Arguments:**

    - `network`: left as it is.
    - `key`: of the devices, and of the read noise.
    - `converters`: with them, or with read noise, every layer multiplies tile by tile.
    - `solve`: as for [`hwmodels.crossbar.deploy`][].
    """
    graphdef, params, rest = split_parameters(network)
    if converters is None and crossbar.device.read_noise is None:
        return nnx.merge(graphdef, deploy(params, crossbar, key, solve=solve), rest, copy=True)
    chip = nnx.merge(graphdef, params, rest, copy=True)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    # The kernels' devices draw from the streams of the leaves; the reads from the next one.
    read_key = jax.random.fold_in(key, len(leaves))
    tiles = tile_products(params, crossbar, key, converters=converters, read_key=read_key, solve=solve)
    names = {
        tuple(getattr(entry, "key", None) for entry in path): jax.tree_util.keystr(path) for path, _ in leaves
    }
    for path, layer in nnx.iter_graph(chip):
        if isinstance(layer, Conv | Linear):
            product = _convolve if isinstance(layer, Conv) else _multiply
            # As data, so that chips of one design share a compiled program.
            layer.product = nnx.data(jax.tree_util.Partial(product, tiles[names[(*path, "kernel", None)]]))
    return chip


def calibrated(chip: Network, images: jax.Array | np.ndarray, *, timesteps: int) -> Network:
    """The chip with the ADCs of each layer calibrated on what the layers before make of `images`.

    See [`hwmodels.crossbar.TileProduct.calibrate`][]. `chip` is from [`programmed`][] and left as it is.
    Do not call this under `jit`.
    """
    chip = nnx.clone(chip)
    layers = {path: layer for path, layer in nnx.iter_graph(chip) if isinstance(layer, Conv | Linear)}
    found = {}

    def listening(path, product):
        (tiles,) = product.args

        def call(x, kernel, *geometry):
            settings = dict(zip(("stride", "padding"), geometry, strict=False))
            found[path] = jax.tree_util.Partial(product.func, tiles.calibrate(x, **settings))
            return found[path](x, kernel, *geometry)

        return call

    for path, layer in layers.items():
        layer.product = nnx.static(listening(path, layer.product))
    chip(jnp.asarray(images), timesteps=timesteps)
    for path, layer in layers.items():
        layer.product = nnx.data(found[path])
    return chip


def _convolve(tiles, x, kernel, stride, padding):
    return tiles.convolve(x, kernel, stride, padding)


def _multiply(tiles, x, kernel):
    return tiles.linear(x, kernel)
