"""Energy in the loss: gradients against finite differences, every lever, and the experiment end to end."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwmodels import sata, spikeflow
from jaxsnn.codesign.penalties import EnergyPenalty, SpikePenalty
from jaxsnn.codesign.workload import inference_energy_j, to_workload
from jaxsnn.layers import Block, Conv, Linear
from jaxsnn.learning.bit_widths import LearntBits, with_learnt_bits
from jaxsnn.learning.digest import digest
from jaxsnn.learning.early_exit import soft_exit_fractions
from jaxsnn.learning.evaluation import mean_spike_rate
from jaxsnn.learning.training import TrainConfig, fit
from jaxsnn.models.mlp import mlp
from jaxsnn.network import Network
from jaxsnn.neuron import Neuron, Readout
from tests.experiments.test_command_line import experiments
from tests.helpers import finite_difference
from tests.jaxsnn.small_runs import few_digits

CHIPS = {"sata": sata.Accelerator(), "spikeflow": spikeflow.Chip(activity="spikes")}


class Smooth(Neuron):
    """A differentiable stand-in for a spiking neuron."""

    def __call__(self, current, state):
        potential = 0.8 * state + current
        out = jax.nn.sigmoid(3 * (potential - 1))
        return out, potential * (1 - out)


def smooth_network():
    options = {"param_dtype": jnp.float64, "rngs": nnx.Rngs(1)}
    return Network(
        [
            Block("conv1", Conv(1, 2, 2, padding=0, **options), Smooth(), pool=2),
            Block("fc1", Linear(2, 3, **options), Smooth()),
            Block("fc2", Linear(3, 2, **options), Readout()),
        ]
    )


IMAGES = jax.random.uniform(jax.random.key(2), (2, 3, 3, 1), jnp.float64)


def record(bits=8.0):
    _, found = smooth_network()(IMAGES, timesteps=2)
    return tuple(dataclasses.replace(layer, weight_bits=jnp.float64(bits)) for layer in found)


@pytest.mark.parametrize("chip", CHIPS)
def test_rates_and_timesteps_to_energy_matches_finite_differences(chip):
    layers = record()

    @jax.jit
    def energy_nj(levers):
        rated = [
            dataclasses.replace(layer, input_rate=rate) for layer, rate in zip(layers, levers, strict=False)
        ]
        return 1e9 * inference_energy_j(rated, levers[-1], CHIPS[chip])

    levers = jnp.array([0.3, 0.2, 0.6, 2.5])
    expected = finite_difference(energy_nj, levers, step=1e-5)
    np.testing.assert_allclose(jax.grad(energy_nj)(levers), expected, rtol=1e-5, atol=1e-9)
    assert (expected > 0)[1:].all()


def test_bits_to_energy_matches_finite_differences():
    layers = record()

    @jax.jit
    def energy_nj(bits):
        quantised = [dataclasses.replace(layer, weight_bits=b) for layer, b in zip(layers, bits, strict=True)]
        return 1e9 * inference_energy_j(quantised, 2.0, CHIPS["sata"])

    bits = jnp.array([3.3, 4.6, 7.2])
    expected = finite_difference(energy_nj, bits, step=1e-5)
    np.testing.assert_allclose(jax.grad(energy_nj)(bits), expected, rtol=1e-5)
    assert (expected > 0).all()


def test_weights_to_energy_matches_finite_differences():
    """Weights → smooth neurons and pooling → rates and soft exits → energy, as one gradient."""
    graphdef, params = nnx.split(smooth_network())
    flat, rebuild = jax.flatten_util.ravel_pytree(params)
    penalty = EnergyPenalty(1.0, 1e-9, 0.9, 0.1, CHIPS["spikeflow"])

    @jax.jit
    def loss(flat):
        outputs, rates = nnx.merge(graphdef, rebuild(flat)).outputs(IMAGES, timesteps=3)
        return penalty(outputs, rates, None)

    expected = finite_difference(loss, flat)
    np.testing.assert_allclose(jax.grad(loss)(flat), expected, rtol=1e-5, atol=1e-8)
    assert np.abs(expected).max() > 1e-4


def test_the_energy_is_that_of_the_whole_network_and_of_the_mean_of_exits():
    """At equal bits the layers' sum is the network's cost, and E is affine in T."""
    layers = record()
    for chip, early in (("sata", sata.early_exit_cost), ("spikeflow", spikeflow.early_exit_cost)):
        fractions = (0.5, 0.2, 0.3)
        exact = early(to_workload(layers, 3), fractions, CHIPS[chip]).energy_j
        assert inference_energy_j(layers, 0.5 + 0.4 + 0.9, CHIPS[chip]) == pytest.approx(exact, rel=1e-12)


def test_exits_at_once_take_one_timestep():
    """Under `jit` the mean of 41 ones is below one in float32, and chips refuse fewer timesteps."""
    penalty = EnergyPenalty(1.0, 1e-9, 0.5, 0.1, CHIPS["spikeflow"])
    layers = jax.tree.map(jnp.float32, record())
    energy_j = jax.jit(lambda outputs: penalty(outputs, layers, None))(jnp.zeros((1, 41, 2), jnp.float32))
    assert energy_j == pytest.approx(inference_energy_j(record(), 1, CHIPS["spikeflow"]) / 1e-9, rel=1e-5)


@pytest.mark.parametrize("chip", CHIPS)
def test_every_lever_changes_the_penalty(chip):
    layers = record()
    outputs = jax.random.normal(jax.random.key(0), (3, 4, 2), jnp.float64)
    base = {"beta": 1.0, "unit_j": 1e-9, "entropy": 0.5, "temperature": 0.1, "chip": CHIPS[chip]}
    value = EnergyPenalty(**base)(outputs, layers, None)
    for change in (
        {"beta": 2.0},
        {"unit_j": 2e-9},
        {"entropy": 0.9},
        {"temperature": 0.5},
        {"conventions": "published"},
    ):
        assert EnergyPenalty(**base | change)(outputs, layers, None) != value, change
    more = [dataclasses.replace(layer, input_rate=layer.input_rate / 2) for layer in layers]
    assert EnergyPenalty(**base)(outputs, more, None) < value
    assert EnergyPenalty(**base)(10 * outputs, layers, None) < value  # Surer, hence earlier.
    fewer = EnergyPenalty(**base)(outputs, record(4.0), None)
    assert fewer < value if chip == "sata" else fewer == value


def trained(penalty):
    network = with_learnt_bits(mlp((8,), in_features=64, rngs=nnx.Rngs(0)), lambda: LearntBits(gain=200.0))
    config = TrainConfig(epochs=3, timesteps=2, batch_size=32, loss_at="every")
    history = fit(network, few_digits(), config, penalty=penalty).history
    outputs, found = network.outputs(jnp.asarray(few_digits().scale(few_digits().test_images)), timesteps=2)
    fractions = np.asarray(soft_exit_fractions(outputs, entropy=0.5, temperature=0.1), np.float64)
    return (
        network,
        history,
        inference_energy_j(found, float(fractions @ (1, 2)), CHIPS["sata"]),
        mean_spike_rate(found),
    )


def test_no_weight_changes_no_bit_and_weight_lowers_what_it_weighs():
    network, history, energy_j, rate = trained(None)
    assert history[-1].penalty == 0

    def of_energy(beta):
        return EnergyPenalty(beta, energy_j, 0.5, 0.1, sata.Accelerator())

    weightless, zero_history, _, _ = trained(of_energy(0.0))
    assert digest(nnx.state(weightless)) == digest(nnx.state(network))
    assert zero_history[-1].loss == history[-1].loss
    _, weighed_history, less_j, _ = trained(of_energy(3.0))
    assert less_j < 0.9 * energy_j
    assert weighed_history[0].penalty > weighed_history[-1].penalty > 0
    assert trained(SpikePenalty(3.0, float(rate)))[3] < rate


def test_a_checkpoint_knows_what_it_was_trained_for(tmp_path):
    config = TrainConfig(epochs=1, timesteps=1, batch_size=32)
    settings = {"beta": 1.0, "unit_j": 1e-6, "entropy": 0.5, "temperature": 0.1}

    def fitted(chip, **change):
        network = mlp((4,), in_features=64, rngs=nnx.Rngs(0))
        penalty = EnergyPenalty(chip=chip, **settings | change)
        return fit(network, few_digits(), config, checkpoint_dir=tmp_path, penalty=penalty).resumed_epochs

    assert fitted(sata.Accelerator()) == 0
    assert fitted(sata.Accelerator()) == 1
    for chip, change in (
        (CHIPS["spikeflow"], {}),
        (sata.Accelerator(sram_banks=4), {}),
        (sata.Accelerator(), {"unit_j": 2e-6}),
        (sata.Accelerator(), {"temperature": 0.2}),
    ):
        with pytest.raises(ValueError, match=r"another run: penalty was .EnergyPenalty"):
            fitted(chip, **change)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EnergyPenalty(-1.0, 1.0, 0.5, 0.1, CHIPS["sata"]), "zero or more, got -1.0"),
        (lambda: EnergyPenalty(float("nan"), 1.0, 0.5, 0.1, CHIPS["sata"]), "zero or more, got nan"),
        (lambda: EnergyPenalty(1.0, 0.0, 0.5, 0.1, CHIPS["sata"]), "unit_j is the energy .* got 0.0"),
        (lambda: SpikePenalty(-0.5, 1.0), "zero or more, got -0.5"),
        (lambda: SpikePenalty(1.0, 0.0), "unit is the spike rate .* got 0.0"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


SMALL = (
    "digits_convnet.width=2",
    "TrainConfig.epochs=1",
    "TrainConfig.timesteps=2",
    "energy_aware.tuning_epochs=1",
    "energy_aware.seeds=(0,)",
    "energy_aware.betas=(1.0,)",
    "LearntBits.least=7",
)


def run(folder, *bindings):
    return experiments(
        "run", "energy_aware", "--out", folder, *(f"--set={binding}" for binding in (*SMALL, *bindings))
    )


@pytest.mark.long
def test_the_experiment_runs_resumes_and_adds_up(tmp_path):
    process = run(tmp_path)
    assert process.returncode == 0, process.stderr
    assert "Accuracy against energy" in process.stdout
    assert (tmp_path / "pareto.png").stat().st_size > 1000
    first = json.loads((tmp_path / "result.json").read_text())["numbers"]
    assert [(row["penalty"], row["beta"]) for row in first["summary"]] == [
        ("none", 0),
        ("energy", 1),
        ("spikes", 1),
    ]
    rounded = first["rounded_after_training"]
    assert [(row["penalty"], row["bits"]) for row in rounded] == [
        ("none", 8),
        ("none", 7),
        ("spikes", 8),
        ("spikes", 7),
    ]
    # Nothing but the weights' widths differs between the rows of one network.
    assert all(a["energy_j"] > b["energy_j"] for a, b in (rounded[:2], rounded[2:]))
    assert first["summary"][0]["energy_over_beta_zero"] == 1
    again = run(tmp_path)  # Everything is restored, nothing is trained.
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "result.json").read_text())["numbers"] == first


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("energy_aware.betas=(-0.1,)", "betas must be above zero (zero is always run), got -0.1"),
        ("energy_aware.model='loihi'", "energy_aware.model must be Literal['sata', 'spikeflow']"),
        ("energy_aware.seeds=()", "at least one of seeds"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, binding, message):
    process = run(tmp_path, binding)
    assert process.returncode == 2
    assert message in process.stderr
