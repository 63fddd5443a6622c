"""Training speed of a spiking network against SpikingJelly, snnTorch and Norse.

One training step (forward, backward, Adam) in float32 with direct encoding, batch 64, of
conv3×3(1→64)–LIF–pool–conv3×3(64→128)–LIF–conv3×3(128→128)–LIF–pool–fc(6272→1024)–LIF–fc(1024→10), the output
averaged over T; on a GPU also of VGG9 at T = 5, batch 256, against SpikingJelly. Each measurement runs in a
process of its own, so that peak memory is its own. The peers need torch: set `JAXSNN_PEER_PYTHON` to an
interpreter that has them when this one does not. They run where JAX does.
"""

import json
import os
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

BATCH = 64
REPEATS = 3
TIMESTEPS = (5, 10)
PEERS = ("spikingjelly", "snntorch", "norse")
IMAGES = {"vgg5": (28, 1), "vgg9": (32, 3)}
"""Side and channels of the images of each network."""


def measure(
    timesteps: int,
    batch: int = BATCH,
    repeats: int = REPEATS,
    *,
    network: str = "vgg5",
    width: float = 1.0,
) -> dict[str, Any]:
    """Images per second of the best of `repeats` steps, compile time and peak memory of this process."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx

    from jaxsnn.models.vgg import vgg
    from jaxsnn.neuron import LIF

    side, channels = IMAGES[network]
    graphdef, params = nnx.split(
        vgg(
            network,
            image_size=side,
            in_channels=channels,
            width=width,
            neuron=partial(LIF, leak=0.5),
            rngs=nnx.Rngs(0),
        )
    )
    optimizer = optax.adam(1e-3)
    images = jax.random.uniform(jax.random.key(1), (batch, side, side, channels), jnp.float32)
    labels = jax.random.randint(jax.random.key(2), (batch,), 0, 10)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, opt_state, images, labels):
        def loss(params):
            logits, _ = nnx.merge(graphdef, params)(images, timesteps=timesteps)
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

        value, gradient = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    opt_state = optimizer.init(params)
    began = time.perf_counter()
    compiled = step.lower(params, opt_state, images, labels).compile()
    compile_s = time.perf_counter() - began
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        params, opt_state, value = compiled(params, opt_state, images, labels)
        value.block_until_ready()
        seconds.append(time.perf_counter() - began)
    return {
        "library": "jaxsnn",
        "network": network,
        "batch": batch,
        "timesteps": timesteps,
        "images_per_s": round(batch / min(seconds[1:]), 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "compile_s": round(compile_s, 1),
    }


def _child(command: list[str]) -> Any:
    """What the last line that a command prints says in JSON, or the last line of its error."""
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if result.returncode:
        return (result.stderr.strip().splitlines() or ["it failed"])[-1]
    return json.loads(result.stdout.strip().splitlines()[-1])


def run() -> dict[str, Any]:
    """The table: one row per network, library and T, and a note per row that is absent."""
    rows: list[dict[str, Any]] = []
    # In a process of its own, as JAX would keep the GPU's memory from the others.
    backend = _child([sys.executable, "-c", "import jax, json; print(json.dumps(jax.default_backend()))"])
    notes = [
        f"float32, best of {REPEATS} steps, on {backend}, {os.cpu_count()} CPU cores; memory is the host's"
    ]
    python = os.environ.get("JAXSNN_PEER_PYTHON", sys.executable)
    peers = str(Path(__file__).with_name("_snn_peers.py"))
    absent = set()
    cases: list[tuple[str, int, int, tuple[str, ...]]] = [
        ("vgg5", timesteps, BATCH, PEERS) for timesteps in TIMESTEPS
    ]
    if backend == "gpu":
        cases.append(("vgg9", 5, 256, ("spikingjelly",)))
    else:
        notes.append("VGG9 at T = 5, batch 256, was skipped: it needs JAX on a GPU")
    for network, timesteps, batch, names in cases:
        numbers = [str(timesteps), str(batch), str(REPEATS)]
        ours = _child([sys.executable, "-m", "experiments.benchmarks.snn", network, *numbers])
        if isinstance(ours, str):
            raise RuntimeError(f"the benchmark of jaxsnn failed: {ours}")
        rows.append(ours)
        for name in names:
            if name in absent:
                continue
            device = "cuda" if backend == "gpu" else "cpu"
            theirs = _child([python, peers, name, network, device, *numbers])
            if isinstance(theirs, str):
                absent.add(name)
                notes.append(f"{name} was skipped: {theirs}")
            else:
                rows.append(
                    theirs | {"jaxsnn_over_it": round(ours["images_per_s"] / theirs["images_per_s"], 2)}
                )
    return {"title": "SNN training step", "rows": rows, "notes": notes}


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[2:]), network=sys.argv[1])))
