"""The software network that stands for a chip: what the chip lets through of each layer, in its
thresholds."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from hwmodels.crossbar import Crossbar
from jaxsnn.codesign.program import program, realised
from jaxsnn.layers import Block
from jaxsnn.learning.quantization import settled
from jaxsnn.network import Network


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
    output layer; left as it is. `chip`: the same network as [`program`][jaxsnn.codesign.program.program]
    makes it; what its converters and its read noise do has no part in a scale. Quantised weights are what
    their quantisers make of them, here too.

    **Returns:** a network in software.

    **Raises:** `ValueError` that names a layer whose scale is not its threshold's, or not positive.
    """
    software = settled(network)
    for layer, seen in zip(software.layers, chip.layers, strict=True):
        if not isinstance(layer, Block) or layer.norm is not None or layer.synapse.bias is not None:
            raise ValueError(
                f"layer {layer.name!r} has a bias, a normalisation or a shortcut, which no threshold can "
                "stand for; fold those into its weights first."
            )
        kernel = layer.synapse.kernel
        factor = scale(kernel[...], realised(seen.synapse))
        if not factor > 0:
            raise ValueError(
                f"layer {layer.name!r}: its kernel's scale on the chip is {factor}, for which no threshold "
                "can stand; its devices or wires let nothing through."
            )
        if not layer.neuron.spiking:
            kernel[...] = kernel[...] * factor
            continue
        try:
            layer.neuron.rescale(1 / float(factor))
        except ValueError as error:
            raise ValueError(f"layer {layer.name!r}: {error}") from error
    return software


def undisturbed(network: Network, crossbar: Crossbar) -> Network:
    """The network on a chip whose devices hold and read what was meant, without any imperfection.

    **Arguments:** `network`: left as it is. `crossbar`: the design.

    **Returns:** a network, as [`program`][jaxsnn.codesign.program.program] makes it; wires stay as they are.
    """
    return program(network, certain(crossbar), jax.random.key(0))


def certain(crossbar: Crossbar) -> Crossbar:
    """The design with devices that hold and read what was meant."""
    imperfections = ("variation", "drift", "faults", "read_noise")
    return eqx.tree_at(
        lambda design: [getattr(design.device, name) for name in imperfections],
        crossbar,
        [None] * len(imperfections),
        is_leaf=lambda leaf: leaf is None,
    )
