"""Neurons against a NumPy loop written from the equations."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnn.layers import run_neuron
from jaxsnn.neuron import IF, LIF, Integration, Readout, ReLU, Reset
from jaxsnn.signal import Signal


def numpy_lif(currents, leak, threshold, reset, integration):
    u, spikes, potentials = np.zeros(currents.shape[1:]), [], []
    for current in currents:
        weight = 1 - leak if integration is Integration.AVERAGE else 1.0
        u = leak * u + weight * current
        o = (u > threshold).astype(float)
        if reset is Reset.ZERO:
            u = np.where(o == 1, 0.0, u)
        elif reset is Reset.SUBTRACT:
            u = u - threshold * o
        spikes.append(o)
        potentials.append(u)
    return np.stack(spikes), np.stack(potentials)


def unroll(neuron, currents):
    state = neuron.initial_state(currents.shape[1:], currents.dtype)
    spikes, states = [], []
    for current in currents:
        out, state = neuron(current, state)
        spikes.append(out)
        states.append(state)
    return jnp.stack(spikes), jnp.stack(states)


CURRENTS = np.random.default_rng(0).normal(0.4, 0.8, (12, 3, 5))


@pytest.mark.parametrize("reset", list(Reset))
@pytest.mark.parametrize("integration", list(Integration))
@pytest.mark.parametrize("detach", [True, False])
def test_lif_follows_its_equations(reset, integration, detach):
    neuron = LIF(leak=0.7, threshold=0.8, reset=reset, integration=integration, detach_reset=detach)
    expected = numpy_lif(CURRENTS, 0.7, 0.8, reset, integration)
    spikes, potentials = unroll(neuron, jnp.asarray(CURRENTS))
    np.testing.assert_array_equal(spikes, expected[0])
    np.testing.assert_allclose(potentials, expected[1], rtol=1e-13, atol=1e-15)
    assert 0 < expected[0].mean() < 1


def test_if_is_lif_without_leak():
    expected = numpy_lif(CURRENTS, 1.0, 0.8, Reset.SUBTRACT, Integration.SUM)
    spikes, _ = unroll(IF(threshold=0.8, reset=Reset.SUBTRACT), jnp.asarray(CURRENTS))
    np.testing.assert_array_equal(spikes, expected[0])


def test_readout_accumulates_and_never_fires():
    out, _ = unroll(Readout(), jnp.asarray(CURRENTS))
    np.testing.assert_allclose(out, np.cumsum(CURRENTS, axis=0), rtol=1e-12)
    leaky, _ = unroll(Readout(leak=0.5), jnp.asarray(CURRENTS))
    np.testing.assert_allclose(leaky[-1], sum(0.5 ** (11 - t) * CURRENTS[t] for t in range(12)), rtol=1e-12)


def test_relu_has_no_memory():
    out, _ = unroll(ReLU(), jnp.asarray(CURRENTS))
    np.testing.assert_array_equal(out, np.maximum(0, CURRENTS))


@pytest.mark.parametrize("reset", [Reset.ZERO, Reset.SUBTRACT])
def test_the_gradient_through_the_reset_is_detached_or_not(reset):
    """Two steps by hand: u1 = I1, u2 = λ·u1⁺ + I2, o2(I1) with and without the reset's own path."""
    leak, current = 0.5, jnp.asarray([1.2, 0.7])

    def second_spike(currents, detach):
        return unroll(LIF(leak=leak, reset=reset, detach_reset=detach), currents)[0][1]

    u1 = 1.2
    u1_after = 0.0 if reset is Reset.ZERO else u1 - 1
    slope1, slope2 = (max(0.0, 1 - abs(u - 1)) for u in (u1, leak * u1_after + 0.7))
    keep = 0.0 if reset is Reset.ZERO else 1.0  # ∂u⁺/∂u with the spike held fixed
    lose = u1 if reset is Reset.ZERO else 1.0  # −∂u⁺/∂o
    assert slope2 > 0
    for detach, through in [(True, keep), (False, keep - lose * slope1)]:
        gradient = jax.grad(second_spike)(current, detach)
        np.testing.assert_allclose(gradient, [slope2 * leak * through, slope2], rtol=1e-12)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("steps", [1, 4, 20])
def test_a_stretch_of_time_equals_single_steps(constant, steps):
    currents = np.random.default_rng(1).normal(0.4, 0.8, (1 if constant else steps, 6))
    everything = jnp.asarray(np.broadcast_to(currents, (steps, 6)))
    signal = Signal(values=jnp.asarray(currents), steps=steps, analog=False)
    out, state = run_neuron(LIF(), signal, None)
    spikes, states = unroll(LIF(), everything)
    np.testing.assert_array_equal(out.values, spikes)
    np.testing.assert_allclose(state, states[-1], rtol=1e-13)


@hypothesis.given(
    hnp.arrays(np.float64, (6, 4), elements=st.floats(0, 3)), st.floats(0, 1), st.floats(0.1, 2)
)
def test_soft_reset_conserves_charge(currents, leak, threshold):
    """What enters either leaked, left in a spike, or is still there."""
    spikes, potentials = unroll(
        LIF(leak=leak, threshold=threshold, reset=Reset.SUBTRACT), jnp.asarray(currents)
    )
    before = np.concatenate([np.zeros((1, 4)), np.asarray(potentials)[:-1]])
    leaked = ((1 - leak) * before).sum(0)
    balance = leaked + threshold * np.asarray(spikes).sum(0) + np.asarray(potentials)[-1]
    np.testing.assert_allclose(balance, currents.sum(0), atol=1e-12)


def test_half_precision_currents_meet_a_full_precision_potential():
    current = jnp.full((3,), 0.001, jnp.bfloat16)
    neuron = LIF(leak=1.0)
    state = neuron.initial_state(current.shape, current.dtype)
    assert state.dtype == jnp.float32
    for _ in range(512):
        out, state = neuron(current, state)
    assert out.dtype == jnp.bfloat16
    assert float(state[0]) > 0.5  # In bfloat16 the sum would stall at 0.25.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LIF(leak=1.2), r"leak is the fraction.*1\.2"),
        (lambda: LIF(leak=float("nan")), "leak is the fraction"),
        (lambda: LIF(threshold=0.0), "threshold must be positive"),
        (lambda: IF(threshold=float("inf")), "threshold must be positive and finite"),
        (lambda: Readout(leak=-0.1), "leak is the fraction"),
    ],
)
def test_bad_parameters_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
