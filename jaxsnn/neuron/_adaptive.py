"""A neuron whose threshold follows its own spikes."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jaxsnn.neuron._constants import Values, as_constant, check_leak, offender, read, rescale
from jaxsnn.neuron._lif import LIF


class AdaptiveLIF(LIF):
    """[`LIF`][] whose threshold rises with its own spikes:

    ```
    o  = 1 if u > θ + β·a else 0
    a⁺ = ρ·a + o
    ```

    (Bellec et al., LSNN, 2018.) A reset by subtraction takes the threshold as it was. Its state is (u, a).

    **Arguments:** `adaptation`: β ≥ 0, what a spike adds to the threshold; `adaptation_leak`: ρ in [0, 1],
    what stays of it after a timestep; both numbers or arrays; the others as for [`LIF`][].

    **Raises:** `ValueError` for a β that is negative, and as [`LIF`][].
    """

    def __init__(self, *, adaptation: Values = 0.2, adaptation_leak: Values = 0.97, **options):
        super().__init__(**options)
        check_leak(adaptation_leak)
        wrong = offender(adaptation, lambda values: values >= 0)
        if wrong is not None:
            raise ValueError(f"adaptation is what a spike adds to the threshold, at least 0; got {wrong}.")
        self.adaptation = as_constant(adaptation)
        self.adaptation_leak = as_constant(adaptation_leak)

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Any:
        rest = super().initial_state(shape, dtype)
        return rest, jnp.zeros_like(rest)

    def potential(self, state: Any) -> Array:
        return state[0]

    def rescale(self, factor: float) -> None:
        super().rescale(factor)
        rescale(self, "adaptation", factor)

    def __call__(self, current: Array, state: Any) -> tuple[Array, Any]:
        potential, adapted = state
        dtype = potential.dtype
        leak, threshold = self._constants(dtype)
        potential = self._left(leak, potential) + self._drive(leak, current, dtype)
        spikes, potential = self._fire(potential, threshold + read(self.adaptation, dtype) * adapted)
        adapted = read(self.adaptation_leak, dtype) * adapted + spikes
        return spikes.astype(current.dtype), (potential, adapted)
