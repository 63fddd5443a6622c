"""Weights and membranes of few bits, trained through the rounding."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxsnn.layers import Block
from jaxsnn.network import Network
from jaxsnn.neuron import LIF


def _round(x):
    """The nearest integer, with the gradient of the identity."""
    return x + jax.lax.stop_gradient(jnp.round(x) - x)


def _check_bits(bits: int) -> None:
    if bits < 2:
        raise ValueError(f"a signed quantiser needs at least 2 bits, got {bits}.")


def quantize_spikesim(weights: Float[Array, "*shape"], bits: int) -> Float[Array, "*shape"]:
    """SpikeSim's quantiser for weights in [−1, 1] (others are clipped), straight-through.

    `x = 2·(round((w + 1)/2·(2^b − 1))/(2^b − 1) − ½)`, then `w_q = round(x·2^(b−1))/2^(b−1)`: multiples of
    2^(1−b) that are never zero (Moitra et al., SpikeSim, published code).
    """
    _check_bits(bits)
    levels, half = 2**bits - 1, 2 ** (bits - 1)
    x = 2 * (_round((jnp.clip(weights, -1, 1) + 1) / 2 * levels) / levels - 0.5)
    return _round(x * half) / half


def quantize_uniform(weights: Float[Array, "*shape"], bits: int) -> Float[Array, "*shape"]:
    """Symmetric uniform: `w_q = s·round(w/s)` with `s = max|w| / (2^(b−1) − 1)`, straight-through."""
    _check_bits(bits)
    return uniform(weights, bits)


def uniform(weights: Float[Array, "*shape"], bits: Any) -> Float[Array, "*shape"]:
    """[`quantize_uniform`][] for bits that may be traced and are not checked; it differentiates to them."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(weights)))
    step = jnp.where(largest > 0, largest, 1) / (2 ** (bits - 1) - 1)
    return step * _round(weights / step)


def is_kernel(path: tuple[Any, ...]) -> bool:
    """Whether the path of a parameter has an entry named "kernel"."""
    return any(getattr(entry, "key", None) == "kernel" for entry in path)


def map_kernels(
    function: Callable[[Any], Any], params: Any, *, otherwise: Callable[[Any], Any] = lambda leaf: leaf
) -> Any:
    """Apply a function to every parameter named "kernel", and `otherwise` to the others."""

    def one(path, leaf):
        return function(leaf) if is_kernel(path) else otherwise(leaf)

    return jax.tree_util.tree_map_with_path(one, params)


def quantized(quantizer: Callable[[Array, int], Array], bits: int) -> Callable[[Any, Array], Any]:
    """A `transform` for [`jaxsnn.learning.training.fit`][] that trains with quantised kernels.

    E.g. `fit(..., transform=quantized(quantize_uniform, 4))`.
    """
    _check_bits(bits)

    def transform(params, key):
        return map_kernels(lambda kernel: quantizer(kernel, bits), params)

    return transform


class MintQuantizer(nnx.Module):
    """`q(x) = α/n · round(n·clip(tanh(x)/α, ±1))`, n = 2^(b−1) − 1, α learnt, straight-through.

    Yin et al., MINT, 2023: one α per layer, shared by its weights and its membrane, so that the scale cancels
    in integer arithmetic.
    """

    def __init__(self, bits: int, *, alpha: float = 1.0):
        _check_bits(bits)
        self.bits = bits
        self.alpha = nnx.Param(jnp.float32(alpha))

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        n = 2 ** (self.bits - 1) - 1
        alpha = self.alpha[...].astype(x.dtype)
        return alpha / n * _round(n * jnp.clip(jnp.tanh(x) / alpha, -1, 1))


class MintLIF(LIF):
    """[`LIF`][] whose potential is quantised before it is compared and after its reset."""

    def __init__(self, quantizer: MintQuantizer, *, leak: float = 0.5, threshold: float = 0.5, **options):
        super().__init__(leak=leak, threshold=threshold, **options)
        self.quantizer = quantizer

    def __call__(
        self, current: Float[Array, "*shape"], state: Float[Array, "*shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        drive = self.quantizer(self.leak * state + current.astype(state.dtype)) - self.leak * state
        return super().__call__(drive, state)


def to_mint(network: Network, bits: int) -> Network:
    """A copy of a network with MINT: weights, and membranes of spiking layers, of `bits` bits.

    Its neurons become [`MintLIF`][] with θ = λ = 0.5 as in the paper.

    **Raises:** `ValueError` for layers that are not plain blocks, as their membranes are not their own.
    """
    result = nnx.clone(network)
    for layer in result.layers:
        if not isinstance(layer, Block):
            raise ValueError(f"a {type(layer).__name__} cannot be quantised; only plain blocks can.")
        quantizer = MintQuantizer(bits)
        layer.synapse.quantizer = quantizer
        if layer.neuron.spiking:
            layer.neuron = MintLIF(quantizer)
    return result
