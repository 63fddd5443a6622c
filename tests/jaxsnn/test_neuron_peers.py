"""The table of docs/neurons.md: our neurons spike as their peers' do, by stored answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnn.neuron import IF, LIF, CubaLIF, DelayedLIF, Integration, MultiSpikeIF, Reset
from tests.helpers import REFERENCE

ANSWERS = np.load(REFERENCE / "neurons" / "peers.npz")
SNNTORCH = {"leak": 0.8, "threshold": 0.7}
SAME = {
    "snntorch_subtract_delayed": (lambda: DelayedLIF(**SNNTORCH), "x"),
    "snntorch_zero_delayed": (lambda: LIF(**SNNTORCH), "x"),
    "snntorch_zero_now": (lambda: LIF(**SNNTORCH), "x"),
    "snntorch_none_delayed": (lambda: LIF(reset=Reset.NONE, **SNNTORCH), "x"),
    "snntorch_none_now": (lambda: LIF(reset=Reset.NONE, **SNNTORCH), "x"),
    "snntorch_synaptic": (lambda: CubaLIF(current_leak=0.4, **SNNTORCH), "x"),
    "norse_box": (lambda: LIF(leak=0.8, threshold=0.3, integration=Integration.AVERAGE), "x"),
    "sj_if": (lambda: IF(inclusive=True), "xe"),
    "sj_lif": (
        lambda: LIF(leak=0.5, threshold=0.25, integration=Integration.AVERAGE, inclusive=True),
        "xe",
    ),
    "sj_nodecay": (lambda: LIF(leak=0.5, inclusive=True), "xe"),
    "sj_soft": (lambda: IF(reset=Reset.SUBTRACT, inclusive=True), "xe"),
    "sinabs_single": (lambda: IF(inclusive=True), "xe"),
    "sinabs_multi": (MultiSpikeIF, "3xe"),
}


def spikes(neuron, currents):
    """A loop over time, so that nothing of a network takes part."""
    state = neuron.initial_state(currents.shape[1:], currents.dtype)
    step = jax.jit(lambda current, state: neuron(current, state))
    found = []
    for current in currents:
        out, state = step(current, state)
        found.append(out)
    return np.array(found)


@pytest.mark.parametrize("name", SAME)
def test_a_neuron_spikes_as_its_peer(name):
    make, which = SAME[name]
    currents = 3 * ANSWERS["xe"] if which == "3xe" else ANSWERS[which]
    found = spikes(make(), jnp.asarray(currents, jnp.float32))
    assert ANSWERS[name].any()
    np.testing.assert_array_equal(found, ANSWERS[name])


def test_soft_reset_without_delay_is_ours_below_twice_the_threshold():
    """Above, snnTorch subtracts once more in the next timestep."""
    neuron = LIF(reset=Reset.SUBTRACT, **SNNTORCH)
    found = spikes(neuron, jnp.asarray(ANSWERS["x"], jnp.float32))
    left, until = np.zeros(16), np.full(16, len(found))
    for time, (current, fired) in enumerate(zip(ANSWERS["x"], found, strict=True)):
        potential = 0.8 * left + current
        until = np.where((potential > 1.4) & (until > time), time, until)
        left = potential - 0.7 * fired
    assert (until > 3).any()
    for column, stop in enumerate(until):
        expected = ANSWERS["snntorch_subtract_now"][: stop + 1, column]
        np.testing.assert_array_equal(found[: stop + 1, column], expected)


def test_rules_that_differ_show_in_these_currents():
    """Otherwise the equalities above would say nothing."""
    assert (ANSWERS["snntorch_subtract_delayed"] != ANSWERS["snntorch_subtract_now"]).any()
    exclusive = spikes(IF(), jnp.asarray(ANSWERS["xe"], jnp.float32))
    assert (exclusive != ANSWERS["sj_if"]).any()
