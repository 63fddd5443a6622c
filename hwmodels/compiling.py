"""What XLA is told of a program: its options belong to one that is run by itself, not within another."""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax

QUICK = {"xla_backend_optimization_level": 1}
"""LLVM's first level: circuits and networks on chips ran as fast, and compiled a fifth faster."""

LEAN = {"xla_cpu_use_fusion_emitters": False}
"""XLA's older way to make loops: training steps ran as fast and compiled in 0.4 GB less memory; marches
through circuits ran slower."""


def on_cpu(jit: Callable[..., Any], options: dict[str, Any]) -> Callable[[], Callable[..., Any]]:
    """The compiled function of `jit(compiler_options=...)` for the device that there is.

    The options hold on a CPU, where this XLA knows them, `XLA_FLAGS` does not name them, and JAX is not told
    to optimise less (`jax_disable_most_optimizations`).

    **Returns:** a function of no arguments that returns the compiled one, the same at each call: at import it
    is not known yet what the device will be.
    """
    made = functools.cache(lambda chosen: jit(compiler_options=dict(chosen) or None))

    def program() -> Callable[..., Any]:
        if jax.default_backend() != "cpu" or jax.config.read("jax_disable_most_optimizations"):
            return made(())
        given = os.environ.get("XLA_FLAGS", "")
        return made(tuple(each for each in options.items() if each[0] not in given and _known(*each)))

    return program


@functools.cache
def _known(name: str, value: Any) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
