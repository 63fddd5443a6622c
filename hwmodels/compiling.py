"""What XLA is told of a program: its options belong to one that is run by itself, not within another."""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax

_LEVEL = "xla_backend_optimization_level"
_EMITTERS = "xla_cpu_use_fusion_emitters"


def quickly(jit: Callable[..., Any], *, rarely: bool = False) -> Callable[[], Callable[..., Any]]:
    """The compiled function of `jit(compiler_options=...)`, on a CPU at LLVM's first level.

    Circuits and networks on chips ran as fast, and compiled a fifth faster. What runs `rarely`, such as what
    is done once for each chip, is compiled without XLA's fusion emitters too, in half the time: its loops may
    take 1.8 times as long. What the user chose comes first: in `XLA_FLAGS`, or fewer optimisations of JAX
    (`jax_disable_most_optimizations`).

    **Returns:** a function of no arguments that returns the compiled one, the same at each call: at import it
    is not known yet what the device will be.
    """
    made = functools.cache(lambda options: jit(compiler_options=dict(options) or None))
    return lambda: made(tuple(_options(rarely)))


def _options(rarely: bool) -> list[tuple[str, Any]]:
    flags = os.environ.get("XLA_FLAGS", "")
    options: list[tuple[str, Any]] = []
    if jax.default_backend() != "cpu":
        return options
    if _LEVEL not in flags and not jax.config.read("jax_disable_most_optimizations"):
        options.append((_LEVEL, 1))
    if rarely and _EMITTERS not in flags and _has_emitters():
        options.append((_EMITTERS, False))
    return options


@functools.cache
def _has_emitters() -> bool:
    """Whether this XLA has that choice."""
    try:
        jax.jit(lambda: 0, compiler_options={_EMITTERS: False}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
