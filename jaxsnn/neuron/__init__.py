"""Neurons that hold no hidden state: `initial_state(shape, dtype)` and `(current, state) -> (out, state)`."""

from jaxsnn.neuron._adaptive import AdaptiveLIF
from jaxsnn.neuron._base import Integration, Neuron, Reset
from jaxsnn.neuron._constants import Constant, Values
from jaxsnn.neuron._learnt import ParametricCubaLIF, ParametricLIF
from jaxsnn.neuron._lif import IF, LIF, CubaLIF, SharedLIF
from jaxsnn.neuron._peers import DelayedLIF, MultiSpikeIF
from jaxsnn.neuron._silent import CubaReadout, Identity, Readout, ReLU

__all__ = [
    "IF",
    "LIF",
    "AdaptiveLIF",
    "Constant",
    "CubaLIF",
    "CubaReadout",
    "DelayedLIF",
    "Identity",
    "Integration",
    "MultiSpikeIF",
    "Neuron",
    "ParametricCubaLIF",
    "ParametricLIF",
    "ReLU",
    "Readout",
    "Reset",
    "SharedLIF",
    "Values",
]
