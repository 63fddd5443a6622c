"""Compiled programs that outlive the process, and what XLA is told of training steps and initial weights."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache import compilation_cache

from jaxsnn.cache import user_cache


def remember_compiled(folder: str | Path | None = None) -> Path:
    """Keeps compiled programs in a folder, from which a later process takes them (JAX's persistent cache).

    The command line does this by itself. In a notebook or script, say it once, before the first computation:

    ```
    from jaxsnn.compilation import remember_compiled

    remember_compiled()
    ```

    Programs that call back to the host enter with JAX 0.12, not with 0.10. A `jax.jit` of one's own around a
    function with run-time checks is such a program; `hwmodels.checks.at_edge` is without.

    **Arguments:** `folder`: by default what `JAX_COMPILATION_CACHE_DIR` says, else `spikechip/xla` in the
    user's cache folder.

    **Returns:** the folder. It may be deleted at any time.
    """
    folder = Path(folder or os.environ.get("JAX_COMPILATION_CACHE_DIR") or user_cache("xla"))
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Many small programs take as long together as a few large ones.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # What was compiled before would have settled that there is no cache.
    compilation_cache.reset_cache()
    return folder


_EMITTERS = "xla_cpu_use_fusion_emitters"
_LEVEL = "xla_backend_optimization_level"
_ORDER = "xla_cpu_scheduler_type"


def lean_options(remat: bool = False) -> tuple[tuple[str, Any], ...]:
    """`compiler_options` of a training step, as items, for less memory on a CPU.

    XLA's older way to make loops: steps of a VGG9 ran as fast and compiled in 0.4 GB less; marches through
    circuits ran slower. Where memory is asked for (`remat`), also an order that frees what it can and not one
    that starts what it can: a ResNet-19 at T = 100 takes 0.6 of the temporary memory; parts of a batch ran
    slower by 7 %. None where `XLA_FLAGS` says what the user wants, and where this XLA has no such choice.
    """
    order = ((_ORDER, "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"),) if remat else ()
    return _unsaid((_EMITTERS, False), *order)


def compiled_once(initialise: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """An initialiser of `jax.nn.initializers` as one program, compiled in a quarter of the time; same bits.

    Random numbers are what LLVM takes longest for. They are drawn once: on a CPU at its first level, and as
    [`lean_options`][] says.
    """
    made = functools.cache(
        lambda options: jax.jit(initialise, static_argnums=(1, 2), compiler_options=dict(options) or None)
    )

    def drawn(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        # Options belong to a program that is run by itself.
        within = any(isinstance(each, jax.core.Tracer) for each in (key, jnp.zeros(())))
        level = () if jax.config.read("jax_disable_most_optimizations") else ((_LEVEL, 1),)
        return made(() if within else _unsaid((_EMITTERS, False), *level))(key, tuple(shape), dtype)

    return drawn


def _unsaid(*options: tuple[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Those that `XLA_FLAGS` is silent about, on a CPU whose XLA has them."""
    if jax.default_backend() != "cpu":
        return ()
    said = os.environ.get("XLA_FLAGS", "")
    return tuple(option for option in options if option[0] not in said and _known(*option))


@functools.cache
def _known(option: str, value: Any) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={option: value}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
