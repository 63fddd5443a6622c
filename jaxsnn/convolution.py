"""A 2-D convolution that is fast on a CPU, its gradients above all."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnn import winograd

_NHWC = ("NHWC", "HWIO", "NHWC")


def convolve_by_xla(x, kernel, stride, padding, groups=1, dilation=(1, 1)):
    """[`convolve`][] as XLA has it on any platform."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        stride,
        [(pad, pad) for pad in padding],
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=_NHWC,
    )


def convolve(
    x: Float[Array, "batch h w c"],
    kernel: Float[Array, "kh kw c_over_groups c2"],
    stride: tuple[int, int],
    padding: tuple[int, int],
    groups: int = 1,
    dilation: tuple[int, int] = (1, 1),
) -> Float[Array, "batch h2 w2 c2"]:
    """`jax.lax.conv_general_dilated` of channels-last maps with symmetric zero padding.

    **Arguments:** `groups`: the channels are cut in so many parts that see nothing of one another;
    `dilation`: the distance between neighbouring taps of the kernel.

    Without groups and dilation it is [`dense`][], which is fast on a CPU.
    """
    if groups == 1 and dilation == (1, 1):
        return dense(x, kernel, stride, padding)
    return convolve_by_xla(x, kernel, stride, padding, groups, dilation)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def dense(
    x: Float[Array, "batch h w c"],
    kernel: Float[Array, "kh kw c c2"],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Float[Array, "batch h2 w2 c2"]:
    """A convolution of all channels with all.

    On a CPU, where XLA's own is slower, a 3×3 convolution of stride 1 and of enough channels runs by
    Winograd's algorithm, and the kernel gradient of any other is one matrix product. It differentiates in
    reverse mode only.
    """
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: _on_cpu(x, kernel, stride, padding),
        default=lambda x, kernel: convolve_by_xla(x, kernel, stride, padding),
    )


def _on_cpu(x, kernel, stride, padding):
    if winograd.suits(kernel, stride):
        return winograd.forward(x, kernel, padding)
    return convolve_by_xla(x, kernel, stride, padding)


def _forward(x, kernel, stride, padding):
    return dense(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, residuals, gradient):
    return jax.lax.platform_dependent(
        *residuals,
        gradient,
        cpu=lambda x, kernel, g: _gradients_on_cpu(x, kernel, g, stride, padding),
        default=lambda x, kernel, g: _gradients(x, kernel, g, stride, padding),
    )


def _gradients(x, kernel, gradient, stride, padding):
    _, pull = jax.vjp(lambda x, kernel: convolve_by_xla(x, kernel, stride, padding), x, kernel)
    return pull(gradient)


def _gradients_on_cpu(x, kernel, gradient, stride, padding):
    if winograd.suits(kernel, stride):
        return winograd.backward(x, kernel, padding, gradient)
    (by_x,) = jax.linear_transpose(lambda x: convolve_by_xla(x, kernel, stride, padding), x)(gradient)
    return by_x, _kernel_gradient(x, gradient, kernel.shape, stride, padding)


dense.defvjp(_forward, _backward)


def _kernel_gradient(x, gradient, shape, stride, padding):
    """Σ over outputs of (the input each kernel position saw) ⊗ (the output's gradient), as one product.

    Column offsets widen the input and row offsets widen the gradient, so that the product has kw·c rows and
    kh·c2 columns: large enough to be fast, and with kw + kh copies instead of kw·kh.
    """
    rows, columns, channels, out_channels = shape
    width = gradient.shape[2]
    left = padding[1]
    padded = jnp.pad(x, ((0, 0), (0, 0), (left, left), (0, 0)))
    span = (width - 1) * stride[1] + 1
    wide = jnp.concatenate([padded[:, :, j : j + span : stride[1]] for j in range(columns)], axis=-1)
    # Input row h meets output row r at kernel row i = h + padding − stride·r, so spread the rows by stride.
    in_height = x.shape[1]
    spread = jax.lax.pad(
        gradient,
        jnp.zeros((), gradient.dtype),
        ((0, 0, 0), (rows - 1, in_height + rows, stride[0] - 1), (0, 0, 0), (0, 0, 0)),
    )
    first = [rows - 1 + padding[0] - i for i in range(rows)]
    tall = jnp.concatenate([spread[:, at : at + in_height] for at in first], axis=-1)
    product = wide.reshape(-1, columns * channels).T @ tall.reshape(-1, rows * out_channels)
    product = product.reshape(columns, channels, rows, out_channels)
    return product.transpose(2, 0, 1, 3)
