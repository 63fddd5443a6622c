"""What a file leaves unsaid and the framework that wrote it does: its timestep, its ≥, its loops."""

import copy
import dataclasses
import re
from typing import Any, Literal

import numpy as np

from jaxsnn.interop.nir._flat import Flat, package

Writer = Literal["snntorch", "spikingjelly", "norse", "sinabs"]


@dataclasses.dataclass(frozen=True)
class Habits:
    """`dt` that is written for; neurons that fire at v ≥ θ; weights of a loop whose bias acts at once."""

    dt: float = 1e-4
    inclusive: bool = False
    bias_at_start: bool = False


HABITS: dict[Writer | None, Habits] = {
    None: Habits(),
    "snntorch": Habits(bias_at_start=True),
    "spikingjelly": Habits(inclusive=True),
    # 1.1.0 writes τ times its own dt, 0.001.
    "norse": Habits(dt=1e-6),
    "sinabs": Habits(dt=1.0, inclusive=True),
}


def habits(writer: Any) -> Habits:
    """**Raises:** `ValueError` for a framework that is not known."""
    if writer not in HABITS:
        known = ", ".join(repr(name) for name in HABITS if name is not None)
        raise ValueError(f"writer is the framework that wrote the file, one of {known}, got {writer!r}.")
    return HABITS[writer]


def recognised(graph: Any) -> Writer | None:
    """SpikingJelly, by what no other framework writes: its tracer's names and constants of 64 bits.

    `input_1` and `_0`, `_1` … are what torch.fx makes of a Sequential; Norse's next version traces so, too,
    and has constants of 32 bits.
    """
    nir = package()
    inner = [name for name, node in graph.nodes.items() if not isinstance(node, nir.Input | nir.Output)]
    neurons = [node for node in graph.nodes.values() if hasattr(node, "v_threshold")]
    traced = "input_1" in graph.nodes and all(re.fullmatch(r"_\d+", str(name)) for name in inner)
    wide = [np.asarray(node.v_threshold).dtype == np.float64 for node in neurons]
    return "spikingjelly" if traced and wide and all(wide) else None


def as_run(graph: Flat, writer: Writer | None, dt: float) -> Flat:
    """The graph with the constants that its framework runs with.

    Norse adds the currents of its IF neurons as they are, whatever its dt. sinabs keeps exp(−1/τ) of a
    potential and not 1 − 1/τ.

    **Raises:** `ValueError` for neurons of a framework that no equation of NIR describes.
    """
    nir = package()
    nodes = dict(graph.nodes)
    for name, node in graph.nodes.items():
        if writer == "norse" and isinstance(node, nir.CubaLIF):
            raise ValueError(
                f"node {name!r}: Norse's LIFCell adds the current of the timestep before, which no neuron "
                "here does; export LIFBoxCell, or leave writer out to take the file's equations."
            )
        if writer == "norse" and isinstance(node, nir.I | nir.IF):
            nodes[name] = _changed(node, r=np.asarray(node.r, np.float64) / dt)
        if writer == "sinabs" and isinstance(node, nir.LI | nir.LIF):
            tau = np.asarray(node.tau, np.float64)
            nodes[name] = _changed(node, tau=-dt / np.expm1(-dt / np.where(tau > 0, tau, dt)))
    return dataclasses.replace(graph, nodes=nodes)


def _changed(node: Any, **constants: np.ndarray) -> Any:
    node = copy.copy(node)
    for field, value in constants.items():
        setattr(node, field, value)
    return node
