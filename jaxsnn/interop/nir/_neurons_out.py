"""Neurons of timesteps as NIR's differential equations; the inverse of [`jaxsnn.interop.nir._neurons`][]."""

from typing import Any

import numpy as np

from jaxsnn.interop.nir._flat import package
from jaxsnn.neuron import (
    IF,
    LIF,
    CubaLIF,
    CubaReadout,
    Integration,
    Neuron,
    ParametricCubaLIF,
    ParametricLIF,
    Readout,
    Reset,
)
from jaxsnn.neuron._constants import read

FIRING = (LIF, IF, CubaLIF, ParametricLIF, ParametricCubaLIF)


def neuron_node(
    neuron: Neuron, shape: tuple[int, ...], dt: float, layer: str, *, unit: bool
) -> tuple[Any, np.ndarray]:
    """A node for neurons of a shape, channels last, and the factor that the weights before it must get.

    `unit`: r is 1, so that the factor makes up for it.

    **Raises:** `ValueError` that names the layer, for what NIR cannot express.
    """
    kind, constants, factor = _equation(neuron, dt, layer, unit=unit)

    def full(name: str, value: Any) -> np.ndarray:
        try:
            array = np.broadcast_to(np.asarray(value, np.float64), shape)
        except ValueError as error:
            raise ValueError(
                f"layer {layer!r}: its neurons do not fit its outputs of shape {shape}; constants are one "
                f"for all, or arrays that broadcast against them, got {name} of shape {np.shape(value)}."
            ) from error
        return array.transpose(2, 0, 1).copy() if len(shape) == 3 else array.copy()

    return kind(**{name: full(name, value) for name, value in constants.items()}), factor


def unit_factor(neuron: Neuron, dt: float, layer: str) -> np.ndarray:
    """The factor that the weights before neurons must get so that r is 1.

    **Raises:** as [`neuron_node`][].
    """
    return _equation(neuron, dt, layer, unit=True)[2]


def _equation(neuron: Neuron, dt: float, layer: str, *, unit: bool) -> tuple[Any, dict[str, Any], np.ndarray]:
    """The kind of node, its constants as they broadcast, and the factor of the weights before it."""
    nir = package()
    if type(neuron) not in (*FIRING, Readout, CubaReadout):
        raise ValueError(f"layer {layer!r}: a {type(neuron).__name__} cannot be written to NIR.")

    def get(name: str) -> np.ndarray:
        return np.asarray(read(getattr(neuron, name), np.float64), np.float64)

    leak, threshold = get("leak"), np.ones(())
    common: dict[str, Any] = {}
    if isinstance(neuron, LIF):
        if neuron.reset is not Reset.ZERO:
            raise ValueError(f"layer {layer!r}: NIR resets to a value; {neuron.reset} cannot be written.")
        leak, threshold = (np.asarray(c, np.float64) for c in neuron._constants(np.float64))
        if neuron.inclusive:
            threshold = np.nextafter(threshold.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
        common = {"v_threshold": threshold, "v_reset": 0}
    resistance: Any
    factor: Any
    average = isinstance(neuron, LIF) and neuron.integration is Integration.AVERAGE
    synapse = _current_leak(neuron)
    if np.all(leak == 1) and synapse is None and not np.any(get("rest")):
        if average:
            raise ValueError(f"layer {layer!r}: this neuron without leak cannot be written to NIR.")
        resistance, factor = (1.0, np.asarray(1 / dt)) if unit else (1 / dt, np.ones(()))
        if isinstance(neuron, LIF):
            return nir.IF, {"r": resistance, **common}, factor
        return nir.I, {"r": resistance}, factor
    if np.any(leak == 1):
        raise ValueError(
            f"layer {layer!r}: this neuron without leak cannot be written to NIR: it has no time constant."
        )
    tau = np.asarray(dt / (1 - leak))
    factor = np.ones(())
    if average:
        resistance = np.ones(())
    else:
        resistance = tau / dt
        if unit:
            if leak.ndim:
                raise ValueError(
                    f"layer {layer!r}: r = 1 needs one leak for all its neurons; take 'timestep'."
                )
            factor, resistance = np.asarray(tau / dt), np.ones(())
    common |= {"r": resistance, "v_leak": get("rest")}
    if synapse is None:
        kind = nir.LIF if isinstance(neuron, LIF) else nir.LI
        return kind, {"tau": tau, **common}, factor
    if np.any(synapse == 1):
        raise ValueError(
            f"layer {layer!r}: a synapse that keeps all of its current (current_leak=1) has no time constant "
            "and cannot be written to NIR; give it a current_leak below 1."
        )
    tau_syn = dt / (1 - synapse)
    w_in = tau_syn / dt
    if unit and not synapse.ndim:
        factor, w_in = np.asarray(factor * w_in), np.ones(())
    kind = nir.CubaLIF if isinstance(neuron, LIF) else nir.CubaLI
    return kind, {"tau_syn": tau_syn, "tau_mem": tau, "w_in": w_in, **common}, factor


def _current_leak(neuron: Neuron) -> np.ndarray | None:
    """λ_i of neurons behind a synapse."""
    if isinstance(neuron, ParametricCubaLIF):
        logit = np.asarray(neuron.current_leak_logit[...], np.float64)
        return np.asarray(1 / (1 + np.exp(-logit)))
    if isinstance(neuron, CubaLIF | CubaReadout):
        return np.asarray(read(neuron.current_leak, np.float64), np.float64)
    return None
