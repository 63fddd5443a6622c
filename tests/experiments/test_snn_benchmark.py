"""The training benchmark: what it measures and which rows it asks for; no time is asserted."""

import jax
import pytest

from experiments.benchmarks import snn


@pytest.mark.long
def test_a_step_of_vgg9_is_measured_on_any_backend():
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):  # As where it runs by itself.
        row = snn.measure(1, 2, 1, width=1 / 32)
    assert row["images_per_s"] > 0
    assert row["peak_memory_mb"] > 0


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_libraries_take_turns_and_those_left_out_are_named(monkeypatch, backend):
    """The processes are replaced by what they would print; the second turn is faster."""
    asked = []

    def child(command):
        if "-c" in command:
            return backend
        if "norse" in command:
            return "No module named 'norse'"
        if "jaxpike" in command and "20" in command:
            return "too slow"
        asked.append(command)
        turn = asked.count(command)
        speed = (40.0 if len(command) == 6 else 60.0) if "-m" in command else 20.0
        return {"images_per_s": speed * turn, "peak_memory_mb": 100 / turn}

    monkeypatch.setattr(snn, "_child", child)
    monkeypatch.setenv("JAXSNN_PEER_PYTHON", "python-with-torch")
    monkeypatch.setenv("JAXSNN_JAX_PEER_PYTHON", "python-with-jax")
    found = snn.run()
    cases = [(5, 32), (20, 32)] + [(5, 256)] * (backend == "gpu")
    skipped = {note for note in found["notes"] if "skipped" in note}
    assert skipped == {
        "jaxpike was skipped at T = 20 and 32 images: too slow",
        *(f"norse was skipped at T = {t} and {batch} images: No module named 'norse'" for t, batch in cases),
    }
    libraries = ["jaxsnn", "jaxsnn in parts", "spikingjelly", "snntorch", "spyx", "jaxpike"]
    assert [(row["timesteps"], row["batch"], row["library"]) for row in found["rows"]] == [
        (*case, library) for case in cases for library in libraries if (case[0], library) != (20, "jaxpike")
    ]
    assert all(row["peak_memory_mb"] == 50 for row in found["rows"])
    assert [row.get("jaxsnn over it") for row in found["rows"][:6]] == [None, None, 2.0, 2.0, 2.0, 2.0]
    assert [row.get("jaxsnn in parts over it") for row in found["rows"][2:6]] == [3.0] * 4
    # T, batch and repeats and, of a batch in parts, the images of a part.
    assert {tuple(command[3:]) for command in asked if "-m" in command} >= {
        ("5", "32", "2"),
        ("5", "32", "2", "8"),
        ("20", "32", "2", "2"),
    }
    assert len(asked) == snn.ROUNDS * len(found["rows"])
    assert {command[0] for command in asked if "spyx" in command} == {"python-with-jax"}
    assert {command[0] for command in asked if "snntorch" in command} == {"python-with-torch"}
    assert any("cuda" in command for command in asked) == (backend == "gpu")
