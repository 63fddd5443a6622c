"""Compiled programs that outlive the process, and what XLA is told of training steps."""

import functools
import os
import sys
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache


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
    folder = Path(
        folder or os.environ.get("JAX_COMPILATION_CACHE_DIR") or _user_cache() / "spikechip" / "xla"
    )
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Many small programs take as long together as a few large ones.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # What was compiled before would have settled that there is no cache.
    compilation_cache.reset_cache()
    return folder


_EMITTERS = "xla_cpu_use_fusion_emitters"


def lean_options() -> tuple[tuple[str, bool], ...]:
    """`compiler_options` of a training step, as items: on a CPU XLA's older way to make loops.

    Steps of a VGG9 ran as fast and compiled in 0.4 GB less memory; marches through circuits ran slower. None
    where `XLA_FLAGS` says what the user wants, and where this XLA has no such choice.
    """
    if jax.default_backend() != "cpu" or _EMITTERS in os.environ.get("XLA_FLAGS", "") or not _has_emitters():
        return ()
    return ((_EMITTERS, False),)


@functools.cache
def _has_emitters() -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={_EMITTERS: False}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    default = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None
    return Path(os.environ.get("XDG_CACHE_HOME") or default or Path.home() / ".cache")
