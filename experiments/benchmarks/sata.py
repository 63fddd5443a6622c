"""How long SATA's counts and energies take, beside the authors' simulator where it was timed."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from experiments.timing import seconds_of
from hwmodels import sata
from hwmodels.sata import dram, traffic
from hwmodels.workload import Workload

# User CPU seconds of the authors' cycle simulator for the nine BNTT layers, an output-stationary and a
# weight-stationary run each, as measured for the reference data on another machine.
_SIMULATOR_BNTT_S = 330.0
_DESIGNS = 20_000


def _first_seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def _clear() -> None:
    for counts in (traffic._exact, traffic._exact_dram, dram.drained_words, dram._input_reads):
        counts.cache_clear()


def _total(rows: Any, columns: Any, ifmap: Any, rate: Any, timesteps: Any) -> Any:
    workload = sata.vgg9(timesteps=timesteps, input_rate=rate)
    chip = sata.Accelerator(array=sata.Array(rows, columns), buffers=sata.Buffers(ifmap=ifmap))
    return sata.inference_energy(workload, chip, dram="closed_form").total_j


def run() -> dict[str, Any]:
    """Times of cold and cached counts of the six published works, and of a sweep over designs."""
    works = {work: sata.published_workload(work) for work in sata.PUBLISHED_WORKS}

    def evaluate(workload: Workload) -> float:
        return sata.inference_energy(workload).total_j

    evaluate(works["bntt"])  # reads the tables from disk once
    _clear()
    rows = [
        {
            "what": "six published works, exact counts, cold cache",
            "seconds": _first_seconds(lambda: [evaluate(workload) for workload in works.values()]),
        }
    ]
    _clear()
    rows.append(
        {
            "what": "BNTT, exact counts, cold cache",
            "seconds": _first_seconds(lambda: evaluate(works["bntt"])),
            "authors' simulator [s]": _SIMULATOR_BNTT_S,
        }
    )
    for work in ("bntt", "tdbn"):
        rows.append({"what": f"{work}, cached", "seconds": seconds_of(partial(evaluate, works[work]), 20)})

    key = jax.random.key(0)
    draw = jax.random.uniform(key, (5, _DESIGNS))
    low, high = jnp.array([4.0, 4.0, 4096.0, 0.02, 1.0]), jnp.array([64.0, 64.0, 131072.0, 0.5, 8.0])
    designs = low[:, None] + (high - low)[:, None] * draw
    sweep = jax.jit(jax.vmap(_total))
    compile_s = _first_seconds(lambda: sweep(*designs))
    run_s = seconds_of(lambda: sweep(*designs), 5)
    rows.append({"what": f"sweep of {_DESIGNS} designs of VGG9, compiling", "seconds": compile_s})
    rows.append(
        {
            "what": f"sweep of {_DESIGNS} designs of VGG9",
            "seconds": run_s,
            "designs per second": _DESIGNS / run_s,
        }
    )
    gradient = jax.jit(jax.vmap(jax.value_and_grad(_total, argnums=(0, 1, 2, 3, 4))))
    gradient_s = seconds_of(lambda: gradient(*designs), 5)
    rows.append(
        {
            "what": "the same with gradients",
            "seconds": gradient_s,
            "designs per second": _DESIGNS / gradient_s,
        }
    )
    return {
        "title": "SATA cost model",
        "rows": rows,
        "notes": [
            "the sweep uses closed forms of the DRAM counts; all else is exact in float64 on the host",
            "the authors' simulator ran on another machine, under load; its user CPU time is given",
        ],
    }
