"""Weight bit widths that are learnt, one for each layer."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxsnn.layers import require_reachable
from jaxsnn.learning.quantization import uniform
from jaxsnn.network import Network


class LearntBits(nnx.Module):
    r"""A symmetric uniform quantiser whose number of bits is a parameter.

    $b = \mathrm{round}(b_0 − ½ + (b_1 − b_0 + 1)·σ(g·a))$ with the parameter a, so that every whole number
    from b₀ to b₁ is reached and none beyond. The rounding is straight-through, hence the forward pass always
    has whole bits, and the step $s = \max|w|/(2^{b−1} − 1)$ passes a gradient to b.

    **Arguments:**

    - `bits`: where b starts.
    - `least`, `most`: b₀ and b₁, at least 2.
    - `gain`: g; Adam moves a by about the learning rate each step, and a range of bits needs longer steps
      than a weight.

    **Raises:** `ValueError` for bits outside `least` … `most`, for `least` below 2, and for a gain that is
    not positive.

    Source: the straight-through bit width of Uhlich et al., "Mixed precision DNNs", ICLR 2020, here with a
    bounded parameter.
    """

    def __init__(self, bits: int = 8, *, least: int = 2, most: int = 8, gain: float = 20.0):
        if not 2 <= least <= bits <= most:
            raise ValueError(
                f"bits must lie in least … most, and least be at least 2; got {bits} in {least} … {most}."
            )
        if not gain > 0:
            raise ValueError(f"gain must be positive, got {gain}.")
        self.least, self.most, self.gain = least, most, gain
        share = (bits - least + 0.5) / (most - least + 1)
        self.raw = nnx.Param(jnp.asarray(math.log(share / (1 - share)) / gain, jnp.result_type(float)))

    @property
    def bits(self) -> Float[Array, ""]:
        """The whole number b; it differentiates to the parameter."""
        share = jax.nn.sigmoid(self.gain * self.raw[...])
        relaxed = self.least - 0.5 + (self.most - self.least + 1) * share
        # At the very ends the nearest whole number may lie just outside.
        whole = jnp.clip(jnp.round(relaxed), self.least, self.most)
        return relaxed + jax.lax.stop_gradient(whole - relaxed)

    def __call__(self, weights: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return uniform(weights, self.bits.astype(weights.dtype))


def with_learnt_bits(network: Network, quantizer: Callable[[], LearntBits] = LearntBits) -> Network:
    """A copy of a network whose layers each learn a bit width of their own.

    **Arguments:** `network`: left as it is. `quantizer`: makes that of one layer, e.g.
    `partial(LearntBits, bits=6)`.

    **Returns:** a network with a [`LearntBits`][] at every layer of weights.

    **Raises:** `ValueError` for a network that has quantisers already.
    """
    require_reachable(network, "quantising", "quantise the network before it is programmed")
    result = nnx.clone(network)
    synapses = [module for _, module in nnx.iter_graph(result) if hasattr(module, "quantizer")]
    if any(synapse.quantizer is not None for synapse in synapses):
        raise ValueError("the network's weights are quantised already; start from one without quantisers.")
    for synapse in synapses:
        synapse.quantizer = quantizer()
    return result
