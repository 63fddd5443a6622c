"""NIR's neurons, which are differential equations, as neurons of timesteps.

With a step `dt` of Euler's method, `τ·v' = (v_leak − v) + r·I` becomes `v = λ·v + (1 − λ)·v_leak + g·I` with
`λ = 1 − dt/τ` and `g = r·dt/τ`; without a leak, `v = v + r·dt·I`. A synapse, `τ_syn·i' = w_in·I − i`, adds a
factor `w_in·dt/τ_syn`. Potentials are counted from v_reset.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxsnn.interop.nir._flat import Flat, package
from jaxsnn.neuron import IF, LIF, CubaLIF, CubaReadout, Integration, Neuron, Readout

# Constants are written in float32 and come from a quotient of such; so much they are off from what was meant.
RELATIVE = 1e-6

Fit = Callable[[np.ndarray], Any]
"""An array in NIR's layout as one in ours, or as a number where all are equal."""


class Made(NamedTuple):
    """A neuron, and the factor on its currents, in NIR's layout."""

    neuron: Neuron
    gain: np.ndarray


def is_neuron(node: Any) -> bool:
    nir = package()
    return isinstance(node, nir.I | nir.IF | nir.LI | nir.LIF | nir.CubaLI | nir.CubaLIF)


def shape_of(node: Any) -> tuple[int, ...]:
    """The shape of a neuron node, as its parameters have it."""
    return np.broadcast_shapes(*(np.shape(getattr(node, field)) for field in fields(node)))


def fields(node: Any) -> list[str]:
    names = ("tau", "tau_mem", "tau_syn", "r", "w_in", "v_leak", "v_reset", "v_threshold")
    return [name for name in names if getattr(node, name, None) is not None]


def equal(values: Any, target: Any) -> bool:
    """Whether all are the same but for the rounding of float32, in proportion to their size."""
    return bool(np.allclose(values, target, rtol=RELATIVE, atol=0))


def made(name: str, node: Any, dt: float, fit: Fit, *, inclusive: bool = False, absorb: bool = False) -> Made:
    """A neuron node as a neuron of timesteps.

    **Arguments:** `fit`: lays an array out for us; `absorb`: a factor on the currents of neurons that fire,
    where it is positive, divides their potentials.

    **Raises:** `ValueError`, naming the node, for values that are not finite, time constants below dt and
    thresholds that do not lie above the reset.
    """
    nir = package()
    get = _getter(name, node)
    leaky = not isinstance(node, nir.I | nir.IF)
    fires = isinstance(node, nir.IF | nir.LIF | nir.CubaLIF)
    behind_synapse = isinstance(node, nir.CubaLI | nir.CubaLIF)
    reset = get("v_reset") if fires and getattr(node, "v_reset", None) is not None else np.zeros(())
    options: dict[str, Any] = {}
    if leaky:
        share = _share(name, get("tau_mem" if behind_synapse else "tau"), dt)
        gain, rest = get("r") * share, get("v_leak") - reset
        options["leak"] = fit(1 - share)
    else:
        gain, rest = get("r") * dt, -reset
    if fires and leaky and not equal(gain, 1) and equal(get("r"), 1):
        options["integration"], gain = Integration.AVERAGE, np.ones(())
    if behind_synapse:
        share = _share(name, get("tau_syn"), dt)
        options["current_leak"] = fit(1 - share)
        gain = gain * get("w_in") * share
    gain = np.ones(()) if equal(gain, 1) else gain
    absorbed = gain if absorb and fires and np.all(gain > 0) else np.ones(())
    gain = gain / absorbed
    if np.any(rest):
        options["rest"] = fit(rest / absorbed)
    if not fires:
        return Made((CubaReadout if behind_synapse else Readout)(**options), gain)
    threshold = get("v_threshold") - reset
    if not np.all(threshold > 0):
        raise ValueError(
            f"node {name!r}: its threshold {_first(threshold + reset, threshold <= 0)} does not lie above "
            f"its reset {_first(reset + 0 * threshold, threshold <= 0)}, so it would fire for ever; raise "
            "v_threshold."
        )
    options |= {"threshold": fit(threshold / absorbed), "inclusive": inclusive}
    if behind_synapse:
        return Made(CubaLIF(**options), gain)
    if leaky:
        return Made(LIF(**options), gain)
    if "rest" in options:
        return Made(LIF(leak=1.0, **options), gain)
    return Made(IF(**options), gain)


def _first(values: np.ndarray, where: np.ndarray) -> float:
    values, where = np.broadcast_arrays(values, where)
    return float(values[where][0])


def _getter(name: str, node: Any) -> Callable[[str], np.ndarray]:
    def get(field: str) -> np.ndarray:
        values = np.asarray(getattr(node, field))
        if not np.issubdtype(values.dtype, np.number) or np.issubdtype(values.dtype, np.complexfloating):
            raise ValueError(f"node {name!r}: its {field} holds {values.dtype} and must hold numbers.")
        values = values.astype(np.float64)
        if not np.all(np.isfinite(values)):
            raise ValueError(
                f"node {name!r}: its {field} holds NaN or infinity; take a file of a sound training run."
            )
        return values

    return get


def _share(name: str, tau: np.ndarray, dt: float) -> np.ndarray:
    """dt/τ, the share of a potential that a timestep loses."""
    if not np.all(tau > 0):
        raise ValueError(f"node {name!r}: a time constant must be positive, got {_first(tau, tau <= 0)}.")
    share = dt / tau
    if np.any(share > 1 + RELATIVE):
        raise ValueError(
            f"node {name!r}: its time constant {tau.min():.4g} s is shorter than dt = {dt:g}, so that "
            "Euler's method has no step; read the file with the dt that it was written for, which dt='auto' "
            "finds where r or w_in tell it. Norse 1.1.0 writes a thousandth of τ: for its files take "
            f"dt = {dt / 1000:g}."
        )
    return np.minimum(share, 1)


def step_of(graph: Flat) -> float:
    """The one dt with which all neurons of a graph add currents as they are.

    That is r·dt/τ = 1, without a leak r·dt = 1, and behind a synapse w_in·dt/τ_syn = 1.

    **Raises:** `ValueError`, saying what the file holds, where it tells none or several.
    """
    nir = package()
    found: list[tuple[float, str]] = []
    taus: list[float] = []
    for name, node in graph.nodes.items():
        if not is_neuron(node):
            continue
        get = _getter(name, node)
        pairs = []
        if isinstance(node, nir.I | nir.IF):
            pairs.append((np.ones(()), get("r")))
        else:
            tau = get("tau_mem" if hasattr(node, "tau_mem") else "tau")
            taus += [float(tau.min()), float(tau.max())]
            pairs.append((tau, get("r")))
        if hasattr(node, "tau_syn"):
            pairs.append((get("tau_syn"), get("w_in")))
        for index, (tau, factor) in enumerate(pairs):
            plain = not isinstance(node, nir.I | nir.IF) and equal(factor, 1)
            if not plain and np.all(factor > 0):
                steps = np.ravel(tau / factor)
                what = "w_in" if index else "r"
                found += [(float(step), f"{what} of node {name!r}") for step in (steps.min(), steps.max())]
    held = (
        f"its time constants are {min(taus):.4g} to {max(taus):.4g} s" if taus else "it has no time constants"
    )
    if not found:
        raise ValueError(
            f"the file does not tell its timestep: {held} and r is 1 throughout, which any dt reads exactly; "
            "give dt (on the command line --dt), the step that the network was trained with, in the unit of "
            "its time constants."
        )
    steps = np.array([step for step, _ in found])
    if not np.allclose(steps, steps[0], rtol=1e-4, atol=0):
        low, high = int(steps.argmin()), int(steps.argmax())
        raise ValueError(
            f"the file tells no single timestep: {found[low][1]} is for dt = {steps[low]:.4g} and "
            f"{found[high][1]} for dt = {steps[high]:.4g}, and {held}; give dt (on the command line "
            "--dt), and factors go into the weights."
        )
    return _rounded(float(np.median(steps)))


def _rounded(step: float) -> float:
    """The decimal of few digits that a step written in float32 stands for, if there is one."""
    short = float(f"{step:.3g}")
    return short if equal(step, short) or abs(step / short - 1) < 2e-6 else step
