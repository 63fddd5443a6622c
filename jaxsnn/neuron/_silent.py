"""What does not fire: readouts, the ANN twin's activation, and no neurons at all."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnn.neuron._base import Neuron
from jaxsnn.neuron._constants import Values, as_constant, check_leak, check_rest, drawn, full, read
from jaxsnn.neuron._synapse import BehindSynapse


class Readout(Neuron):
    """The output layer: it accumulates `u = λ·u + I` and never fires (eq. 4, output case).

    With the default λ = 1, u_T / T is the mean current. Its output is the potential itself.

    **Arguments:** `leak`: λ in [0, 1]; `rest`: u_rest, to which the leak draws the potential and at which it
    starts; both numbers or arrays as for [`LIF`][].
    """

    spiking = False
    accumulates = True

    def __init__(self, *, leak: Values = 1.0, rest: Values = 0.0):
        check_leak(leak)
        check_rest(rest)
        self.leak: Any = as_constant(leak)
        self.rest: Any = as_constant(rest)

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Any:
        return full(shape, self.rest, dtype)

    def __call__(
        self, current: Float[Array, "*shape"], state: Float[Array, "*shape"]
    ) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
        leak = read(self.leak, state.dtype)
        state = leak * state + drawn(current.astype(state.dtype), leak, self.rest)
        return state, state


class CubaReadout(BehindSynapse, Readout):
    """[`Readout`][] behind a leaky synapse, `i = λ_i·i + I`: NIR's CubaLI. Its state is (i, u).

    **Arguments:** `current_leak`: λ_i in [0, 1]; the others as for [`Readout`][].
    """

    def __init__(self, *, current_leak: Values = 0.5, **options):
        super().__init__(**options)
        check_leak(current_leak)
        self.current_leak = as_constant(current_leak)


class Identity(Neuron):
    """No neurons: the currents go on as they are."""

    spiking = False

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
        return jnp.zeros((), dtype)

    def __call__(self, current: Array, state: Array) -> tuple[Array, Array]:
        return current, state


class ReLU(Neuron):
    """The ANN twin's activation `max(0, I)`; it carries no state."""

    spiking = False

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
        return jnp.zeros((), dtype)

    def __call__(self, current: Float[Array, "*shape"], state: Array) -> tuple[Float[Array, "*shape"], Array]:
        return jax.nn.relu(current), state
