import jax
import jax.numpy as jnp
import pytest

from hwmodels import sata
from hwmodels.sata import studies
from hwmodels.sata.other_dataflows import NOT_COUNTED
from hwmodels.workload import Layer, Workload
from tests.helpers import finite_difference, reference_json

TARGETS = reference_json("paper_targets.json")["hardware_perspective"]


def test_table_ii_improvements_to_the_printed_digits():
    printed = {
        row["work"]: row["paper_improvement"] for row in reference_json("sata/published.json")["table_ii"]
    }
    ours = {
        row.source.removeprefix("Table II, "): row
        for row in studies.table_ii()
        if "published" in row.quantity
    }
    assert {work: row.ours for work, row in ours.items()} == printed
    assert {work: row.paper for work, row in ours.items()} == printed


def test_tailored_dataflow_saves_about_what_figure_5a_says():
    assert "62.5 %" in TARGETS["figure_5a"]
    savings = studies.figure_5a((1, 2, 4, 8))
    assert savings[4] == pytest.approx(0.625, abs=0.03)
    assert sorted(savings.values()) == list(savings.values())  # "more at more timesteps"


def test_figure_4b_grows_and_early_exit_saves():
    rows = studies.figure_4b((1, 2, 3, 4))
    for part in ("computation", "movement"):
        values = [row[part] for row in rows.values()]
        assert sorted(values) == values
    assert studies.early_exit_saving("os") == pytest.approx(0.465, abs=0.005)
    assert 0 < studies.early_exit_saving("sata") < studies.early_exit_saving("os")


def test_lif_share_of_figure_5b():
    units = studies.figure_5b((1, 4))
    share = units[1]["lif"] / (units[1]["lif"] + units[1]["accumulation"])
    assert share == pytest.approx(0.616, abs=0.02)
    assert 1 - units[4]["lif"] / units[1]["lif"] == pytest.approx(0.751, abs=0.002)


def test_sharing_divides_units_but_not_updates():
    network = sata.vgg9(timesteps=4)
    one, four = (sata.inference_energy(network, sata.Accelerator(lif_sharing=n)) for n in (1, 4))
    for name in ("comparator", "subtractor"):  # ungated: paid by the unit
        ratio = four.energy_by_component_j[name] / one.energy_by_component_j[name]
        assert ratio == pytest.approx(0.25)
        assert four.area_by_component_mm2[name] == one.area_by_component_mm2[name] / 4
    assert four.neuron_updates == one.neuron_updates
    assert four.energy_by_component_j["adder"] == one.energy_by_component_j["adder"]


def test_plain_dataflows_repeat_their_traffic():
    for flow in ("os", "ws", "is"):
        one, four = (
            sata.inference_energy(
                sata.vgg9(timesteps=t, direct_encoding=False), sata.Accelerator(dataflow=flow)
            )
            for t in (1, 4)
        )
        for name in ("dram_ifmap", "dram_filter", "dram_ofmap"):
            assert four.energy_by_component_j[name] == pytest.approx(4 * one.energy_by_component_j[name])
    one, four = (sata.inference_energy(sata.vgg9(timesteps=t)) for t in (1, 4))
    assert four.energy_by_component_j["dram_filter"] == one.energy_by_component_j["dram_filter"]


def test_twin_has_multipliers_one_timestep_and_no_spikes():
    network = sata.vgg9(timesteps=4)
    twin, chip = sata.dense_twin(network)
    assert twin.timesteps == 1
    assert not any(layer.analog_input for layer in twin.layers)
    assert twin.macs == network.macs
    cost = sata.inference_energy(twin, chip)
    assert cost.macs == network.macs
    assert "multiplier" in cost.energy_by_component_j
    assert "membrane_register" not in cost.energy_by_component_j
    sparser, _ = sata.dense_twin(network, activation_rate=0.5)
    assert sata.inference_energy(sparser, chip).macs == network.macs / 2
    eight = sata.inference_energy(twin, chip).energy_by_component_j
    four = sata.inference_energy(*sata.dense_twin(network, activation_bits=4)).energy_by_component_j
    assert four["dram_ifmap"] == pytest.approx(eight["dram_ifmap"] / 2)


def test_twin_is_checked_like_any_chip():
    with pytest.raises(ValueError, match=r"output has 33 bits|activation has 33 bits"):
        sata.dense_twin(sata.vgg9(), activation_bits=33)
    with pytest.raises(ValueError, match=r"layer 'conv1': input_rate is a fraction"):
        sata.dense_twin(sata.vgg9(), activation_rate=2.0)
    with pytest.raises(ValueError, match=r"'ptb' moves spikes and has no dense element"):
        sata.dense_twin(sata.vgg9(), sata.Accelerator(dataflow="ptb"))


def test_snn_over_ann_grows_with_timesteps_on_a_plain_array():
    ratios = [studies.dense_ratio(t) for t in (1, 4, 16)]
    assert ratios == sorted(ratios)
    assert ratios[-1] == pytest.approx(16, rel=0.05)


def test_training_ratio_is_near_the_papers():
    assert studies.training_ratio() == pytest.approx(1.27, abs=0.05)


def test_early_exit_is_a_mean_over_inputs():
    network, fractions = sata.vgg9(), (0.5, 0.2, 0.1, 0.2)
    cost = sata.early_exit_cost(network, fractions)
    assert cost.timesteps == pytest.approx(2.0)
    single = [sata.inference_energy(Workload(network.layers, t)) for t in (1, 2, 3, 4)]
    assert cost.energy_j == pytest.approx(sum(f * c.total_j for f, c in zip(fractions, single, strict=True)))
    products = [f * c.total_j * c.latency_s for f, c in zip(fractions, single, strict=True)]
    assert cost.energy_delay_js == pytest.approx(sum(products))
    # a product of means is not the mean of products
    assert cost.energy_delay_js > cost.energy_j * cost.latency_s
    closed = sata.early_exit_cost(network, fractions, dram="closed_form")
    assert closed.energy_j == pytest.approx(cost.energy_j, rel=0.05)
    assert closed.energy_j != cost.energy_j
    all_at_two = sata.early_exit_cost(network, (0.0, 1.0))
    assert all_at_two.energy_j == single[1].total_j

    def energy(p):
        return sata.early_exit_cost(network, p).energy_j

    at = jnp.array([0.4, 0.6])
    slope = jax.jit(jax.grad(energy))(at)
    assert slope == pytest.approx([single[0].total_j, single[1].total_j], rel=1e-12)


@pytest.mark.parametrize("fractions", [(0.5, 0.6), (1.5, -0.5), (), (float("nan"), 1.0)])
def test_exit_fractions_must_be_a_distribution(fractions):
    with pytest.raises(ValueError, match="sum to one"):
        sata.early_exit_cost(sata.vgg9(), fractions)


def small(**changes):
    layer = Layer.conv(
        "c", height=4, width=4, in_channels=2, out_channels=8, padding=1, input_rate=changes.pop("rate", 0.25)
    )
    return Workload(layers=(layer,), timesteps=changes.pop("timesteps", 4))


def test_spinalflow_by_hand():
    """One filter block: a spike per cycle and a step of all neurons per pixel and timestep."""
    chip = sata.Accelerator(dataflow="spinalflow")
    cost = sata.inference_energy(small(), chip)
    taps = (4 * 3 - 2) ** 2 * 2  # rows of kernel on the map, squared, times channels
    spikes = taps * 0.25 * 4
    assert cost.cycles == spikes + 16 * 4
    assert cost.macs == spikes * 8
    assert cost.neuron_updates == 16 * 8 * 4
    entry = (5 + 2) / 8  # bytes: an address of 18 taps and one of 4 timesteps
    sram = sata.sram(147456)
    from_array, from_dram = spikes * 8, 18 * 8
    expected = from_array * sram.read_j + from_dram * sram.write_j
    expected += 2 * sram.bank_leakage_w * cost.latency_s
    assert cost.energy_by_component_j["glb_filter"] == pytest.approx(expected)
    listed = 4 * 4 * 2 * 0.25 * 4 * entry
    assert cost.energy_by_component_j["dram_ifmap"] == pytest.approx(listed * 0.468762e-9)


def test_ptb_by_hand():
    """Sixteen pixels times two windows fill sixteen rows twice; eight filters fill the columns once."""
    chip = sata.Accelerator(dataflow="ptb", time_window=2)
    cost = sata.inference_energy(small(), chip)
    active = 1 - 0.75 ** (2 * 16)
    assert cost.cycles == pytest.approx(2 * (18 * active * 2 + 16 + 8 - 2))
    wide = sata.inference_energy(small(), sata.Accelerator(dataflow="ptb", time_window=4))
    assert wide.cycles != cost.cycles


@pytest.mark.parametrize("dataflow", ["sata", "os", "spinalflow", "ptb"])
def test_a_shortcut_is_read_and_added_under_every_dataflow(dataflow):
    plain, chip = small(), sata.Accelerator(dataflow=dataflow)
    shape = {"height": 4, "width": 4, "in_channels": 2, "out_channels": 8, "padding": 1, "input_rate": 0.25}
    layer = Layer.conv("c", **shape, residual_add=True)
    one = sata.inference_energy(plain, chip).energy_by_component_j
    other = sata.inference_energy(Workload((layer,), 4), chip).energy_by_component_j
    updates = 4 * 4 * 8 * 4
    read = other["glb_ofmap"] - one["glb_ofmap"]
    assert read == pytest.approx(updates / 8 * sata.sram(32768).read_j, rel=1e-9)
    added = other["residual_and_pooling"] - one["residual_and_pooling"]
    assert added == pytest.approx(updates * 0.0367e-3 / 400e6, rel=1e-9)  # a 16-bit adder of the tables


@pytest.mark.parametrize("dataflow", ["spinalflow", "ptb"])
def test_other_dataflows_differentiate_and_skip_silence(dataflow):
    def total(rate):
        return sata.inference_energy(small(rate=rate), sata.Accelerator(dataflow=dataflow)).total_j

    ours = jax.grad(total)(0.3)
    assert ours == pytest.approx(float(finite_difference(lambda r: total(float(r)), 0.3)), rel=1e-5)
    assert ours > 0
    assert dataflow in NOT_COUNTED


def test_a_faster_clock_leaks_for_less_time_and_switches_as_much():
    """The tables' powers are those of 400 MHz: energy of an operation is theirs at every clock."""
    slow, fast = (
        sata.inference_energy(small(), sata.Accelerator(clock_hz=clock)).energy_by_cause_j
        for clock in (200e6, 400e6)
    )
    assert slow["leakage"] == pytest.approx(2 * fast["leakage"], rel=1e-12)
    assert {cause: slow[cause] for cause in slow if cause != "leakage"} == {
        cause: fast[cause] for cause in fast if cause != "leakage"
    }


def test_every_comparison_says_why():
    rows = studies.comparisons()
    for row in rows:
        assert row.why
        assert row.difference == row.ours - row.paper
    assert studies.markdown(rows).count("\n|") == len(rows) + 2
