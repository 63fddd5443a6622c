"""The benchmark of accelerators: refused without one, in one sentence; its parts run anywhere, in small."""

import jax
import pytest

from experiments.benchmarks import gpu


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="it would be run")
def test_without_an_accelerator_it_says_so():
    with pytest.raises(SystemExit, match="needs an accelerator, and JAX found none"):
        gpu.run()


def test_its_parts_run():
    assert gpu.tiles_per_s(2) > 0
    ((steps, milliseconds),) = gpu.layer_ms((2,), (1, 2, 2, 3))
    assert steps == 2
    assert milliseconds > 0
