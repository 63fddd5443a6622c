"""Neurons that other frameworks have by default and that equal none of the usual ones."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxsnn.neuron._base import Neuron, Reset
from jaxsnn.neuron._constants import check_threshold
from jaxsnn.neuron._lif import LIF
from jaxsnn.surrogate import Surrogate, Triangular, spike


class DelayedLIF(LIF):
    """[`LIF`][] whose reset takes effect one timestep after the spike, snnTorch's default for `Leaky`:

    ```
    u = λ·u₋₁ + I − θ·o₋₁       (Reset.SUBTRACT; ZERO: u = λ·u₋₁·(1 − o₋₁) + I)
    o = 1 if u > θ else 0
    ```

    The leak acts on the potential before the reset, so that no [`LIF`][] that resets at once is equal to it.

    **Arguments:** as for [`LIF`][], but the reset subtracts unless said otherwise.
    """

    def __init__(self, *, reset: Reset = Reset.SUBTRACT, **options):
        super().__init__(reset=reset, **options)

    def __call__(self, current: Array, state: Array) -> tuple[Array, Array]:
        leak, threshold = self._constants(state.dtype)
        before = spike(state, threshold, self.surrogate, self.inclusive)
        if self.detach_reset:
            before = jax.lax.stop_gradient(before)
        if self.reset is Reset.ZERO:
            state = (1 - before) * state
        state = self._left(leak, state) + self._drive(leak, current, state.dtype)
        if self.reset is Reset.SUBTRACT:
            state = state - before * jnp.asarray(threshold, state.dtype)
        return spike(state, threshold, self.surrogate, self.inclusive).astype(current.dtype), state


class MultiSpikeIF(Neuron):
    """An integrate-and-fire neuron that fires as often as its potential holds thresholds, sinabs's `IAF`:

    ```
    u  = max(u⁺₋₁ + I, u_min)
    o  = max(⌊u / θ⌋, 0)
    u⁺ = u − θ·o
    ```

    A chip of binary spikes cannot run it in one timestep: `spiking` is False, and costs see a number.

    **Arguments:** `threshold`: θ > 0; `minimum`: u_min, or None for none (sinabs reads −θ from NIR);
    `surrogate`: the derivative of the count, of u and about the next threshold.

    **Raises:** `ValueError` for a threshold that is not positive and a minimum above rest.
    """

    spiking = False

    def __init__(
        self,
        *,
        threshold: float = 1.0,
        minimum: float | None = None,
        surrogate: Surrogate = Triangular(),
    ):
        check_threshold(threshold)
        if minimum is not None and not minimum <= 0:
            raise ValueError(f"minimum must not lie above the potential at rest, 0; got {minimum}.")
        self.threshold, self.minimum, self.surrogate = threshold, minimum, surrogate

    def __call__(self, current: Array, state: Array) -> tuple[Array, Array]:
        potential = state + current.astype(state.dtype)
        if self.minimum is not None:
            potential = jnp.maximum(potential, self.minimum)
        whole = jnp.maximum(jnp.trunc(potential / self.threshold), 0)
        # Forward ⌊u/θ⌋; backward the surrogate's derivative at the distance to the next threshold.
        left = potential - jax.lax.stop_gradient(whole) * self.threshold
        smooth = spike(left, self.threshold, self.surrogate)
        count = jax.lax.stop_gradient(whole - smooth) + smooth
        return count.astype(current.dtype), left
