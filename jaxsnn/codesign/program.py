"""A network on a chip: the one verb."""

import dataclasses
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwmodels.checks import at_edge, require_key
from hwmodels.chip import Analog, Arithmetic, Chip, Digital, arithmetic
from hwmodels.crossbar import (
    Converters,
    Crossbar,
    TileProduct,
    deploy,
    effective_conductance,
    program_kernels,
)
from hwmodels.crossbar.programming import Solve
from jaxsnn.codesign.digital import in_digits
from jaxsnn.codesign.listening import silent_at_rest
from jaxsnn.codesign.synapses import entry_synapses
from jaxsnn.composite import SharedMembrane
from jaxsnn.convolution import convolve
from jaxsnn.encoding import Poisson
from jaxsnn.graph import Graph
from jaxsnn.layers import Conv, Linear
from jaxsnn.learning.quantization import settled
from jaxsnn.network import Network
from jaxsnn.recurrence import Recurrent


def program(
    network: Network,
    chip: Chip | Arithmetic | Crossbar,
    key: jax.Array,
    *,
    images: Any = None,
    timesteps: int | None = None,
    extremes: Any = None,
    data_key: jax.Array | None = None,
    solve: Solve = effective_conductance,
) -> Network:
    """The network as a chip runs it; gradients flow to its weights, and to the chip's devices and wires.

    Quantisers act before: what is programmed are quantised weights, and what devices make of them is rounded
    no more. On crossbars every kernel becomes conductances; behind converters, with read noise, or with
    nonlinear cells that are solved exactly, every layer multiplies tile by tile. On a digital chip every
    operand gets its bits.

    ```
    chip = program(network, spikeflow.Chip(calibration="column"), jax.random.key(0))
    logits, record = chip(images, timesteps=5)
    ```

    **Arguments:**

    - `network`: left as it is.
    - `chip`: a [`hwmodels.chip.Chip`][], its arithmetic, or a bare [`hwmodels.crossbar.Crossbar`][] with
      ideal converters.
    - `key`: of the devices, and of the read noise, whose every draw depends on the timestep, the image and
      the `key` that the network is called with, too.
    - `images`: what the network will see, floats as it takes them: (count, ...), and for a network of
      [`jaxsnn.encoding.Frames`][] (timesteps, count, ...), which [`jaxsnn.encoding.inputs_of`][] makes of
      what a data set has. Their greatest magnitude is the full scale of the pixels' converters, in place of
      1, and they may then be negative. Converters whose full scale is "calibrated" need them, and
      `timesteps`.
    - `extremes`: images that span the pixels to come, where `images` are too few to; by default `images`.
    - `data_key`: of the spikes that Poisson encoding draws of `images`; by default a stream of `key`.
    - `solve`: as for [`hwmodels.crossbar.deploy`][].

    **Returns:** a network.

    **Raises:** `ValueError` for converters to be calibrated without images, and for a seed in place of a key;
    `TypeError` for what is no chip.
    """
    require_key(key)
    found = arithmetic(chip)
    extremes = images if extremes is None else extremes
    if isinstance(found, Digital):
        full_scale = 1.0 if extremes is None else _greatest(extremes)[0]
        return in_digits(network, found, image_full_scale=full_scale)
    settled_network = settled(network)
    by_tile = found.crossbar.device.read_noise is not None or found.crossbar.reads_exactly
    if found.converters is None and found.encoder is None and not by_tile:
        return _as_matrices(settled_network, found.crossbar, key, solve)
    if extremes is not None and found.encoder is not None and network.encoding.constant:
        greatest, signed = _greatest(extremes)
        found = dataclasses.replace(
            found, encoder=dataclasses.replace(found.encoder, input_full_scale=greatest, signed=signed)
        )
    programmed = _on_tiles(settled_network, found, key, solve)
    if not _calibrates(found):
        return programmed
    if images is None or timesteps is None:
        raise ValueError(
            "converters whose full scale is calibrated need program(..., images=..., timesteps=...): some "
            'images that the network will see; or take full_scale="worst-case".'
        )
    if data_key is None:
        # The streams before it are those of the leaves, the reads and the converters.
        leaves = jax.tree.leaves(_split(settled_network, found.crossbar)[1])
        data_key = jax.random.fold_in(key, len(leaves) + 2)
    require_key(data_key)
    return calibrated(programmed, images, timesteps=timesteps, key=data_key)


def _greatest(images: Any) -> tuple[float, bool]:
    """The full scale of pixels, and whether some are negative."""
    values = np.asarray(images, np.float32)
    greatest = float(np.max(np.abs(values), initial=0.0))
    return greatest or 1.0, bool(np.min(values, initial=0.0) < 0)


def _calibrates(analog: Analog) -> bool:
    chosen = (analog.converters, analog.encoder)
    return any(each is not None and each.full_scale == "calibrated" for each in chosen)


def _as_matrices(network: Network, crossbar: Crossbar, key: jax.Array, solve: Solve) -> Network:
    graphdef, kernels, rest = _split(network, crossbar)
    groups = groups_of(network, kernels)
    return nnx.merge(graphdef, deploy(kernels, crossbar, key, groups=groups, solve=solve), rest, copy=True)


def groups_of(network: Network, params: Any) -> tuple[tuple[str, int], ...]:
    """The groups of its grouped convolutions, by the path of their kernels among `params`."""
    found = {path: layer.groups for path, layer in nnx.iter_graph(network) if isinstance(layer, Conv)}
    return tuple(
        (name, found[path[:-2]]) for path, name in _names(params).items() if found.get(path[:-2], 1) > 1
    )


def _names(params: Any) -> dict[tuple[Any, ...], str]:
    """Paths among the leaves as Flax has them, and as `jax.tree_util.keystr` writes them."""
    return {
        tuple(getattr(entry, "key", None) for entry in path): jax.tree_util.keystr(path)
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    }


def _split(network: Network, crossbar: Crossbar) -> tuple[Any, Any, Any]:
    """Kernels alone, and biases that get a row, so that networks that differ in their normalisation share one
    program."""
    held: Any = nnx.PathContains("kernel")
    if crossbar.bias == "row":
        held = nnx.Any(held, nnx.PathContains("bias"))
    graphdef, *parts = nnx.split(network, held, ...)
    kernels, rest = parts
    return graphdef, kernels, rest


def _on_tiles(network: Network, analog: Analog, key: jax.Array, solve: Solve) -> Network:
    graphdef, params, rest = _split(network, analog.crossbar)
    chip = nnx.merge(graphdef, params, rest, copy=True)
    groups = groups_of(network, params)
    kernels = program_kernels(params, analog.crossbar, key, groups=groups, solve=solve)
    # The kernels' devices draw from the streams of the leaves; the reads from the next one.
    names = _names(params)
    read_key = jax.random.fold_in(key, len(names))
    converter_key = jax.random.fold_in(key, len(names) + 1)
    order = list(kernels)
    entry = {id(synapse) for synapse in entry_synapses(chip)} if chip.encoding.constant else set()
    for path, layer in nnx.iter_graph(chip):
        if isinstance(layer, Conv | Linear):
            name = names[(*path, "kernel", None)]
            converters: Converters | None = analog.encoder if id(layer) in entry else analog.converters
            tiles = TileProduct(
                kernels[name],
                converters,
                analog.crossbar.device.read_noise,
                jax.random.fold_in(read_key, order.index(name)),
                converter_key=jax.random.fold_in(converter_key, order.index(name)),
            )
            # As data, so that chips of one design share a compiled program.
            layer.product = nnx.data(OnTiles(tiles))
    return chip


def calibrated(
    chip: Network,
    images: jax.Array | np.ndarray,
    *,
    timesteps: int | None,
    key: jax.Array | None = None,
) -> Network:
    """The chip with the ADCs of each layer calibrated on what the layers before make of `images`, which have
    the axes that [`program`][] asks for, and of which Poisson encoding draws spikes from `key`.

    Weights in a loop over time, such as recurrent ones, are calibrated on the spikes of all timesteps in
    software.

    See [`hwmodels.crossbar.TileProduct.calibrate`][]. `chip` is from [`program`][] and left as it is.
    Do not call this under `jit`.
    """
    chip = nnx.clone(chip)
    images = jnp.asarray(images)
    # Reads of a chip draw from this key too, and calibration of other networks sees those without one.
    key = key if isinstance(chip.encoding, Poisson) else None
    layers = {path: layer for path, layer in nnx.iter_graph(chip) if isinstance(layer, Conv | Linear)}
    for path, product in _calibrated_in_loops(chip, images, timesteps, key).items():
        layers.pop(path).product = nnx.data(product)
    scales = _full_scales(*nnx.split(chip), images, tuple(layers), timesteps, key) if layers else []
    for layer, scale in zip(layers.values(), scales, strict=True):
        layer.product = nnx.data(
            eqx.tree_at(_full_scale, layer.product, scale, is_leaf=lambda leaf: leaf is None)
        )
    return chip


def fix_converters(chip: Network) -> None:
    """Makes bits and full scales of its ADCs numbers, in place: designs that differ in them share a program.

    See [`hwmodels.crossbar.TileProduct.fixed`][].
    """
    for _, layer in nnx.iter_graph(chip):
        product = getattr(layer, "product", None)
        if isinstance(product, OnTiles):
            layer.product = nnx.data(OnTiles(product.tiles.fixed()))


def realised(synapse: Conv | Linear) -> jax.Array:
    """The kernel that weights of a chip realise, be they a matrix or on tiles."""
    product = synapse.product
    return product.tiles.weights if isinstance(product, OnTiles) else synapse.kernel[...]


def _full_scale(product: "OnTiles") -> Any:
    return product.tiles.adc_full_scale


# One program: run layer by layer, each chip would compile the loops of its neurons anew.
@partial(at_edge, static_argnames=("graphdef", "paths", "timesteps"))
def _full_scales(graphdef, state, images, paths, timesteps, key):
    """The full scale of the ADCs of each of these layers, on what the layers before make of `images`."""
    chip = nnx.merge(graphdef, state)
    found = {}

    class Listening:
        def __init__(self, path, product):
            self.path, self.tiles, self.draws = path, product.tiles, product.draws
            self.holds_bias = product.holds_bias

        def __call__(self, x, kernel, *geometry, **drawn):
            settings = dict(zip(("stride", "padding"), geometry, strict=False))
            if "dilation" in drawn:
                settings["dilation"] = drawn["dilation"]
            found[self.path] = OnTiles(self.tiles.calibrate(x, **settings))
            return found[self.path](x, kernel, *geometry, **drawn)

    for path, layer in nnx.iter_graph(chip):
        if path in paths:
            layer.product = nnx.static(Listening(path, layer.product))
    chip(images, timesteps=timesteps, key=key)
    return [_full_scale(found[path]) for path in paths]


def _calibrated_in_loops(
    chip: Network, images: jax.Array, timesteps: int | None, key: jax.Array | None
) -> dict[Any, "OnTiles"]:
    """The products of weights that run step by step: each call sees the inputs of one timestep alone."""
    looped: set[int] = set()
    for _, module in nnx.iter_graph(chip):
        if isinstance(module, Recurrent):
            looped.add(id(module.recurrent))
        elif isinstance(module, Graph) and module.heard:
            looped |= {id(synapse) for synapse in module.named_synapses().values()}
        elif isinstance(module, SharedMembrane):
            looped |= {id(part) for _, part in nnx.iter_graph(module) if isinstance(part, Conv | Linear)}
    if not looped:
        return {}
    tiles = {path: layer.product.tiles for path, layer in nnx.iter_graph(chip) if id(layer) in looped}
    heard: dict[Any, list[Any]] = {path: [] for path in tiles}
    listening = _in_software(chip, heard)
    silent_at_rest(listening, _in_software(chip, {}))
    with jax.disable_jit():
        listening(images, timesteps=timesteps, key=key)
    made = {}
    for path, calls in heard.items():
        _, geometry, special = calls[0]
        settings = dict(zip(("stride", "padding"), geometry, strict=False))
        settings |= {name: special[name] for name in ("dilation",) if name in special}
        inputs = jnp.concatenate([x for x, _, _ in calls])
        made[path] = OnTiles(tiles[path].calibrate(inputs, **settings))
    return made


def _in_software(chip: Network, heard: dict[Any, list[Any]]) -> Network:
    """The network that a chip was made of, some of whose weights keep what they are given."""
    software = nnx.clone(chip)
    for path, layer in nnx.iter_graph(software):
        if isinstance(layer, Conv | Linear):
            layer.product = nnx.static(_Gathering(heard.get(path)))
    return software


class _Gathering:
    """A layer's product in software that keeps what it was given."""

    draws = False

    def __init__(self, calls: list[Any] | None):
        self.calls = calls

    def __call__(self, x, kernel, *geometry, **special):
        if self.calls is not None:
            self.calls.append((x, geometry, special))
        return convolve(x, kernel, *geometry, **special) if geometry else jnp.matmul(x, kernel)


class OnTiles(eqx.Module):
    """The product of a layer on its tiles, as [`jaxsnn.layers.Conv`][] and `Linear` call it."""

    tiles: TileProduct
    holds_weights: ClassVar[bool] = True

    @property
    def draws(self) -> bool:
        return self.tiles.read_noise is not None or self.tiles.drawn is not None

    @property
    def holds_bias(self) -> bool:
        """Whether a row of the tiles adds the bias."""
        return self.tiles.tiles.plan.bias

    def __call__(self, x, kernel, *geometry, **special):
        if geometry:
            return self.tiles.convolve(x, kernel, *geometry, **special)
        return self.tiles.linear(x, kernel, **special)
