"""A network with the operands of a digital chip: weights, pixels, sums and potentials of so many bits."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from hwmodels.chip import Digital
from hwmodels.rounding import clipped, rounded, straight_through
from jaxsnn.attention import SpikingAttention
from jaxsnn.codesign.synapses import entry_synapses
from jaxsnn.convolution import convolve
from jaxsnn.graph import Graph
from jaxsnn.layers import Block, Conv, Linear, Neurons
from jaxsnn.learning.quantization import MintLIF, Settled, settled, uniform, uniform_step
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, AdaptiveLIF, DelayedLIF, Neuron, ReLU
from jaxsnn.neuron._constants import read


class FixedPoint(Neuron):
    r"""A neuron whose state is kept in fixed point from one timestep to the next.

    The unit is $θ/(2^t − 1)$ for a threshold θ of t bits, and states saturate at $±(2^{m−1} − 1)$ units of m
    membrane bits. Rounding is straight-through. What an
    [`AdaptiveLIF`][jaxsnn.neuron.AdaptiveLIF] adds to its threshold is kept in the same units, and a
    [`DelayedLIF`][jaxsnn.neuron.DelayedLIF], which sees in its potential whether it fired, stays on its side
    of the threshold.

    **Arguments:** `neuron`: a [`LIF`][jaxsnn.neuron.LIF] or what is made of it; `threshold_bits`,
    `membrane_bits`.
    """

    def __init__(self, neuron: LIF, threshold_bits: Any, membrane_bits: Any):
        self.neuron = neuron
        self.spiking, self.accumulates = neuron.spiking, neuron.accumulates
        self.threshold_bits, self.membrane_bits = (
            nnx.data(jnp.asarray(bits, jnp.float32)) for bits in (threshold_bits, membrane_bits)
        )

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Any:
        return self.neuron.initial_state(shape, dtype)

    def potential(self, state: Any) -> Array:
        return self.neuron.potential(state)

    def __call__(self, current: Array, state: Any) -> tuple[Array, Any]:
        spikes, state = self.neuron(current, state)
        if isinstance(self.neuron, AdaptiveLIF):
            potential, adapted = state
            worth = jnp.asarray(read(self.neuron.adaptation, potential.dtype), potential.dtype)
            # Of a β of zero nothing is added, whatever is kept.
            return spikes, (
                self._kept(potential),
                self._kept(worth * adapted) / jnp.where(worth > 0, worth, 1),
            )
        if isinstance(self.neuron, DelayedLIF):
            return spikes, self._kept(state, spikes)
        return spikes, jax.tree.map(self._kept, state)

    def _kept(self, potential: Array, spikes: Array | None = None) -> Array:
        """The register's value, on the side of the threshold where `spikes` say that it was."""
        _, threshold = self.neuron._constants(potential.dtype)
        levels, most = (
            2.0 ** bits.astype(potential.dtype) - 1 for bits in (self.threshold_bits, self.membrane_bits - 1)
        )
        exact = potential * levels / jnp.asarray(threshold, potential.dtype)
        units = rounded(exact)
        if spikes is not None:
            reached = 0 if self.neuron.inclusive else 1
            fired, silent = jnp.maximum(units, levels + reached), jnp.minimum(units, levels + reached - 1)
            units = straight_through(jnp.where(spikes > 0, fired, silent), exact)
        return clipped(units, -most, most) / levels * jnp.asarray(threshold, potential.dtype)


class Activation(Neuron):
    """What a neuron without spikes sends on, in `bits` bits of each image's greatest value."""

    spiking = False

    def __init__(self, neuron: Neuron, bits: Any):
        self.neuron, self.bits = neuron, nnx.data(jnp.asarray(bits, jnp.float32))

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Any:
        return self.neuron.initial_state(shape, dtype)

    def potential(self, state: Any) -> Array:
        return self.neuron.potential(state)

    def __call__(self, current: Array, state: Any) -> tuple[Array, Any]:
        out, state = self.neuron(current, state)
        greatest = jnp.max(jnp.abs(out), axis=range(1, out.ndim), keepdims=True)
        step = jax.lax.stop_gradient(jnp.where(greatest > 0, greatest, 1)) / (
            2.0 ** self.bits.astype(out.dtype) - 1
        )
        return rounded(out / step) * step, state


def in_digits(network: Network, digital: Digital, *, image_full_scale: Any = 1.0) -> Network:
    """The network as a digital chip runs it: a copy whose operands have the chip's bits.

    Weights are rounded to a symmetric uniform grid, but for those that have as few bits already. Products are
    exact sums.

    **Arguments:** `image_full_scale`: the greatest magnitude of a pixel, which the image's bits span.

    **Raises:** `ValueError` that names the layer, for activations of one bit.
    """
    chip = settled(network)
    entry = {id(synapse) for synapse in entry_synapses(chip)} if chip.encoding.constant else set()
    for _, module in nnx.iter_graph(chip):
        if isinstance(module, Conv | Linear):
            _round_synapse(module, digital, image_full_scale if id(module) in entry else None)
    for _, module in nnx.iter_graph(chip):
        if isinstance(module, Block | Neurons):
            module.neuron = _rounded_neuron(module.name, module.neuron, digital)
        elif isinstance(module, SpikingAttention):
            module.neuron = _rounded_neuron(module.value.name, module.neuron, digital)
        elif isinstance(module, Graph):
            for index, (name, node) in enumerate(zip(module.names, module.modules, strict=True)):
                if isinstance(node, Neuron):
                    module.modules[index] = _rounded_neuron(name, node, digital)
    return chip


def _round_synapse(synapse: Conv | Linear, digital: Digital, image_full_scale: Any) -> None:
    own = None
    if isinstance(synapse.quantizer, Settled):
        own = synapse.quantizer.bits, synapse.quantizer.step
    kernel, pixel, sums = _operands(synapse.kernel[...], own, digital, image_full_scale)
    synapse.kernel[...] = kernel
    product = _convolved if isinstance(synapse, Conv) else _multiplied
    synapse.product = nnx.data(jax.tree_util.Partial(product, pixel, sums))


# One program: by single operations, each shape of a kernel would compile some ten.
@jax.jit
def _operands(kernel, own, digital, image_full_scale):
    """The kernel of so many bits, the step of a pixel, and the step and the greatest number of a sum's."""
    dtype, coarse = kernel.dtype, kernel
    bits = None if digital.weight_bits is None else jnp.asarray(digital.weight_bits, dtype)
    step = None
    if bits is not None:
        coarse, step = uniform(kernel, bits), uniform_step(kernel, bits)
        if own is not None:
            own_bits, own_step = own
            own_bits = jnp.asarray(own_bits, dtype)
            own_step = uniform_step(kernel, own_bits) if own_step is None else own_step
            own_step = jnp.abs(jax.lax.stop_gradient(own_step)).astype(dtype)
            few = own_bits <= bits
            coarse, step = jnp.where(few, kernel, coarse), jnp.where(few, own_step, step)
    pixel = None
    if image_full_scale is not None and digital.image_bits is not None:
        pixel = jnp.asarray(image_full_scale, dtype) / (2.0 ** jnp.asarray(digital.image_bits, dtype) - 1)
    sums = None
    if digital.accumulator_bits is not None and step is not None:
        sums = step, 2.0 ** (jnp.asarray(digital.accumulator_bits, dtype) - 1) - 1
    return coarse, pixel, sums


def _convolved(pixel, sums, x, kernel, *geometry, **special):
    return _accumulated(convolve(_pixels(x, pixel), kernel, *geometry, **special), sums)


def _multiplied(pixel, sums, x, kernel):
    return _accumulated(jnp.matmul(_pixels(x, pixel), kernel), sums)


def _pixels(x, step):
    return x if step is None else rounded(x / step.astype(x.dtype)) * step.astype(x.dtype)


def _accumulated(current, sums):
    """Sums of spikes are whole numbers of weight steps; those of pixels and averages are rounded to them."""
    if sums is None:
        return current
    step, most = (part.astype(current.dtype) for part in sums)
    return clipped(rounded(current / step), -most, most) * step


def _rounded_neuron(name: str, neuron: Neuron, digital: Digital) -> Neuron:
    if isinstance(neuron, ReLU) and digital.activation_bits is not None:
        if digital.activation_bits < 2:
            raise ValueError(
                f"layer {name!r} sends activations and no spikes, and the chip's activations have "
                f"{digital.activation_bits} bit; give it Precision(activation=8), or a spiking network."
            )
        return Activation(neuron, digital.activation_bits)
    kept = digital.threshold_bits is not None and digital.membrane_bits is not None
    if kept and isinstance(neuron, LIF) and not isinstance(neuron, MintLIF):
        return FixedPoint(neuron, digital.threshold_bits, digital.membrane_bits)
    return neuron
