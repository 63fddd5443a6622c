"""Leaky integrate-and-fire neurons with fixed constants."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxsnn.checks import require_count
from jaxsnn.neuron._base import Integration, Neuron, Reset
from jaxsnn.neuron._constants import (
    Values,
    as_constant,
    check_leak,
    check_rest,
    check_threshold,
    drawn,
    full,
    read,
    rescale,
)
from jaxsnn.neuron._synapse import BehindSynapse
from jaxsnn.surrogate import Surrogate, Triangular, spike


def _fire(potential, threshold, reset: Reset, detach_reset: bool, surrogate: Surrogate, inclusive: bool):
    spikes = spike(potential, threshold, surrogate, inclusive)
    feedback = jax.lax.stop_gradient(spikes) if detach_reset else spikes
    if reset is Reset.ZERO:
        potential = potential * (1 - feedback)
    elif reset is Reset.SUBTRACT:
        potential = potential - threshold * feedback
    return spikes, potential


class LIF(Neuron):
    """A leaky integrate-and-fire neuron; in one timestep it adds, then fires, then resets:

    ```
    u  = λ·u⁺₋₁ + (1 − λ)·u_rest + I    (Integration.SUM; AVERAGE weighs the current by 1 − λ)
    o  = 1 if u > θ else 0
    u⁺ = u·(1 − o)              (Reset.ZERO; see `Reset` for the others)
    ```

    Eqs. 1 and 2 of Bhattacharjee et al. with their reset to zero and their surrogate (eq. 3).

    **Arguments:**

    - `leak`: λ in [0, 1]; 1 keeps everything. This, θ and u_rest are numbers, or arrays that broadcast
      against the potentials (batch, ...), e.g. one value per channel.
    - `threshold`: θ > 0, in the units of the current.
    - `reset`: a [`Reset`][].
    - `detach_reset`: the spike in the reset passes no gradient (as in the authors' code); False lets the
      surrogate act there too.
    - `integration`: an [`Integration`][].
    - `surrogate`: the derivative of the spike.
    - `rest`: u_rest, to which the leak draws the potential and at which it starts.
    - `inclusive`: fire at u ≥ θ, as SpikingJelly and sinabs do, and not at u > θ alone.

    **Raises:** `ValueError` for a leak outside [0, 1], a threshold that is not positive, a rest that is not
    finite.
    """

    leak: Any
    threshold: Any
    rest: Any

    def __init__(
        self,
        *,
        leak: Values = 0.9,
        threshold: Values = 1.0,
        reset: Reset = Reset.ZERO,
        detach_reset: bool = True,
        integration: Integration = Integration.SUM,
        surrogate: Surrogate = Triangular(),
        rest: Values = 0.0,
        inclusive: bool = False,
    ):
        check_leak(leak)
        check_threshold(threshold)
        check_rest(rest)
        self.leak = as_constant(leak)
        self.threshold = as_constant(threshold)
        self.rest = as_constant(rest)
        self.inclusive = inclusive
        self.reset = Reset(reset)
        self.detach_reset = detach_reset
        self.integration = Integration(integration)
        self.surrogate = surrogate

    def __call__(
        self, current: Float[Array, "*shape"], state: Float[Array, "*shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        """`(current, potential) -> (spikes, potential after the reset)`, all of one shape."""
        leak, threshold = self._constants(state.dtype)
        potential = self._left(leak, state) + self._drive(leak, current, state.dtype)
        spikes, state = self._fire(potential, threshold)
        return spikes.astype(current.dtype), state

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Any:
        return full(shape, self.rest, dtype)

    def rescale(self, factor: float) -> None:
        for name in ("threshold", "rest"):
            rescale(self, name, factor)

    def _left(self, leak, state):
        """What the leak leaves of the potential."""
        return drawn(leak * state, leak, self.rest)

    def _drive(self, leak, current, dtype):
        drive = current.astype(dtype)
        return (1 - leak) * drive if self.integration is Integration.AVERAGE else drive

    def _fire(self, potential, threshold):
        return _fire(potential, threshold, self.reset, self.detach_reset, self.surrogate, self.inclusive)

    def _constants(self, dtype):
        """λ and θ."""
        return read(self.leak, dtype), read(self.threshold, dtype)


class IF(LIF):
    """An integrate-and-fire neuron, `u = u⁺₋₁ + I`: [`LIF`][] without leak (λ = 1).

    **Arguments:** as for [`LIF`][].
    """

    def __init__(
        self,
        *,
        threshold: Values = 1.0,
        reset: Reset = Reset.ZERO,
        detach_reset: bool = True,
        surrogate: Surrogate = Triangular(),
        inclusive: bool = False,
    ):
        super().__init__(
            leak=1.0,
            threshold=threshold,
            reset=reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
            inclusive=inclusive,
        )


class CubaLIF(BehindSynapse, LIF):
    """[`LIF`][] behind a leaky synapse: `i = λ_i·i + I`, and i drives the potential in the same timestep.

    **Arguments:** `current_leak`: λ_i in [0, 1]; the others as for [`LIF`][]. Its state is (i, u).
    """

    def __init__(self, *, current_leak: Values = 0.5, **options):
        super().__init__(**options)
        check_leak(current_leak)
        self.current_leak = as_constant(current_leak)


class SharedLIF(LIF):
    """Channel groups that take turns on one membrane potential of 1/groups of the channels.

    Within a timestep the n slices of the channels run in order, `u_k = λ·u⁺_{k−1} + I_k`, each going on from
    the potential that the slice before it left, and the first from what the last left a timestep ago (Kim et
    al., EfficientLIF-Net, 2023, cross-channel sharing C#n; they use `Integration.AVERAGE`).

    **Arguments:** `groups`: n, which must divide the channels; the others as for [`LIF`][].
    """

    def __init__(self, groups: int, **options):
        super().__init__(**options)
        require_count("groups", groups)
        if any(isinstance(value, nnx.Variable) for value in (self.leak, self.threshold, self.rest)):
            raise ValueError(
                "channels that share a membrane share its leak, threshold and rest; give numbers."
            )
        self.groups = groups

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
        if shape[-1] % self.groups:
            raise ValueError(f"{self.groups} groups do not divide {shape[-1]} channels.")
        return super().initial_state((*shape[:-1], shape[-1] // self.groups), dtype)

    def __call__(self, current: Array, state: Array) -> tuple[Array, Array]:
        spikes = []
        for part in jnp.split(current, self.groups, axis=-1):
            out, state = super().__call__(part, state)
            spikes.append(out)
        return jnp.concatenate(spikes, axis=-1), state
