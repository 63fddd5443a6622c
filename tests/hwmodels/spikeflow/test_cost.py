"""Energy, latency and area: laws, knobs, breakdowns, and one path for numbers and arrays."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels import spikeflow
from hwmodels.workload import Layer, Workload

NETWORK = spikeflow.vgg(spikeflow.VGG9, hidden=(256,), timesteps=5)


def _at(timesteps, workload=NETWORK):
    return dataclasses.replace(workload, timesteps=timesteps)


def _totals(cost):
    return np.array([cost.energy_j, cost.latency_s, cost.area_mm2])


@given(
    st.integers(1, 8),
    st.sampled_from(["overlapped", "pipelined", "sequential"]),
    st.sampled_from(["lif", "relu"]),
    st.booleans(),
    st.sampled_from(["dense", "spikes"]),
)
def test_breakdowns_sum_to_the_totals(timesteps, schedule, neuron, entropy, activity):
    chip = spikeflow.Chip(schedule=schedule, neuron=neuron, entropy_module=entropy, activity=activity)
    cost = spikeflow.evaluate(_at(1 if neuron == "relu" else timesteps, spikeflow.resnet18()), chip)
    assert math.isclose(sum(cost.energy_by_layer_j.values()), cost.energy_j, rel_tol=1e-12)
    assert math.isclose(sum(cost.energy_by_component_j.values()), cost.energy_j, rel_tol=1e-12)
    assert math.isclose(sum(cost.area_by_component_mm2.values()), cost.area_mm2, rel_tol=1e-12)
    assert math.isclose(sum(cost.area_by_layer_mm2.values()), cost.area_mm2, rel_tol=1e-12)
    for parts, total in (
        (cost.power_by_component_w, cost.power_w),
        (cost.power_by_layer_w, cost.power_w),
        (cost.energy_delay_by_component_js, cost.energy_delay_js),
        (cost.energy_delay_by_layer_js, cost.energy_delay_js),
    ):
        assert math.isclose(sum(parts.values()), total, rel_tol=1e-12)
    assert min(cost.area_by_layer_mm2.values()) >= -1e-12
    assert math.isclose(sum(cost.latency_by_layer_s.values()), cost.latency_s, rel_tol=1e-12)
    assert math.isclose(sum(cost.latency_by_component_s.values()), cost.latency_s, rel_tol=1e-12)
    assert math.isclose(min(cost.throughput_by_layer.values()), cost.throughput) or schedule == "sequential"
    assert min(cost.energy_by_component_j.values()) >= 0
    assert min(cost.latency_by_layer_s.values()) >= 0
    assert math.isclose(cost.energy_delay_js, cost.energy_j * cost.latency_s)
    assert math.isclose(cost.power_w, cost.energy_j * cost.throughput)


@pytest.mark.parametrize("schedule", ["overlapped", "pipelined", "sequential"])
def test_cost_is_affine_in_t_with_a_part_that_does_not_grow(schedule):
    chip = spikeflow.Chip(schedule=schedule, entropy_module=True)
    costs = [_totals(spikeflow.evaluate(_at(t), chip)) for t in (1, 2, 5)]
    slope = costs[1] - costs[0]
    np.testing.assert_allclose(costs[2], costs[0] + 4 * slope, rtol=1e-12)
    assert (costs[0][:2] > slope[:2]).all()
    assert slope[2] == 0


def test_only_the_image_and_the_encoding_layer_are_free_of_t():
    once = spikeflow.evaluate(_at(1)).energy_by_layer_and_component_j["conv1"]
    often = spikeflow.evaluate(_at(4)).energy_by_layer_and_component_j["conv1"]
    for component in ("crossbar", "adc", "mux", "diff", "h_tree", "tile_buffer"):
        assert once[component] == often[component] > 0
    assert math.isclose(4 * once["neuron"], often["neuron"])
    spiking = spikeflow.evaluate(_at(4)).energy_by_layer_and_component_j["conv2"]
    assert math.isclose(
        spiking["crossbar"],
        4 * spikeflow.evaluate(_at(1)).energy_by_layer_and_component_j["conv2"]["crossbar"],
    )


def test_an_event_driven_input_has_no_such_part():
    layers = [dataclasses.replace(layer, analog_input=False) for layer in NETWORK.layers]
    for t in (1, 3):
        cost = spikeflow.evaluate(Workload(layers, t), spikeflow.Chip(schedule="sequential"))
        base = spikeflow.evaluate(Workload(layers, 1), spikeflow.Chip(schedule="sequential"))
        assert math.isclose(cost.latency_s, t * base.latency_s)
        loading = 32 * 32 * 3 * spikeflow.Components().global_buffer_bit_j
        assert math.isclose(cost.energy_j - loading, t * (base.energy_j - loading))


def test_what_the_latency_is_spent_on():
    """Eight rounds of 26/8 clocks: one to read, seven for the sharing; then what SAR and bits add."""
    chip = spikeflow.Chip(schedule="sequential")
    base = spikeflow.evaluate(NETWORK, chip)
    parts, positions = base.latency_by_component_s, base.latency_s / 26 * 250e6
    assert parts["adc"] == parts["bit_serial"] == 0
    assert math.isclose(parts["read"], positions * 26 / 8 / 250e6)
    assert math.isclose(parts["mux"], 7 * parts["read"])
    # Without sharing, a converter for every column, the part is gone and the rest as before.
    alone = spikeflow.evaluate(NETWORK, dataclasses.replace(chip, mux_ratio=1)).latency_by_component_s
    assert math.isclose(alone["read"], parts["read"])
    assert alone["mux"] == 0
    sar = dataclasses.replace(chip, adc=spikeflow.Adc(kind="sar"))
    further = spikeflow.evaluate(NETWORK, sar).latency_by_component_s
    assert math.isclose(further["adc"], positions * 8 * 3 / 250e6)
    assert math.isclose(further["read"], parts["read"])
    ann = spikeflow.evaluate(*spikeflow.dense_twin(NETWORK, chip, activation_bits=4))
    row = ann.latency_by_layer_and_component_s["conv2"]
    assert math.isclose(row["bit_serial"], 3 * (row["read"] + row["mux"]))
    assert ann.latency_by_layer_and_component_s["conv1"]["bit_serial"] == 0


@pytest.mark.parametrize(
    ("knob", "value", "changed"),
    [
        ("crossbar_rows", 32, "energy area"),
        ("crossbar_columns", 32, "energy area"),
        ("kernel", 5, "energy area"),
        ("pes_per_tile", 4, "energy area"),
        ("mux_ratio", 4, "energy latency area"),
        ("adc_bits", 6, "energy area"),
        ("weight_bits", 8, "energy area"),
        ("input_bits", 4, "energy area"),
        ("encoder_cycles", 8, "energy latency area"),
        ("membrane_bits", 8, "energy area"),
        ("channel_sharing", 2, "area"),
        ("clock_hz", 500e6, "latency"),
        ("cycle_clocks", 13, "latency"),
        ("pipeline_start", 0.5, "latency"),
        ("cell", spikeflow.SRAM, "energy area"),
        ("adc", spikeflow.Adc(kind="sar"), "latency"),
        ("components", spikeflow.Components(tile_buffer_j=0.0), "energy"),
        ("mesh", spikeflow.Mesh(hop_bit_j=0.0), "energy"),
        ("node_nm", 28, "energy area"),
        ("constants_nm", 45, "energy area"),
        ("partition", "flatten", "energy"),
        ("schedule", "sequential", "latency"),
        ("activity", "dense", "energy"),
        ("entropy_module", True, "energy area"),
    ],
)
def test_every_knob_changes_what_it_should(knob, value, changed):
    before = spikeflow.evaluate(NETWORK)
    after = spikeflow.evaluate(NETWORK, spikeflow.Chip(**{knob: value}))
    moved = {
        name
        for name, quantity in [("energy", "energy_j"), ("latency", "latency_s"), ("area", "area_mm2")]
        if not math.isclose(getattr(before, quantity), getattr(after, quantity), rel_tol=1e-9)
    }
    assert moved == set(changed.split())


def test_knobs_of_an_ann():
    workload, chip = spikeflow.dense_twin(NETWORK, spikeflow.Chip(), activation_bits=4)
    ann = spikeflow.evaluate(workload, chip)
    wide = spikeflow.evaluate(*spikeflow.dense_twin(NETWORK, spikeflow.Chip(), activation_bits=8))
    assert wide.energy_j > ann.energy_j
    assert wide.latency_s > ann.latency_s
    assert ann.area_by_component_mm2["membrane"] == 0
    assert ann.area_by_component_mm2["encoder_memory"] == 0
    assert ann.area_by_component_mm2["shift_add"] > 0
    # Four bits in turn drive the crossbars as four timesteps do.
    snn = spikeflow.evaluate(_at(4))
    for component in ("crossbar", "adc", "h_tree"):
        assert math.isclose(ann.energy_by_component_j[component], snn.energy_by_component_j[component])


def test_flattened_first_layer_reads_one_crossbar_instead_of_nine():
    split = spikeflow.evaluate(NETWORK, spikeflow.Chip(partition="kernel-split"))
    flat = spikeflow.evaluate(NETWORK, spikeflow.Chip(partition="flatten"))
    tables = [cost.energy_by_layer_and_component_j["conv1"]["crossbar"] for cost in (split, flat)]
    assert math.isclose(tables[0], 9 * tables[1])


def test_adc_scaling_by_its_rules():
    def adc(bits, kind):
        chip = spikeflow.Chip(adc_bits=bits, adc=spikeflow.Adc(kind=kind))
        return spikeflow.evaluate(NETWORK, chip).energy_by_component_j["adc"]

    assert math.isclose(adc(8, "flash") / adc(4, "flash"), 255 / 15)
    assert math.isclose(adc(8, "sar") / adc(4, "sar"), 0.5 * 2 + 0.5 * 16)
    assert math.isclose(adc(4, "sar"), adc(4, "flash"))
    # A SAR conversion of 6 bits takes 5 clocks more in each of 8 rounds.
    sar, flash = (
        spikeflow.evaluate(NETWORK, spikeflow.Chip(adc_bits=6, adc=spikeflow.Adc(kind=kind)))
        for kind in ("sar", "flash")
    )
    assert math.isclose(sar.latency_s / flash.latency_s, (26 + 40) / 26)


def test_spike_dependent_energy():
    def evaluate(rate):
        layers = [dataclasses.replace(layer, input_rate=rate) for layer in NETWORK.layers]
        return spikeflow.evaluate(Workload(layers, 5))

    silent, rare, full = evaluate(0.0), evaluate(0.01), evaluate(1.0)
    dense = spikeflow.evaluate(NETWORK, spikeflow.Chip(activity="dense"))
    assert silent.energy_by_component_j["crossbar"] == silent.energy_by_component_j["adc"] == 0
    assert math.isclose(full.energy_j, dense.energy_j)
    assert math.isclose(rare.energy_by_component_j["crossbar"], 0.01 * full.energy_by_component_j["crossbar"])
    # 576 inputs at a rate of 0.01 all stay silent with probability 0.99^576 = 0.3 %.
    conv = (
        rare.energy_by_layer_and_component_j["conv2"]["adc"]
        / full.energy_by_layer_and_component_j["conv2"]["adc"]
    )
    assert math.isclose(conv, 1 - 0.99**576)


def test_the_converter_share_equals_a_count_of_silent_pes():
    """Against random spikes: how often at least one of a PE's inputs is set."""
    rate, generator = 0.002, np.random.default_rng(0)
    spikes = generator.random((20_000, 576)) < rate
    layer = Layer.conv("c", height=4, width=4, in_channels=64, out_channels=64, padding=1, input_rate=rate)
    adc = [
        spikeflow.evaluate(Workload([layer], 1), spikeflow.Chip(activity=a)).energy_by_component_j["adc"]
        for a in ("spikes", "dense")
    ]
    counted = spikes.any(axis=1).mean()
    assert adc[0] / adc[1] == pytest.approx(counted, abs=4 * math.sqrt(counted * (1 - counted) / 20_000))


def test_a_gain_multiplies_every_conversion():
    """As often as converters convert, where few inputs spike too."""
    layers = [dataclasses.replace(layer, input_rate=0.01) for layer in NETWORK.layers]
    chip = spikeflow.Chip(calibration="column")
    energy = spikeflow.evaluate(Workload(layers, 5), chip).energy_by_component_j
    per_conversion = chip.components.multiplier_8_bit_j / chip.adc.energy_j
    assert math.isclose(energy["gain"], energy["adc"] * per_conversion)


def test_residual_additions_and_projections_are_charged():
    workload = spikeflow.resnet18(timesteps=2)
    table = spikeflow.evaluate(workload).energy_by_layer_and_component_j
    assert table["stage1.block1.conv2"]["accumulator"] > table["stage1.block1.conv1"]["accumulator"]
    assert table["stage2.block1.projection"]["neuron"] == 0
    assert table["stage2.block1.projection"]["crossbar"] > 0
    assert table["fc"]["membrane"] > 0


@pytest.mark.parametrize("x64", [True, False])
@pytest.mark.parametrize(
    ("schedule", "conventions"),
    [
        ("overlapped", "corrected"),
        ("pipelined", "corrected"),
        ("sequential", "corrected"),
        ("overlapped", "published"),  # which has one schedule, whatever the chip says
    ],
)
def test_arrays_and_numbers_take_one_path(x64, schedule, conventions):
    def totals(rows, pes_per_tile, timesteps):
        chip = spikeflow.Chip(crossbar_rows=rows, pes_per_tile=pes_per_tile, schedule=schedule)
        cost = spikeflow.evaluate(_at(timesteps), chip, conventions)
        return jnp.asarray([cost.energy_j * 1e5, cost.latency_s * 1e3, cost.area_mm2], float)

    with jax.enable_x64(x64):
        designs = [(64, 8, 5), (32, 7, 1), (100, 1, 3), (64, 4, 2)]
        mapped = jax.jit(jax.vmap(totals))(*map(jnp.asarray, zip(*designs, strict=True)))
        for design, result in zip(designs, mapped, strict=True):
            np.testing.assert_allclose(result, totals(*design), rtol=1e-12 if x64 else 2e-5)


def test_numbers_stay_python_numbers():
    cost = spikeflow.evaluate(_at(np.int64(5)), spikeflow.Chip(crossbar_rows=np.float32(64)))
    assert type(cost.energy_j) is type(cost.latency_s) is type(cost.area_mm2) is float
    assert cost.energy_j == spikeflow.evaluate(NETWORK).energy_j


def test_unused_pes_have_their_own_row():
    """81 PEs fill ten tiles of eight and an eighth of the next: seven eighths of a tile are unused."""
    cost = spikeflow.evaluate(NETWORK)
    assert cost.placement.pes == 81
    rest = cost.area_by_layer_and_component_mm2["unused"]
    assert math.isclose(rest["h_tree"], 7 / 8 * 433660e-6)
    assert rest["membrane"] == 0
    full = spikeflow.evaluate(NETWORK, spikeflow.Chip(pes_per_tile=81))
    assert abs(full.area_by_layer_mm2["unused"]) < 1e-12


def test_a_layer_is_not_called_as_their_row_is():
    with pytest.raises(ValueError, match="layer 'unused': tables of area"):
        spikeflow.evaluate(Workload([Layer.linear("unused", in_features=8, out_features=2)], 1))


def test_a_whole_chip_can_be_an_argument():
    """Of compiled and of differentiated functions, with every number an array."""
    workload = Workload(NETWORK.layers[:2], 3)
    chip = jax.tree.map(lambda x: jnp.asarray(x, float), spikeflow.Chip(activity="spikes"))
    compiled = jax.jit(spikeflow.evaluate)(workload, chip)
    expected = spikeflow.evaluate(workload, spikeflow.Chip(activity="spikes"))
    np.testing.assert_allclose(_totals(compiled), _totals(expected), rtol=1e-12)
    slopes = jax.grad(lambda c: spikeflow.evaluate(workload, c).energy_delay_js * 1e9)(chip)
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(slopes))
    assert slopes.components.tile_buffer_j > 0


def test_membrane_memory_by_hand():
    """22 bits of 0.7391 µm² for every neuron before pooling and the readout, read and written each step."""
    neurons = sum(layer.outputs for layer in NETWORK.layers)
    energy = spikeflow.evaluate(NETWORK).energy_by_component_j["membrane"]
    bit_j = spikeflow.Components().global_buffer_bit_j
    assert math.isclose(energy, 2 * 5 * 22 * neurons * bit_j)
    # CACTI's 11.0295 pJ per 256 bits at 28 nm, and 2.32 times the length at 1.1 V instead of 0.9 V.
    assert math.isclose(bit_j, 11.0295e-12 / 256 * 65 / 28 * (1.1 / 0.9) ** 2)
    area = spikeflow.evaluate(NETWORK).area_by_component_mm2
    assert math.isclose(area["membrane"], neurons * 22 * 0.7391e-6)
    shared = spikeflow.evaluate(NETWORK, spikeflow.Chip(channel_sharing=4)).area_by_component_mm2
    assert math.isclose(shared["membrane"], area["membrane"] / 4)
    assert math.isclose(area["encoder_memory"], NETWORK.layers[0].outputs * 22 * 0.7391e-6)
