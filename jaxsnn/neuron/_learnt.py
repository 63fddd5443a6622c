"""Neurons whose constants are learnt with the weights."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsnn.neuron._base import Neuron
from jaxsnn.neuron._constants import Values, offender
from jaxsnn.neuron._lif import LIF
from jaxsnn.neuron._synapse import BehindSynapse


def _logit(leak: Values, name: str) -> nnx.Param:
    wrong = offender(leak, lambda values: (values > 0) & (values < 1))
    if wrong is not None:
        raise ValueError(f"a learnt {name} must lie strictly between 0 and 1, got {wrong}.")
    array = np.asarray(leak, np.float64)
    return nnx.Param(jnp.asarray(np.log(array / (1 - array)), jnp.float32))


class ParametricLIF(LIF):
    """[`LIF`][] whose leak and threshold are learnt, one of each per layer, or one per channel or neuron.

    λ = sigmoid(a) stays in (0, 1) and θ = softplus(b) stays positive, a and b being the parameters (Fang et
    al., PLIF, 2021, for the leak; Rathi and Roy, DIET-SNN, 2020, for the threshold; Perez-Nieves et al.,
    2021, for time constants of their own for every neuron).

    **Arguments:**

    - `leak`, `threshold`: where they start; the leak strictly between 0 and 1. An array makes as many
      parameters, e.g. `leak=np.full(128, 0.9)` for a layer of 128 neurons.
    - `learn_leak`, `learn_threshold`: which of them are parameters.
    - the others as for [`LIF`][].
    """

    def __init__(
        self,
        *,
        leak: Values = 0.5,
        threshold: Values = 1.0,
        learn_leak: bool = True,
        learn_threshold: bool = True,
        **options,
    ):
        super().__init__(leak=leak, threshold=threshold, **options)
        self.leak_logit = _logit(leak, "leak") if learn_leak else None
        start = np.asarray(threshold, np.float64)
        raw = start + np.log(-np.expm1(-start))  # softplus⁻¹
        self.threshold_raw = nnx.Param(jnp.asarray(raw, jnp.float32)) if learn_threshold else None

    def rescale(self, factor: float) -> None:
        Neuron.rescale(self, factor)

    def _constants(self, dtype):
        leak, threshold = super()._constants(dtype)
        if self.leak_logit is not None:
            leak = jax.nn.sigmoid(self.leak_logit[...].astype(dtype))
        if self.threshold_raw is not None:
            threshold = jax.nn.softplus(self.threshold_raw[...].astype(dtype))
        return leak, threshold


class ParametricCubaLIF(BehindSynapse, ParametricLIF):
    """[`CubaLIF`][] whose leaks and threshold are learnt, as in [`ParametricLIF`][].

    **Arguments:** `current_leak`: where λ_i = sigmoid(c) starts, strictly between 0 and 1; the others as for
    [`ParametricLIF`][].
    """

    def __init__(self, *, current_leak: Values = 0.5, **options):
        super().__init__(**options)
        self.current_leak_logit = _logit(current_leak, "current_leak")

    def _kept(self, dtype):
        return jax.nn.sigmoid(self.current_leak_logit[...].astype(dtype))
