"""A leaky synapse before a neuron."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jaxsnn.neuron._base import Neuron
from jaxsnn.neuron._constants import read


class BehindSynapse(Neuron):
    """`i = λ_i·i + I`, and i drives, in the same timestep, the neuron whose class stands beside it.

    To be named before that class; λ_i is `current_leak`. The state is (i, that of the neuron).
    """

    current_leak: Any

    def _kept(self, dtype: Any) -> Any:
        return read(self.current_leak, dtype)

    def initial_state(self, shape: tuple[int, ...], dtype=jnp.float32) -> Any:
        rest = super().initial_state(shape, dtype)
        return jnp.zeros_like(rest), rest

    def __call__(self, current: Array, state: Any) -> tuple[Array, Any]:
        synaptic, potential = state
        synaptic = self._kept(synaptic.dtype) * synaptic + current.astype(synaptic.dtype)
        out, potential = super().__call__(synaptic, potential)
        return out.astype(current.dtype) if self.spiking else out, (synaptic, potential)
