"""Layers without weights and neurons: pooling, scaling, another order of the values."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from jaxsnn.checks import is_count, require_choice
from jaxsnn.neuron._constants import Values, as_constant, read
from jaxsnn.signal import LayerRecord, Signal


class Operation(nnx.Module):
    """Subclasses define `of`, the signal that a signal becomes; they keep no state and leave no record."""

    accumulates = False

    def of(self, signal: Signal) -> Signal:
        raise NotImplementedError

    def __call__(
        self, signal: Signal, state: Any, *, start: int | Array, training: bool = False
    ) -> tuple[Signal, Any, tuple[LayerRecord, ...]]:
        return self.of(signal), None, ()


def pair(value: Any, name: str, least: int) -> tuple[int, int]:
    """A size as (vertical, horizontal).

    **Raises:** `ValueError` that names the size, for what is neither an integer nor two, or below `least`.
    """
    both = tuple(value) if np.ndim(value) > 0 else (value, value)
    if len(both) != 2 or not all(is_count(side, least) for side in both):
        raise ValueError(f"{name} must be an int or a pair of ints, at least {least}; got {value!r}.")
    return int(both[0]), int(both[1])


class Pool(Operation):
    """The mean, the sum or the largest of each window of channels-last maps; zeros around the map count, but
    not among the largest.

    **Arguments:** `kernel`, `stride` (by default the kernel), `padding`: ints or (vertical, horizontal);
    windows that do not fit are left out. `kind`: "mean", "sum" or "max".

    **Raises:** `ValueError` for sizes below one, an unknown kind, a window larger than the map, and padding
    of "max" beyond half of the window.
    """

    def __init__(
        self,
        kernel: int | Sequence[int],
        *,
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        kind: Literal["mean", "sum", "max"] = "mean",
    ):
        self.kernel = pair(kernel, "kernel", 1)
        self.stride = self.kernel if stride is None else pair(stride, "stride", 1)
        self.padding = pair(padding, "padding", 0)
        require_choice("kind of a pooling", kind, ("mean", "sum", "max"))
        if kind == "max" and any(2 * pad > side for pad, side in zip(self.padding, self.kernel, strict=True)):
            raise ValueError(
                f"padding of max pooling is at most half of its kernel {self.kernel}, got {self.padding}: a "
                "window beyond the map has no largest value."
            )
        self.kind = kind

    @property
    def plain(self) -> bool:
        """Whether its windows are square patches side by side, as those of a block's own pooling."""
        side = self.kernel[0]
        return self.kernel == self.stride == (side, side) and self.padding == (0, 0)

    def of(self, signal: Signal) -> Signal:
        values = self._windows(signal.values, jax.lax.max if self.kind == "max" else jax.lax.add)
        if self.kind == "mean":
            values = values / math.prod(self.kernel)
        activity = signal.activity
        if self.kind == "max":
            # One of them is handed on, as it is.
            return signal.with_values(
                values, None if activity is None else self._windows(activity, jax.lax.max)
            )
        if activity is not None:
            activity = jnp.minimum(self._windows(activity, jax.lax.add), 1)
        pooled = signal.with_values(values, activity)
        return dataclasses.replace(pooled, pool=signal.pool * self.stride[0])

    def _windows(self, x: Array, combine: Callable[[Any, Any], Any]) -> Array:
        padded = [side + 2 * pad for side, pad in zip(x.shape[2:4], self.padding, strict=True)]
        if x.ndim != 5 or any(side < kernel for side, kernel in zip(padded, self.kernel, strict=True)):
            raise ValueError(f"a pooling of {self.kernel} does not fit values of shape {x.shape[2:]}.")
        start = -jnp.inf if combine is jax.lax.max else 0.0
        return jax.lax.reduce_window(
            x,
            jnp.asarray(start, x.dtype) if start == 0 else -jnp.inf,
            combine,
            (1, 1, *self.kernel, 1),
            (1, 1, *self.stride, 1),
            ((0, 0), (0, 0), *((pad, pad) for pad in self.padding), (0, 0)),
        )


class Scale(Operation):
    """Every value times a constant of its own, which is neither trained nor put on a chip.

    **Arguments:** `factor`: a number, or an array that broadcasts against (batch, ...).
    """

    def __init__(self, factor: Values):
        self.factor = as_constant(factor)

    def of(self, signal: Signal) -> Signal:
        return signal.with_values(signal.values * read(self.factor, signal.values.dtype), signal.activity)


class Rearrange(Operation):
    """The values of every input in another order: cut into axes, the axes put in order, and a new shape.

    **Arguments:** `cut`: the shape of an input, or one of as many values; `axes`: their new order; `shape`:
    of the result. All without time and batch.
    """

    def __init__(self, cut: Sequence[int], axes: Sequence[int], shape: Sequence[int]):
        self.cut, self.axes, self.shape = tuple(cut), tuple(axes), tuple(shape)

    @property
    def keeps_order(self) -> bool:
        return self.axes == tuple(range(len(self.axes)))

    def of(self, signal: Signal) -> Signal:
        activity = None if signal.activity is None else self._arranged(signal.activity)
        return signal.with_values(self._arranged(signal.values), activity)

    def _arranged(self, x: Array) -> Array:
        if math.prod(x.shape[2:]) != math.prod(self.cut):
            raise ValueError(f"values of shape {x.shape[2:]} came where {self.cut} were expected.")
        x = x.reshape(*x.shape[:2], *self.cut)
        x = x.transpose(0, 1, *(axis + 2 for axis in self.axes))
        return x.reshape(*x.shape[:2], *self.shape)
