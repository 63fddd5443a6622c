"""What tests share: reference data that we did not make, finite differences, and several processes."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

REFERENCE = Path(__file__).parent / "data" / "reference"


def reference_json(name: str) -> Any:
    """The authors' published numbers, e.g. `reference_json("sata/published.json")`."""
    return json.loads((REFERENCE / name).read_text())


def finite_difference(function: Callable[[np.ndarray], Any], at: Any, step: float = 1e-6) -> np.ndarray:
    """Central differences of a scalar function at each element of `at`.

    The step is relative to the element, and absolute where the element is zero.
    """
    at = np.asarray(at, dtype=np.float64)
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        delta = np.zeros_like(at)
        delta[index] = step * (abs(at[index]) or 1.0)
        gradient[index] = (float(function(at + delta)) - float(function(at - delta))) / (2 * delta[index])
    return gradient


def with_devices(devices: int) -> str:
    """This process's `XLA_FLAGS` for one with so many virtual devices."""
    return f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"


def run_processes(script: str, processes: int, *arguments: Any, devices: int = 1) -> list[str]:
    """What each of `processes` that form one `jax.distributed` system prints, as `sys.argv[1:]` told them.

    In float64 on CPUs, `devices` in each process.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    flags = with_devices(devices)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _together(script, address, processes, rank), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"},
            cwd=Path(__file__).parents[1],
        )
        for rank in range(processes)
    ]
    outputs = [process.communicate() for process in started]
    for process, (_, errors) in zip(started, outputs, strict=True):
        assert process.returncode == 0, errors
    return [printed for printed, _ in outputs]


def _together(script: str, address: str, processes: int, rank: int) -> str:
    if processes == 1:
        return script
    return f"""
import jax

jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize({address!r}, {processes}, {rank})
{script}
jax.distributed.shutdown()
"""
