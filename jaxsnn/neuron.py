"""Neurons that hold no hidden state: `initial_state(shape, dtype)` and `(current, state) -> (out, state)`."""

import enum
import math
from typing import Any

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

    `spiking` says whether the output is zeros and ones, which is what a chip's spike-driven layers rely on;
    `accumulates`, whether it is a sum over all timesteps so far, as a readout's potential is.
    """

    spiking = True
    accumulates = False

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Any:
        """The potential at rest, zeros in the shape of the current and in at least float32."""
        return jnp.zeros(shape, dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32)

    def potential(self, state: Any) -> Array:
        """The membrane potential in a state: by default the last of its parts; of shape () without one."""
        parts = jax.tree.leaves(state)
        return parts[-1] if parts else jnp.zeros(())

    def __call__(self, current: Array, state: Any) -> tuple[Array, Any]:
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
        surrogate: Surrogate = Triangular(),
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
        leak, _ = self._constants(state.dtype)
        return self._step(current, leak * state)

    def _step(self, current, left):
        """One timestep from what the leak left of the potential."""
        leak, threshold = self._constants(left.dtype)
        drive = current.astype(left.dtype)
        if self.integration is Integration.AVERAGE:
            drive = (1 - leak) * drive
        spikes, state = _fire(left + drive, threshold, self.reset, self.detach_reset, self.surrogate)
        return spikes.astype(current.dtype), state

    def _constants(self, dtype):
        """λ and θ."""
        return self.leak, self.threshold


class IF(LIF):
    """An integrate-and-fire neuron: [`LIF`][] without leak (λ = 1)."""

    def __init__(
        self,
        *,
        threshold: float = 1.0,
        reset: Reset = Reset.ZERO,
        detach_reset: bool = True,
        surrogate: Surrogate = Triangular(),
    ):
        super().__init__(
            leak=1.0, threshold=threshold, reset=reset, detach_reset=detach_reset, surrogate=surrogate
        )


class CubaLIF(LIF):
    """[`LIF`][] behind a leaky synapse: `i = λ_i·i + I`, and i drives the potential in the same timestep.

    **Arguments:** `current_leak`: λ_i in [0, 1]; the others as for [`LIF`][]. Its state is (i, u).
    """

    def __init__(self, *, current_leak: float = 0.5, **options):
        super().__init__(**options)
        _check_leak(current_leak)
        self.current_leak = current_leak

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Any:
        rest = super().initial_state(shape, dtype)
        return rest, rest

    def __call__(self, current: Array, state: Any) -> tuple[Array, Any]:
        synaptic, potential = state
        synaptic = self.current_leak * synaptic + current.astype(synaptic.dtype)
        spikes, potential = super().__call__(synaptic, potential)
        return spikes.astype(current.dtype), (synaptic, potential)


class SharedLIF(LIF):
    """Channel groups that take turns on one membrane potential of 1/groups of the channels.

    Within a timestep the n slices of the channels run in order, `u_k = λ·u⁺_{k−1} + I_k`, each going on from
    the potential that the slice before it left, and the first from what the last left a timestep ago (Kim et
    al., EfficientLIF-Net, 2023, cross-channel sharing C#n; they use `Integration.AVERAGE`).

    **Arguments:** `groups`: n, which must divide the channels; the others as for [`LIF`][].
    """

    def __init__(self, groups: int, **options):
        super().__init__(**options)
        if groups < 1:
            raise ValueError(f"groups must be at least 1, got {groups}.")
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


class ParametricLIF(LIF):
    """[`LIF`][] whose leak and threshold are learnt, one of each per layer.

    λ = sigmoid(a) stays in (0, 1) and θ = softplus(b) stays positive, a and b being the parameters (Fang et
    al., PLIF, 2021, for the leak; Rathi and Roy, DIET-SNN, 2020, for the threshold).

    **Arguments:**

    - `leak`, `threshold`: where they start; the leak strictly between 0 and 1.
    - `learn_leak`, `learn_threshold`: which of them are parameters.
    - the others as for [`LIF`][].
    """

    def __init__(
        self,
        *,
        leak: float = 0.5,
        threshold: float = 1.0,
        learn_leak: bool = True,
        learn_threshold: bool = True,
        **options,
    ):
        super().__init__(leak=leak, threshold=threshold, **options)
        if not 0 < leak < 1:
            raise ValueError(f"a learnt leak must lie strictly between 0 and 1, got {leak}.")
        self.leak_logit = nnx.Param(jnp.float32(math.log(leak / (1 - leak)))) if learn_leak else None
        raw = threshold + math.log(-math.expm1(-threshold))  # softplus⁻¹
        self.threshold_raw = nnx.Param(jnp.float32(raw)) if learn_threshold else None

    def _constants(self, dtype):
        leak: Any = self.leak
        threshold: Any = self.threshold
        if self.leak_logit is not None:
            leak = jax.nn.sigmoid(self.leak_logit[...].astype(dtype))
        if self.threshold_raw is not None:
            threshold = jax.nn.softplus(self.threshold_raw[...].astype(dtype))
        return leak, threshold


class Readout(Neuron):
    """The output layer: it accumulates `u = λ·u + I` and never fires (eq. 4, output case).

    With the default λ = 1, u_T / T is the mean current. Its output is the potential itself.
    """

    spiking = False
    accumulates = True

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
