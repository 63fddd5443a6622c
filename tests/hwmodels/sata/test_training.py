import jax
import jax.numpy as jnp
import pytest

from hwmodels import sata
from hwmodels.sata.training import dense_training_energy, training_energy
from hwmodels.workload import Layer, Workload
from tests.helpers import finite_difference, reference_json

REFERENCE = reference_json("sata/training.json")


def workload(network, timesteps, sparsity):
    layers = []
    for name, entry in REFERENCE["networks"][network].items():
        if entry["type"] == "2dconv":
            layer = Layer.conv(
                name,
                height=entry["H_h"],
                width=entry["H_w"],
                in_channels=entry["C"],
                out_channels=entry["K"],
                kernel=(entry["R_h"], entry["R_w"]),
                padding=1,
                input_rate=1 - sparsity,
            )
            assert (layer.out_height, layer.out_width) == (entry["E_h"], entry["E_w"])
        else:
            layer = Layer.linear(
                name,
                in_features=entry["in"],
                out_features=entry["out"],
                input_rate=1 - sparsity,
                spiking=entry["type"] == "linear",
            )
        layers.append(layer)
    return Workload(layers=layers, timesteps=timesteps)


def cost(run, **changes):
    run = run | changes
    return training_energy(
        workload(run["network"], run["timesteps"], run["sparsity_spike"]),
        fwd_bits=run["fwd_bits"],
        sparsity_du=run["sparsity_du"],
        sparsity_df=run["sparsity_df"],
        conventions=run.get("conventions", "published"),
    )


@pytest.mark.parametrize("run", REFERENCE["runs"], ids=lambda run: f"{run['network']}-T{run['timesteps']}")
def test_published_counts_and_energies(run):
    ours = cost(run)
    assert ours.counts == pytest.approx(run["counts"], rel=1e-12)
    units = {name: energy / (0.239 + 0.0389) for name, energy in run["unit_energy"].items()}
    assert sata.training.unit_energies_mac(run["fwd_bits"]) == pytest.approx(units, rel=1e-12)
    assert ours.total_mac == pytest.approx(run["total_energy_mac"], rel=1e-12)
    assert ours.energy_by_stage_mac["forward"] == pytest.approx(run["forward_energy_mac"], rel=1e-12)
    assert ours.forward_compute_mac == pytest.approx(run["forward_compute_mac"], rel=1e-12)
    assert ours.forward_memory_mac == pytest.approx(run["forward_memory_mac"], rel=1e-12)
    assert sum(ours.energy_by_layer_mac.values()) == pytest.approx(ours.total_mac, rel=1e-12)
    assert sum(ours.energy_by_stage_mac.values()) == pytest.approx(ours.total_mac, rel=1e-12)


def test_a_last_layer_alone_costs_nothing_when_published():
    run = REFERENCE["runs"][0] | {"network": "only_lin5"}
    assert cost(run).total_mac == 0
    assert cost(run, conventions="corrected").total_mac > 0


def test_corrected_counts_add_up_over_layers():
    settings = {"timesteps": 4, "fwd_bits": 8, "sparsity_spike": 0.9, "sparsity_du": 0.0, "sparsity_df": 0.0}
    settings |= {"conventions": "corrected", "sparsity_spike": 0.0}
    full, convolutions = cost(settings | {"network": "full"}), cost(settings | {"network": "conv_only"})
    hidden, last = cost(settings | {"network": "only_lin4"}), cost(settings | {"network": "only_lin5"})
    for name in ("mac_fwd", "mac_wup", "lif", "dram_fwd", "glb_wup"):
        together = convolutions.counts[name] + hidden.counts[name] + last.counts[name]
        assert full.counts[name] == pytest.approx(together), name
    # without sparsity, and but for the first layer's input gradient, published conv_only is already right
    published = cost(settings | {"network": "conv_only", "conventions": "published"})
    assert convolutions.counts["mac_fwd"] == published.counts["mac_fwd"]
    first = workload("conv_only", 4, 0.0).layers[0].macs * 4
    assert convolutions.counts["mac_bwd"] == published.counts["mac_bwd"] - first


@pytest.mark.parametrize("knob", ["fwd_bits", "sparsity_du", "sparsity_df", "sparsity_spike", "timesteps"])
def test_every_knob_turns_the_corrected_total(knob):
    base = {"network": "full", "timesteps": 4, "fwd_bits": 8, "conventions": "corrected"}
    base |= {"sparsity_spike": 0.9, "sparsity_du": 0.5, "sparsity_df": 0.5}
    turned = {knob: {"fwd_bits": 4, "timesteps": 2}.get(knob, 0.95)}
    assert cost(base | turned).total_mac < cost(base).total_mac


def test_pruned_weights_are_neither_used_nor_updated():
    def counts(pruned, conventions):
        layer = Layer.linear("l", in_features=40, out_features=30, input_rate=0.5, weight_sparsity=pruned)
        first = Layer.linear("f", in_features=20, out_features=40)
        return training_energy(Workload((first, layer), 2), conventions=conventions).counts

    dense, pruned = counts(0.0, "corrected"), counts(0.75, "corrected")
    first = 20 * 40 * 2
    assert pruned["mac_fwd"] - first == (dense["mac_fwd"] - first) / 4
    assert pruned["mac_wup"] - first == (dense["mac_wup"] - first) / 4
    assert pruned["mac_bwd"] == dense["mac_bwd"] / 4
    assert counts(0.75, "published") == counts(0.0, "published")


def test_the_twin_moves_words_of_16_bits():
    layer = Layer.conv("c", height=6, width=6, in_channels=4, out_channels=8, padding=1, input_rate=0.1)
    counts = dense_training_energy(Workload((layer,), 8)).counts
    assert counts["dram_fwd"] == 9 * 4 * 8 + 6 * 6 * 4 + 6 * 6 * 8  # weights, inputs, outputs
    assert counts["mac_fwd"] == 6 * 6 * 8 * 9 * 4


def test_gradients_match_finite_differences():
    def total(x):
        layers = (
            Layer.conv("c", height=6, width=6, in_channels=2, out_channels=4, padding=1, input_rate=x[0]),
            Layer.linear("l", in_features=144, out_features=10, input_rate=x[1], spiking=False),
        )
        network = Workload(layers=layers, timesteps=x[2])
        return training_energy(network, fwd_bits=x[3], sparsity_du=x[4], sparsity_df=x[5]).total_mac

    at = jnp.array([0.2, 0.1, 4.0, 8.0, 0.7, 0.6])
    ours, expected = jax.grad(total)(at), finite_difference(total, at)
    assert ours == pytest.approx(expected, rel=1e-6)
    assert bool((ours != 0).all())


def test_a_spiking_step_costs_more_than_its_twin():
    # Yin et al. report 1.27 times for SNN against ANN with sparsities; the direction must hold at T = 8
    network = workload("full", 8, 0.9)
    ratio = training_energy(network, sparsity_du=0.7, sparsity_df=0.6).total_mac
    ratio /= dense_training_energy(network).total_mac
    assert ratio > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity_du": 1.5}, r"sparsity_du is a fraction"),
        ({"sparsity_df": float("nan")}, r"sparsity_df is a fraction"),
        ({"fwd_bits": 0}, r"fwd_bits must lie in 1 to 32"),
        ({"conventions": "new"}, r"choose 'corrected' or 'published'"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        training_energy(workload("only_lin4", 4, 0.5), **arguments)
