"""The constants of a layer's neurons: one number for all, or one for each."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array


class Constant(nnx.Variable):
    """A constant that differs between neurons: it is neither trained nor put on a chip."""


Values = int | float | np.number | np.ndarray | Array
"""One number for all neurons of a layer, or an array that broadcasts against their potentials."""


def as_constant(value: Values) -> Any:
    """A number as it is, and an array as a [`Constant`][]."""
    if np.ndim(value) == 0:
        return float(value)
    return nnx.data(Constant(jnp.asarray(value, jnp.result_type(float))))


def read(constant: Any, dtype: Any) -> Any:
    """A number as it is, and a [`Constant`][] as an array of the dtype."""
    return constant[...].astype(dtype) if isinstance(constant, nnx.Variable) else constant


def rescale(neuron: nnx.Module, name: str, factor: float) -> None:
    """Multiplies a constant of a neuron."""
    constant = getattr(neuron, name)
    if isinstance(constant, nnx.Variable):
        constant[...] = constant[...] * factor
    else:
        setattr(neuron, name, constant * factor)


def drawn(value: Array, leak: Any, rest: Any) -> Array:
    """A value plus (1 − λ)·u_rest, by which the leak draws a potential to rest; itself where rest is zero."""
    if isinstance(rest, float) and rest == 0:
        return value
    return value + (1 - leak) * read(rest, value.dtype)


def offender(values: Values, good: Any) -> Any:
    """The first of the values that is not good, or None; traced values are let through."""
    if isinstance(values, jax.core.Tracer):
        return None
    if np.asarray(values).dtype.kind not in "biuf" and not isinstance(values, jax.Array):
        raise ValueError(f"constants of neurons are numbers, got {values!r}.")
    array = np.asarray(values, np.float64)
    wrong = array[~(np.isfinite(array) & good(array))]
    return wrong.ravel()[0] if wrong.size else None


def check_leak(leak: Values) -> None:
    wrong = offender(leak, lambda values: (values >= 0) & (values <= 1))
    if wrong is not None:
        raise ValueError(
            f"leak is the fraction λ of the potential that stays and must lie in [0, 1], got {wrong}."
        )


def check_threshold(threshold: Values) -> None:
    wrong = offender(threshold, lambda values: values > 0)
    if wrong is not None:
        raise ValueError(f"threshold must be positive and finite, got {wrong}.")


def check_rest(rest: Values) -> None:
    wrong = offender(rest, lambda values: np.isfinite(values))
    if wrong is not None:
        raise ValueError(f"rest, the potential that the leak draws to, must be finite, got {wrong}.")


def full(shape: tuple[int, ...], value: Any, dtype: Any) -> Array:
    """Potentials at rest, in at least float32."""
    wide = dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32
    return jnp.broadcast_to(jnp.asarray(read(value, wide), wide), shape)
