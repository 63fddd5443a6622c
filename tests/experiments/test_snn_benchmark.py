"""The training benchmark: what it measures and which rows it asks for; no time is asserted."""

import jax
import pytest

from experiments.benchmarks import snn


@pytest.mark.long
def test_a_step_of_vgg9_is_measured_on_any_backend():
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):  # As where it runs by itself.
        row = snn.measure(1, 2, 1, network="vgg9", width=1 / 32)
    assert (row["library"], row["network"], row["batch"], row["timesteps"]) == ("jaxsnn", "vgg9", 2, 1)
    assert row["images_per_s"] > 0


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_vgg9_is_compared_on_a_gpu_alone(monkeypatch, backend):
    """The processes are replaced by what they would print."""
    asked = []

    def child(command):
        if "-c" in command:
            return backend
        if "norse" in command:
            return "No module named 'norse'"
        asked.append(command)
        return {"images_per_s": 40.0 if "-m" in command else 20.0}

    monkeypatch.setattr(snn, "_child", child)
    found = snn.run()
    large = [command[-4:] if "-m" in command else command[2:] for command in asked if "vgg9" in command]
    assert ("VGG9" in " ".join(found["notes"])) == (backend == "cpu")
    if backend == "gpu":
        numbers = ["5", "256", str(snn.REPEATS)]
        assert large == [["vgg9", *numbers], ["spikingjelly", "vgg9", "cuda", *numbers]]
        assert found["rows"][-1]["jaxsnn_over_it"] == 2.0
    else:
        assert large == []
        assert all("cuda" not in command for command in asked)
    assert sum("norse was skipped" in note for note in found["notes"]) == 1
    assert len(found["rows"]) == len(asked)
