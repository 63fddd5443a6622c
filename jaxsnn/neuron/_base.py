"""What every neuron is: `initial_state(shape, dtype)` and `(current, state) -> (out, state)`."""

import enum
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array


class Reset(enum.Enum):
    """What a spike does to the potential, after it was compared with the threshold.

    `ZERO`: u⁺ = u·(1 − o). `SUBTRACT`: u⁺ = u − θ·o. `NONE`: u⁺ = u.
    """

    ZERO = "zero"
    SUBTRACT = "subtract"
    NONE = "none"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(_unknown("reset", cls, value))


class Integration(enum.Enum):
    """How the current enters the potential. `SUM`: u = λ·u + I. `AVERAGE`: u = λ·u + (1 − λ)·I."""

    SUM = "sum"
    AVERAGE = "average"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(_unknown("integration", cls, value))


def _unknown(name: str, words: type[enum.Enum], value: object) -> str:
    return f"{name} must be one of {', '.join(repr(word.value) for word in words)}, got {value!r}."


class Neuron(nnx.Module):
    """One timestep of a layer of neurons as a pure function; subclasses define `__call__`.

    `spiking` says whether the output is zeros and ones, which is what a chip's spike-driven layers rely on,
    and training with `remat`, which keeps them in a bit each;
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

    def rescale(self, factor: float) -> None:
        """Takes currents that are `factor` times as large for what they were: the spikes stay."""
        raise ValueError(f"a {type(self).__name__} has no plain threshold that could be rescaled.")

    def __call__(self, current: Array, state: Any) -> tuple[Array, Any]:
        raise NotImplementedError
