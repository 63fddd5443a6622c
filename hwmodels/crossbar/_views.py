"""What a convolution's kernel sees of its inputs."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def views(
    x: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int] | None = None,
) -> list[Array]:
    """What each position of a kernel sees, for every output: maps (batch, spatial ..., channels).

    In the order of the spatial axes of a kernel; a kernel without any sees the inputs themselves. Slices,
    since XLA's own patches are a convolution with an identity.
    """
    dilation = (1,) * len(kernel) if dilation is None else dilation
    if x.ndim != len(kernel) + 2 or len(stride) != len(kernel) or len(padding) != len(kernel):
        raise ValueError(
            f"a convolution with a kernel of {len(kernel)} spatial axes needs inputs of "
            f"{len(kernel) + 2} axes, and a stride and a padding for each; got inputs of shape {x.shape}."
        )
    if any(min(pair) < 0 for pair in padding):
        raise ValueError(f"padding must be zero or more, got {padding}.")
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    extents = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
    counts = [
        (size - extent) // step + 1 for size, extent, step in zip(x.shape[1:-1], extents, stride, strict=True)
    ]
    if any(count < 1 for count in counts):
        raise ValueError(
            f"a kernel of {tuple(kernel)} does not fit maps of {x.shape[1:-1]}, padding included."
        )
    seen = []
    for position in np.ndindex(*kernel):
        start = [index * step for index, step in zip(position, dilation, strict=True)]
        stop = [
            first + (count - 1) * step + 1 for first, count, step in zip(start, counts, stride, strict=True)
        ]
        seen.append(jax.lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *stride, 1)))
    return seen
