"""A network as programmed crossbars run it, and the software network that stands for it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwmodels.crossbar import Converters, Crossbar, deploy, effective_conductance, tile_products
from hwmodels.crossbar.programming import Solve
from jaxsnn.layers import Block, Conv, Linear
from jaxsnn.learning.training import split_parameters
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, ParametricLIF

# Designs that differ only in numbers, such as resistances, share one compiled program.
program = jax.jit(deploy)


def scaled_as(params: Any, on_chip: Any) -> Any:
    """Each kernel times its [`scale`][] on a chip, which is taken for a constant."""
    return jax.tree.map(
        lambda own, seen: own if own.ndim < 2 else own * jax.lax.stop_gradient(scale(own, seen)),
        params,
        on_chip,
    )


def scale(kernel: jax.Array, on_chip: jax.Array) -> jax.Array:
    """The factor that brings a kernel nearest to what a chip makes of it, in least squares; 1 for zeros."""
    power = jnp.sum(kernel * kernel)
    dead = power == 0
    return jnp.where(dead, 1, jnp.sum(kernel * on_chip) / jnp.where(dead, 1, power))


def folded(network: Network, chip: Network) -> Network:
    r"""The network in software that computes what the chip computes on average: thresholds over scales.

    Potentials are linear in currents, so that neurons with kernel $s·w$ and threshold θ fire exactly when
    those with w and θ/s do. Each layer's s is its [`scale`][] on the chip. Weights stay; the output layer,
    which has no threshold, is scaled instead, which changes no decision.

    **Arguments:** `network`: blocks of a bias-free synapse and LIF neurons without normalisation, and an
    output layer; left as it is. `chip`: the same network as [`programmed`][].

    **Raises:** `ValueError` that names a layer whose scale is not its threshold's, or not positive.
    """
    software = nnx.clone(network)
    for layer, seen in zip(software.layers, chip.layers, strict=True):
        if not isinstance(layer, Block) or layer.norm is not None or layer.synapse.bias is not None:
            raise ValueError(
                f"layer {layer.name!r} has a bias, a normalisation or a shortcut, which no threshold can "
                "stand for; fold those into its weights first."
            )
        kernel = layer.synapse.kernel
        factor = scale(kernel[...], seen.synapse.kernel[...])
        if not factor > 0:
            raise ValueError(
                f"layer {layer.name!r}: its kernel's scale on the chip is {factor}, for which no threshold "
                "can stand; its devices or wires let nothing through."
            )
        if isinstance(layer.neuron, LIF) and not isinstance(layer.neuron, ParametricLIF):
            layer.neuron.threshold /= float(factor)
        elif layer.neuron.spiking:
            raise ValueError(f"layer {layer.name!r} has no plain threshold: {type(layer.neuron).__name__}.")
        else:
            kernel[...] = kernel[...] * factor
    return software


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


def undisturbed(network: Network, crossbar: Crossbar) -> Network:
    """The network on a chip whose devices hold what was meant."""
    certain = eqx.tree_at(
        lambda design: (design.device.variation, design.device.read_noise),
        crossbar,
        (None, None),
        is_leaf=lambda leaf: leaf is None,
    )
    graph, kernels, rest = split_parameters(network)
    return nnx.merge(graph, program(kernels, certain, jax.random.key(0)), rest, copy=True)
