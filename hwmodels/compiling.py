"""What XLA is told of a program: its options belong to one that is run by itself, not within another."""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax

_LEVEL = "xla_backend_optimization_level"


def quickly(jit: Callable[..., Any]) -> Callable[[], Callable[..., Any]]:
    """The compiled function of `jit(compiler_options=...)`, on a CPU at LLVM's first level.

    Circuits and networks on chips ran as fast, and compiled a fifth faster. What the user chose comes first:
    a level in `XLA_FLAGS`, or fewer optimisations of JAX (`jax_disable_most_optimizations`).

    **Returns:** a function of no arguments that returns the compiled one, the same at each call: at import it
    is not known yet what the device will be.
    """
    made = functools.cache(lambda quick: jit(compiler_options={_LEVEL: 1} if quick else None))

    def program() -> Callable[..., Any]:
        chosen = jax.config.read("jax_disable_most_optimizations") or _LEVEL in os.environ.get(
            "XLA_FLAGS", ""
        )
        return made(jax.default_backend() == "cpu" and not chosen)

    return program
