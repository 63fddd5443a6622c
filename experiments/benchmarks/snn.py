"""Training speed of a spiking VGG9 against SpikingJelly, snnTorch, Norse, Spyx and jaxpike.

One training step (forward, backward, Adam) in float32 on images of CIFAR-10's shape, which are convolved once
(direct encoding); seven 3×3 convolutions, two dense layers, LIF neurons with λ = 1/2, the output averaged
over T. Ours runs the whole batch at once, as the peers do, and in parts (`TrainConfig.microbatch`), for which
they would need a loop of their own. Each measurement runs in a process of its own, so that peak memory is its
own, and all take turns. The peers need torch or JAX: set `JAXSNN_PEER_PYTHON` and `JAXSNN_JAX_PEER_PYTHON` to
interpreters that have them when this one does not. They run where JAX does.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

BATCH = 32
REPEATS = 2
ROUNDS = 2
MOST_SECONDS = 180
TIMESTEPS = (5, 20)
# Images times timesteps of a part of a batch; half and twice as many were no faster at T = 20.
PART = 40
OURS = ("jaxsnn", "jaxsnn in parts")
PEERS = {
    "spikingjelly": "JAXSNN_PEER_PYTHON",
    "snntorch": "JAXSNN_PEER_PYTHON",
    "norse": "JAXSNN_PEER_PYTHON",
    "spyx": "JAXSNN_JAX_PEER_PYTHON",
    "jaxpike": "JAXSNN_JAX_PEER_PYTHON",
}
SCRIPTS = {"JAXSNN_PEER_PYTHON": "_snn_torch_peers.py", "JAXSNN_JAX_PEER_PYTHON": "_snn_jax_peers.py"}


def measure(
    timesteps: int,
    batch: int = BATCH,
    repeats: int = REPEATS,
    microbatch: int | None = None,
    *,
    width: float = 1.0,
) -> dict[str, Any]:
    """Images per second of the best of `repeats` steps, compile time and peak memory of this process."""
    import jax
    from flax import nnx

    from experiments.benchmarks._snn_jax_peers import CHANNELS, SIDE, timed
    from jaxsnn.compilation import lean_options
    from jaxsnn.learning.step import Step
    from jaxsnn.learning.training import TrainConfig, split_parameters
    from jaxsnn.models.vgg import vgg
    from jaxsnn.neuron import LIF

    network = vgg(
        "vgg9",
        image_size=SIDE,
        in_channels=CHANNELS,
        width=width,
        neuron=partial(LIF, leak=0.5),
        rngs=nnx.Rngs(0),
    )
    config = TrainConfig(timesteps=timesteps, batch_size=batch, microbatch=microbatch)
    graphdef, params, rest = split_parameters(network)
    step = Step(graphdef, config, config.transformation(1), lambda images: images, False, None, None, None)

    def value_and_gradient(params, images, labels):
        keys = jax.random.split(jax.random.key(0))
        gradient, (_, (loss, *_)) = step.gradient(params, rest, (), images, labels, keys)
        return loss, gradient

    # As `train_step` is compiled.
    return timed(params, value_and_gradient, batch, repeats, dict(lean_options()) or None)


def _child(command: list[str]) -> Any:
    """What the last line that a command prints says in JSON, or the last line of its error."""
    root = Path(__file__).parents[2]
    try:
        result = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        return f"its steps took more than {MOST_SECONDS} s"
    if result.returncode:
        return (result.stderr.strip().splitlines() or ["it failed"])[-1]
    return json.loads(result.stdout.strip().splitlines()[-1])


def run() -> dict[str, Any]:
    """The table: one row per library, T and batch, and a note per library that is absent."""
    # In a process of its own, as JAX would keep the GPU's memory from the others.
    backend = _child([sys.executable, "-c", "import jax, json; print(json.dumps(jax.default_backend()))"])
    notes = [
        f"float32, best of {REPEATS} steps in each of {ROUNDS} turns, on {backend}, {os.cpu_count()} CPU "
        "cores; memory is the host's"
    ]
    device = "cuda" if backend == "gpu" else "cpu"
    cases = [(timesteps, BATCH) for timesteps in TIMESTEPS]
    if backend == "gpu":
        cases.append((5, 256))
    found: dict[tuple[int, int], dict[str, list[dict[str, Any]]]] = {case: {} for case in cases}
    absent: set[tuple[tuple[int, int], str]] = set()
    for _ in range(ROUNDS):
        for case in cases:
            for library in (*OURS, *PEERS):
                if (case, library) in absent:
                    continue
                one = _child(_command(library, device, *case))
                if isinstance(one, dict):
                    found[case].setdefault(library, []).append(one)
                elif library in OURS:
                    raise RuntimeError(f"the benchmark of {library} failed: {one}")
                else:
                    absent.add((case, library))
                    notes.append(f"{library} was skipped at T = {case[0]} and {case[1]} images: {one}")
    rows = [_row(case, library, each) for case, each in found.items() for library in each]
    return {"title": "SNN training step", "rows": rows, "notes": notes}


def _command(library: str, device: str, timesteps: int, batch: int) -> list[str]:
    numbers = [str(timesteps), str(batch), str(REPEATS)]
    if library in OURS:
        parts = [str(max(1, PART // timesteps))] if library == OURS[1] else []
        return [sys.executable, "-m", "experiments.benchmarks.snn", *numbers, *parts]
    variable = PEERS[library]
    script = str(Path(__file__).with_name(SCRIPTS[variable]))
    return [os.environ.get(variable, sys.executable), script, library, device, *numbers]


def _row(case: tuple[int, int], library: str, measured: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    timesteps, batch = case

    def best(library: str) -> float:
        return max(one["images_per_s"] for one in measured[library])

    row = {"library": library, "batch": batch, "timesteps": timesteps}
    row |= {key: value for key, value in measured[library][0].items() if key in ("version", "compile_s")}
    row["images_per_s"] = best(library)
    row["peak_memory_mb"] = min(one["peak_memory_mb"] for one in measured[library])
    if library in PEERS:
        row |= {f"{ours} over it": round(best(ours) / best(library), 2) for ours in OURS}
    return row


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
