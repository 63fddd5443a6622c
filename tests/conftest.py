"""Every test runs in float64 with strict dtype promotion and with its array shapes checked."""

import hypothesis
import jax
import jaxtyping
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")

install_import_hook(["jaxsnn", "hwmodels"], "beartype.beartype")

# The first example compiles, so a deadline would time XLA; derandomised, so that CI repeats itself.
hypothesis.settings.register_profile("jax", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("jax")


@pytest.fixture
def as_users_run(monkeypatch):
    """No type is checked but by the code itself."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
