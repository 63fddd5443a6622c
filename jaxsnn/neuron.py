"""Neurons that hold no hidden state: `initial_state(shape, dtype)` and `(current, state) -> (out, state)`."""

import enum
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxsnn.surrogate import Surrogate, Triangular, spike


class Reset(enum.Enum):
    """What a spike does to the potential, after it was compared with the threshold.

    `ZERO`: u⁺ = u·(1 − o). `SUBTRACT`: u⁺ = u − θ·o. `NONE`: u⁺ = u.
    """

    ZERO = "zero"
    SUBTRACT = "subtract"
    NONE = "none"


class Integration(enum.Enum):
    """How the current enters the potential. `SUM`: u = λ·u + I. `AVERAGE`: u = λ·u + (1 − λ)·I."""

    SUM = "sum"
    AVERAGE = "average"


class Neuron(nnx.Module):
    """One timestep of a layer of neurons as a pure function; subclasses define `__call__`.

    `spiking` says whether the output is zeros and ones, which is what a chip's spike-driven layers rely on.
    """

    spiking = True

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
        """The potential at rest, zeros in the shape of the current and in at least float32."""
        return jnp.zeros(shape, dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32)

    def __call__(self, current: Array, state: Array) -> tuple[Array, Array]:
        raise NotImplementedError


def _fire(potential, threshold, reset: Reset, detach_reset: bool, surrogate: Surrogate):
    spikes = spike(potential, threshold, surrogate)
    feedback = jax.lax.stop_gradient(spikes) if detach_reset else spikes
    if reset is Reset.ZERO:
        potential = potential * (1 - feedback)
    elif reset is Reset.SUBTRACT:
        potential = potential - threshold * feedback
    return spikes, potential


def _check_leak(leak: float) -> None:
    if not (math.isfinite(leak) and 0 <= leak <= 1):
        raise ValueError(
            f"leak is the fraction λ of the potential that stays and must lie in [0, 1], got {leak}."
        )


def _check_threshold(threshold: float) -> None:
    if not (math.isfinite(threshold) and threshold > 0):
        raise ValueError(f"threshold must be positive and finite, got {threshold}.")


class LIF(Neuron):
    """A leaky integrate-and-fire neuron; in one timestep it adds, then fires, then resets:

    ```
    u  = λ·u⁺₋₁ + I             (Integration.SUM; AVERAGE weighs the current by 1 − λ)
    o  = 1 if u > θ else 0
    u⁺ = u·(1 − o)              (Reset.ZERO; see `Reset` for the others)
    ```

    Eqs. 1 and 2 of Bhattacharjee et al. with their reset to zero and their surrogate (eq. 3).

    **Arguments:**

    - `leak`: λ in [0, 1]; 1 keeps everything.
    - `threshold`: θ > 0, in the units of the current.
    - `reset`: a [`Reset`][].
    - `detach_reset`: the spike in the reset passes no gradient (as in the authors' code); False lets the
      surrogate act there too.
    - `integration`: an [`Integration`][].
    - `surrogate`: the derivative of the spike.

    **Raises:** `ValueError` for a leak outside [0, 1] and a threshold that is not positive.
    """

    def __init__(
        self,
        *,
        leak: float = 0.9,
        threshold: float = 1.0,
        reset: Reset = Reset.ZERO,
        detach_reset: bool = True,
        integration: Integration = Integration.SUM,
        surrogate: Surrogate = Triangular(),  # noqa: B008 (frozen)
    ):
        _check_leak(leak)
        _check_threshold(threshold)
        self.leak = leak
        self.threshold = threshold
        self.reset = Reset(reset)
        self.detach_reset = detach_reset
        self.integration = Integration(integration)
        self.surrogate = surrogate

    def __call__(
        self, current: Float[Array, "*shape"], state: Float[Array, "*shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """`(current, potential) -> (spikes, potential after the reset)`, all of one shape."""
        drive = current.astype(state.dtype)
        if self.integration is Integration.AVERAGE:
            drive = (1 - self.leak) * drive
        spikes, state = _fire(
            self.leak * state + drive, self.threshold, self.reset, self.detach_reset, self.surrogate
        )
        return spikes.astype(current.dtype), state


class IF(LIF):
    """An integrate-and-fire neuron: [`LIF`][] without leak (λ = 1)."""

    def __init__(
        self,
        *,
        threshold: float = 1.0,
        reset: Reset = Reset.ZERO,
        detach_reset: bool = True,
        surrogate: Surrogate = Triangular(),  # noqa: B008 (frozen)
    ):
        super().__init__(
            leak=1.0, threshold=threshold, reset=reset, detach_reset=detach_reset, surrogate=surrogate
        )


class Readout(Neuron):
    """The output layer: it accumulates `u = λ·u + I` and never fires (eq. 4, output case).

    With the default λ = 1, u_T / T is the mean current. Its output is the potential itself.
    """

    spiking = False

    def __init__(self, *, leak: float = 1.0):
        _check_leak(leak)
        self.leak = leak

    def __call__(
        self, current: Float[Array, "*shape"], state: Float[Array, "*shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        state = self.leak * state + current.astype(state.dtype)
        return state, state


class ReLU(Neuron):
    """The ANN twin's activation `max(0, I)`; it carries no state."""

    spiking = False

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
        return jnp.zeros((), dtype)

    def __call__(self, current: Float[Array, "*shape"], state: Array) -> tuple[Float[Array, "*shape"], Array]:
        return jax.nn.relu(current), state
