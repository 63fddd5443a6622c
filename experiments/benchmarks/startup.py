"""What a user waits for first: compilation, imports and the main job, beside an older build of this project.

Both builds are taken from the repository's history, each runs in processes of its own, in turns, and what
counts is the processor time of the quicker of two rounds, so that other work on the machine counts little;
of the main job the wall time stands beside it.
"""

import json
from pathlib import Path
from typing import Any

from experiments.benchmarks._builds import beside_older, python

TILES = 64
ROUNDS = 2

_IMPORT = """
import sys, time
import jax, jax.numpy, flax.nnx, equinox
began = time.process_time()
__import__(sys.argv[1])
print(time.process_time() - began)
"""

_FUNCTIONS = """
import json, os, pathlib, sys, time
if len(sys.argv) > 3:
    os.environ["XLA_FLAGS"] = f"--xla_dump_to={sys.argv[3]} --xla_dump_hlo_as_text"
import jax, jax.numpy as jnp, numpy as np
from hwmodels.crossbar import Wires, effective_conductance

functions = {
    "solution": effective_conductance,
    "gradient": jax.grad(lambda G, wires: jnp.sum(effective_conductance(G, wires) ** 2), (0, 1)),
}

def instructions(text):
    return sum(" = " in line for line in text.splitlines())

tiles, size = int(sys.argv[1]), int(sys.argv[2])
"""

_SOLVE = """
G = jax.random.uniform(jax.random.key(0), (tiles, size, size), jnp.float32, 5e-6, 5e-5)
wires = jax.tree.map(jnp.float32, Wires())
found = {}
for name, function in functions.items():
    lowered = jax.jit(function).lower(G, wires)
    found[f"{name}, lines of StableHLO"] = lowered.as_text().count("\\n")
    began = time.process_time()
    program = lowered.compile()
    found[f"{name}, compilation, s"] = time.process_time() - began
    # Of the instructions: tables of source positions stand before them.
    text = program.as_text()
    found[f"{name}, lines of compiled HLO"] = text.count("\\n")
    found[f"{name}, instructions of compiled HLO"] = instructions(text)
    for what, given in (("every device conducts", G), ("an open device in each tile", G.at[:, 3, 5].set(0))):
        jax.block_until_ready(program(given, wires))
        began = time.process_time()
        jax.block_until_ready(program(given, wires))
        found[f"{name}, {what}, ms a tile"] = 1e3 * (time.process_time() - began) / tiles
for name, function in functions.items():
    jax.clear_caches()
    took = []
    for _ in range(2):
        began = time.process_time()
        jax.block_until_ready(function(G, wires))
        took.append(time.process_time() - began)
    found[f"{name} of known tiles outside of jit, first call beyond the second, s"] = took[0] - took[1]
print(json.dumps(found))
"""

_KNOWN = """
G = np.random.default_rng(0).uniform(5e-6, 5e-5, (tiles, size, size)).astype(np.float32)
wires = jax.tree.map(np.float32, Wires())
found, seen = {}, set()
for name, function in functions.items():
    jax.clear_caches()
    jax.block_until_ready(function(G, wires))
    programs = set(pathlib.Path(sys.argv[3]).glob("*after_optimizations.txt")) - seen
    seen |= programs
    counts = [instructions(program.read_text()) for program in programs]
    of = "of known tiles outside of jit, instructions of compiled HLO"
    found[f"{name} {of}"] = sum(counts)
    found[f"{name} {of}, largest program"] = max(counts)
print(json.dumps(found))
"""

_JOB = """
import runpy, sys, time
sys.argv = ["experiments", "run", "digits", "--out", sys.argv[1], "--fresh"]
began, worked = time.perf_counter(), time.process_time()
try:
    runpy.run_module("experiments", run_name="__main__")
except SystemExit as error:
    assert not error.code, error
print(time.perf_counter() - began, time.process_time() - worked)
"""


def run(main_job: bool = True, rounds: int = ROUNDS) -> dict[str, Any]:
    """Both builds, and the ratio of this one to the older one."""
    found = beside_older(lambda build, cache: _measured(build, cache, main_job), rounds)
    notes = [
        f"Older: {found['builds']['older']}. This: {found['builds']['this']}.",
        f"{TILES} tiles of 64×64, float32, the paper's wires; processor time where nothing else is "
        "said; the second run is a new process with the cache of the first.",
    ]
    return {"title": "Start-up", **found, "notes": notes}


def _measured(build: Path, cache: Path, main_job: bool) -> dict[str, float]:
    found = {f"import {name}, s": float(python(build, _IMPORT, name)) for name in ("jaxsnn", "hwmodels")}
    found |= json.loads(python(build, _FUNCTIONS + _SOLVE, str(TILES), "64"))
    found |= json.loads(python(build, _FUNCTIONS + _KNOWN, str(TILES), "64", str(cache / "programs")))
    if main_job:
        for what in ("cold", "second run"):
            wall, processor = python(build, _JOB, str(cache / what), cache=cache / "xla").split()
            found |= {
                f"main job, {what}, wall s": float(wall),
                f"main job, {what}, processor s": float(processor),
            }
    return found
