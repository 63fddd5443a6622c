"""Every test runs in float64 with strict dtype promotion and with its array shapes checked."""

import os
from pathlib import Path

import hypothesis
import jax
import jaxlib
import jaxtyping
import pytest
from jaxtyping import install_import_hook

# Whether XLA is known to have the flags below; one that it does not know ends the process.
FLAGS_KNOWN = jaxlib.__version__.startswith("0.10.")

# Compiling takes most of the time, and most of that is work which only long computations pay back. Processes
# that tests start inherit it. `JAX_DISABLE_MOST_OPTIMIZATIONS=0` tests the programs that users run.
if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1":
    jax.config.update("jax_disable_most_optimizations", True)
    # Without fusion emitters, and as one module each, programs compile in a third of the time.
    if FLAGS_KNOWN:
        flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Processes of one run, and the next run, compile each program once.
if jax.config.jax_compilation_cache_dir is None:
    jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".pytest_cache" / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)

MOST_MAPPINGS = 40_000

install_import_hook(["jaxsnn", "hwmodels"], "beartype.beartype")

# The first example compiles, so a deadline would time XLA; derandomised, so that CI repeats itself.
hypothesis.settings.register_profile("jax", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("jax")


@pytest.fixture(autouse=True, scope="module")
def programs_let_go():
    """Compiled programs hold memory mappings, of which Linux gives a process 65,530; XLA dies without."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > MOST_MAPPINGS:
        jax.clear_caches()


@pytest.fixture
def as_users_run(monkeypatch):
    """No type is checked but by the code itself."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def as_users_compile():
    """Programs with XLA's optimisations, for tests of what they need; options for `compile`."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield {"xla_cpu_use_fusion_emitters": True} if FLAGS_KNOWN else {}
    jax.config.update("jax_disable_most_optimizations", before)
