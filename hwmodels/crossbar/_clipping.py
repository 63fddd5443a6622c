"""Inputs beyond what converters hold."""

import functools
import warnings

import jax.numpy as jnp

from hwmodels.checks import say_if


def warn_of_clipping(conversion, x):
    """Counts inputs beyond the full scale of converters that hold them to it."""
    if conversion is None or conversion.clipped_above is None:
        return
    limit = jnp.asarray(conversion.clipped_above, jnp.result_type(float))
    # Means of spikes may be a rounding above 1.
    count = jnp.sum(jnp.abs(x.astype(limit.dtype)) > limit * (1 + 1e-6))
    say_if(count > 0, functools.partial(_warn, total=x.size), count, limit)


def _warn(count, limit, total):
    if count > 0:
        warnings.warn(
            f"crossbar: {int(count)} of {total} inputs are beyond the converters' full scale of "
            f"{float(limit):g} and are clipped; set Converters.input_full_scale to their greatest magnitude.",
            stacklevel=2,
        )
