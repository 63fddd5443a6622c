"""What the builders of networks share: sizes under a width factor, normalisation that fits its neurons."""

from collections.abc import Callable
from functools import partial

from jaxsnn.checks import is_positive
from jaxsnn.neuron import Neuron
from jaxsnn.normalization import Normalization, TdBN


def scaled(size: int, width: float) -> int:
    """A hidden layer's size times the width factor, rounded, at least 1.

    **Raises:** `ValueError` for a factor that is not positive and finite.
    """
    if not is_positive(width):
        raise ValueError(
            f"width is a factor on the hidden sizes and must be positive and finite, got {width}."
        )
    return max(1, round(size * width))


def normalization(
    norm: Callable[[int], Normalization] | None, channels: int, neuron: Neuron, branches: int = 1
) -> Normalization | None:
    """`norm(channels)` for the currents of a neuron, or None.

    [`TdBN`][], also as a `partial`, is told what it depends on, unless the `partial` says otherwise: θ, the
    neuron's threshold (a learnt one's at the start, 1 where there is none), and α = 1/√branches, so that the
    sum of that many independent branches has the standard deviation θ (Zheng et al., tdBN, 2021).
    """
    if norm is None:
        return None
    given = norm.keywords if isinstance(norm, partial) else {}
    if (norm.func if isinstance(norm, partial) else norm) is not TdBN:
        return norm(channels)
    fitting = {"threshold": getattr(neuron, "threshold", 1.0), "alpha": branches**-0.5}
    return TdBN(channels, **(fitting | given))
