"""Weights and membranes of few bits, trained through the rounding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxsnn.checks import is_count, is_positive
from jaxsnn.layers import Block, Conv, Linear, require_reachable
from jaxsnn.learning.transform import OnParameters
from jaxsnn.network import Network
from jaxsnn.neuron import IF, LIF, Neuron
from jaxsnn.neuron._constants import Values


def _round(x):
    """The nearest integer, with the gradient of the identity."""
    return x + jax.lax.stop_gradient(jnp.round(x) - x)


def _clipped(x):
    """To [−1, 1]. MINT's greatest weight begins at the very end, where `jnp.clip` has half the slope."""
    return jnp.where(jnp.abs(x) <= 1, x, jnp.sign(x))


def _check_bits(bits: int) -> None:
    if not is_count(bits, 2):
        raise ValueError(f"a signed quantiser needs a whole number of at least 2 bits, got {bits}.")


def quantize_spikesim(weights: Float[Array, "*shape"], bits: int) -> Float[Array, "*shape"]:
    """SpikeSim's quantiser for weights in [−1, 1] (others are clipped), straight-through.

    `x = 2·(round((w + 1)/2·(2^b − 1))/(2^b − 1) − ½)`, then `w_q = round(x·2^(b−1))/2^(b−1)`: multiples of
    2^(1−b) that are never zero (Moitra et al., SpikeSim, published code).
    """
    _check_bits(bits)
    levels, half = 2**bits - 1, 2 ** (bits - 1)
    x = 2 * (_round((_clipped(weights) + 1) / 2 * levels) / levels - 0.5)
    return _round(x * half) / half


def quantize_uniform(weights: Float[Array, "*shape"], bits: int) -> Float[Array, "*shape"]:
    """Symmetric uniform: `w_q = s·round(w/s)` with `s = max|w| / (2^(b−1) − 1)`, straight-through."""
    _check_bits(bits)
    return uniform(weights, bits)


def uniform(weights: Float[Array, "*shape"], bits: Any) -> Float[Array, "*shape"]:
    """[`quantize_uniform`][] for bits that may be traced and are not checked; it differentiates to them."""
    step = uniform_step(weights, bits)
    return step * _round(weights / step)


def uniform_step(weights: Float[Array, "*shape"], bits: Any) -> Float[Array, ""]:
    """s of [`quantize_uniform`][], constant in the weights; of zeros alone, as if the greatest were one."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(weights)))
    return jnp.where(largest > 0, largest, 1) / (2 ** (bits - 1) - 1)


def is_kernel(path: tuple[Any, ...]) -> bool:
    """Whether a parameter is called a kernel, whatever its shape."""
    return any(getattr(entry, "key", None) == "kernel" for entry in path)


def map_kernels(
    function: Callable[[Any], Any], params: Any, *, otherwise: Callable[[Any], Any] = lambda leaf: leaf
) -> Any:
    """Apply a function to every parameter named "kernel", and `otherwise` to the others."""

    def one(path, leaf):
        return function(leaf) if is_kernel(path) else otherwise(leaf)

    return jax.tree_util.tree_map_with_path(one, params)


@dataclass(frozen=True)
class Quantized(OnParameters):
    """Every kernel through a quantiser; see [`quantized`][]."""

    quantizer: Callable[[Array, int], Array]
    bits: int

    def __post_init__(self):
        _check_bits(self.bits)

    def __call__(self, params: Any, key: Any = None) -> Any:
        return map_kernels(lambda kernel: self.quantizer(kernel, self.bits), params)


def quantized(quantizer: Callable[[Array, int], Array], bits: int) -> Quantized:
    """A `transform` for [`jaxsnn.learning.training.fit`][] that trains with quantised kernels.

    The trained network keeps its weights in full precision, and
    [`apply_transform`][jaxsnn.learning.transform.apply_transform] rounds them:

    ```
    transform = quantized(quantize_uniform, 4)
    fit(network, dataset, config, transform=transform)
    four_bits = apply_transform(network, transform)
    ```

    **Raises:** `ValueError` for bits that are not a whole number of at least 2.
    """
    return Quantized(quantizer, bits)


class MintQuantizer(nnx.Module):
    """`q(x) = α/n · round(n·clip(tanh(x)/α, ±1))`, n = 2^(b−1) − 1, α learnt, straight-through.

    Yin et al., MINT, 2023: one α per layer, shared by its weights and its membrane, so that the scale cancels
    in integer arithmetic.

    **Arguments:** `bits`: b, at least 2. `alpha`: where α starts, above zero.
    """

    def __init__(self, bits: int, *, alpha: float = 1.0):
        _check_bits(bits)
        if not is_positive(alpha):
            raise ValueError(f"alpha scales a quantiser and must be positive and finite, got {alpha}.")
        self.bits = bits
        self.alpha = nnx.Param(jnp.float32(alpha))

    @property
    def step(self) -> Float[Array, ""]:
        """α/n, from one level to the next, be the outermost levels taken or not."""
        return self.alpha[...] / (2 ** (self.bits - 1) - 1)

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        n = 2 ** (self.bits - 1) - 1
        alpha = self.alpha[...].astype(x.dtype)
        return alpha / n * _round(n * _clipped(jnp.tanh(x) / alpha))


class Settled(nnx.Module):
    """A quantiser that has done its work: the kernel beside it holds quantised weights of `bits` bits.

    `step` is the distance of their levels; None if the greatest weight is the highest of them.
    """

    def __init__(self, bits: Any, step: Any = None):
        self.bits = bits if isinstance(bits, int) else nnx.data(bits)
        self.step = nnx.data(step)

    def __call__(self, kernel: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return kernel


def settled(network: Network) -> Network:
    """A copy of a network whose kernels are what their quantisers make of them, and are quantised no more.

    What changes a kernel after that, as the devices of a chip do, stays. Gradients flow to the weights
    behind, and records still tell the bits.
    """
    result = nnx.clone(network)
    for _, module in nnx.iter_graph(result):
        if isinstance(module, Conv | Linear) and module.quantizer is not None:
            quantizer = module.quantizer
            module.kernel[...] = quantizer(module.kernel[...])
            module.quantizer = Settled(quantizer.bits, getattr(quantizer, "step", None))
    return result


_LEAK = _THRESHOLD = 0.5
"""Of the paper."""


class MintLIF(LIF):
    """A [`LIF`][] that keeps its potential in few bits from one timestep to the next:

    ```
    u = v₋₁ + I                 (Integration.AVERAGE weighs the current by 1 − λ)
    o = 1 if u > θ else 0
    v = q(λ·u⁺ + (1 − λ)·u_rest)    (u⁺: u after the reset)
    ```

    The comparison sees the whole sum and the memory 2^b − 1 levels, whatever the reset (published code of Yin
    et al., MINT, 2023, where u_rest = 0). Its state is v, and begins at q(u_rest). A rest counts in the steps
    of q: one that draws by less than half of them does not move v.

    **Arguments:** `quantizer`: q, also of the weights before it; the others as for [`LIF`][].
    """

    def __init__(
        self, quantizer: MintQuantizer, *, leak: Values = _LEAK, threshold: Values = _THRESHOLD, **options
    ):
        super().__init__(leak=leak, threshold=threshold, **options)
        self.quantizer = quantizer

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Any:
        return self.quantizer(super().initial_state(shape, dtype))

    def rescale(self, factor: float) -> None:
        Neuron.rescale(self, factor)  # The levels of q would have to scale along.

    def __call__(
        self, current: Float[Array, "*shape"], state: Float[Array, "*shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        leak, threshold = self._constants(state.dtype)
        spikes, potential = self._fire(state + self._drive(leak, current, state.dtype), threshold)
        return spikes.astype(current.dtype), self.quantizer(self._left(leak, potential))


def to_mint(network: Network, bits: int) -> Network:
    """A copy of a network with MINT: weights, and membranes of spiking layers, of `bits` bits.

    Its neurons become [`MintLIF`][] with θ = λ = 0.5 as in the paper, and keep their reset, its gradient, the
    integration, the surrogate, the rest and whether they fire at u = θ.

    **Arguments:** `network`: left as it is. `bits`: of a weight and of a potential, at least 2.

    **Returns:** a [`jaxsnn.network.Network`][].

    **Raises:** `ValueError` for layers that are not plain blocks, as their membranes are not their own, for
    spiking neurons other than [`LIF`][] and [`IF`][], and for a rest that is not below the new θ.
    """
    require_reachable(network, "quantising", "quantise the network before it is programmed")
    result = nnx.clone(network)
    for layer in result.layers:
        if not isinstance(layer, Block):
            raise ValueError(f"a {type(layer).__name__} cannot be quantised; only plain blocks can.")
        quantizer = MintQuantizer(bits)
        layer.synapse.quantizer = quantizer
        if layer.neuron.spiking:
            layer.neuron = _mint_neuron(layer.name, layer.neuron, quantizer)
    return result


def _mint_neuron(name: str, neuron: Neuron, quantizer: MintQuantizer) -> MintLIF:
    if not isinstance(neuron, LIF) or type(neuron) not in (LIF, IF):  # Subclasses do more than a MintLIF.
        raise ValueError(
            f"layer {name!r}: a {type(neuron).__name__} has no counterpart in MINT; use LIF or IF neurons."
        )
    rest = neuron.rest if isinstance(neuron.rest, float) else np.asarray(neuron.rest[...])
    if np.max(rest) >= _THRESHOLD:
        raise ValueError(
            f"layer {name!r}: its rest of {np.max(rest):g} would fire by itself, as MINT has a threshold of "
            f"{_THRESHOLD}; give it a rest below that."
        )
    return MintLIF(
        quantizer,
        leak=_LEAK,
        threshold=_THRESHOLD,
        rest=rest,
        inclusive=neuron.inclusive,
        reset=neuron.reset,
        detach_reset=neuron.detach_reset,
        integration=neuron.integration,
        surrogate=neuron.surrogate,
    )
