import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels import sata
from hwmodels.workload import Layer, Workload
from tests.helpers import finite_difference, reference_json

PUBLISHED = reference_json("sata/published.json")
TABLES = reference_json("sata/hardware.json")
CACTI = {
    (row["size_bytes"], row["block_bytes"], row["banks"]): row
    for row in reference_json("sata/cacti_sram.json")["rows"]
}
GROUPS = {
    "spike_mac": ("and_gate", "adder", "accumulator_register"),
    "lif": ("comparator", "subtractor", "threshold_register", "membrane_register"),
    "spad": ("spike_scratchpad", "weight_scratchpad", "psum_scratchpad"),
}


def network(**changes):
    layers = (
        Layer.conv("c1", height=12, width=10, in_channels=3, out_channels=12, padding=1, input_rate=0.4),
        Layer.conv("c2", height=12, width=10, in_channels=12, out_channels=20, padding=1, input_rate=0.2),
        Layer.linear("f", in_features=2400, out_features=10, input_rate=0.1, spiking=False),
    )
    return Workload(layers=changes.pop("layers", layers), timesteps=changes.pop("timesteps", 4))


@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize("work", sata.PUBLISHED_WORKS)
@pytest.mark.parametrize("x64", [False, True])
def test_published_totals_and_breakdown(work, baseline, x64):
    reference = PUBLISHED["workloads"][work]
    derived = reference["derived"]
    reference = reference["baseline"] if baseline else reference
    if x64:
        cost = sata.inference_energy(
            sata.published_workload(work, baseline=baseline), conventions="published"
        )
    else:
        with jax.enable_x64(False):
            cost = sata.inference_energy(
                sata.published_workload(work, baseline=baseline), conventions="published"
            )
    assert cost.total_j * 1e9 == pytest.approx(reference["total_nj"], rel=1e-12)
    parts = cost.energy_by_component_j
    for group, names in GROUPS.items():
        expected = reference["computation_energy"][group]["total_nj"]
        assert sum(parts[name] for name in names) * 1e9 == pytest.approx(expected, rel=1e-12)
    memory = reference["memory_energy"]
    for operand in ("ifmap", "filter", "ofmap"):
        assert parts[f"dram_{operand}"] * 1e9 == pytest.approx(memory["dram"][f"{operand}_nj"], rel=1e-12)
        sram = memory[f"sram_{operand}"]["total_nj"]
        assert parts[f"glb_{operand}"] * 1e9 == pytest.approx(sram, rel=1e-12)
    if not baseline:
        assert cost.cycles == derived["cycles"]
        assert cost.macs == derived["macs_formula_old"]
        assert cost.neuron_updates == derived["lif_formula_old"]


def test_layers_of_the_published_works_are_those_of_the_reference():
    for work in sata.PUBLISHED_WORKS:
        reference = PUBLISHED["workloads"][work]
        ours = sata.published_workload(work)
        assert ours.timesteps == reference["timesteps"]
        assert ours.layers[0].input_rate == 1 - reference["sparsity"]
        shapes = [
            (la.height, la.width, *la.kernel, la.in_channels, la.out_channels, la.stride[0])
            for la in ours.layers
        ]
        keys = ("ifmap_height", "ifmap_width", "filter_height", "filter_width", "channels", "num_filters")
        assert shapes == [tuple(la[k] for k in (*keys, "stride")) for la in reference["layers"]]


def test_breakdowns_add_up():
    for conventions in ("published", "corrected"):
        cost = sata.inference_energy(network(), conventions=conventions)
        assert sum(cost.energy_by_component_j.values()) == cost.total_j
        assert sum(cost.energy_by_layer_j.values()) == pytest.approx(cost.total_j, rel=1e-13)
        assert sum(cost.energy_by_cause_j.values()) == pytest.approx(cost.total_j, rel=1e-13)
        assert sum(cost.area_by_component_mm2.values()) == cost.area_mm2
        assert sum(cost.latency_by_layer_s.values()) == pytest.approx(cost.latency_s, rel=1e-13)
        assert cost.latency_s == cost.cycles / 400e6
        assert 0 < cost.utilisation <= 1


def test_corrected_linear_layer_by_hand():
    """16 inputs, 8 outputs on 16 × 8 elements: one fold, every term from the reference tables."""
    rate, steps = 0.25, 3
    layer = Layer.linear("f", in_features=16, out_features=8, input_rate=rate)
    cost = sata.inference_energy(Workload(layers=(layer,), timesteps=steps))

    run = 16 + 16 + 8 - 3  # last output of the only fold: taps + rows + columns − 3
    cycles = run * steps + 16  # weights shift in through 16 rows
    assert cost.cycles == cycles
    macs, updates = 16 * 8 * rate * steps, 8 * steps
    assert (cost.macs, cost.neuron_updates) == (macs, updates)

    kernels, clock = TABLES["kernels"], 400e6

    def table(kernel, quantity, width):
        return kernels[kernel][quantity][str(width)]

    expected = 0.0
    for part in TABLES["pe_components"]:
        registers = part.get("size_bytes", 1) if part["kernel"] == "registerfiles" else 1
        kernel = "register" if part["kernel"] == "registerfiles" else part["kernel"]
        dynamic = table(kernel, "dynamic_mw", part["width_bits"]) * 1e-3 * registers / clock
        leakage = table(kernel, "leakage_uw", part["width_bits"]) * 1e-6 * registers / clock
        expected += leakage * cycles * 128
        operations = updates if part["group"] == "lif" else macs
        expected += dynamic * (operations if part["gated"] else cycles * 128)
    ifmap, weights = CACTI[32768, 32, 2], CACTI[147456, 32, 2]
    leakage_w = 2 * (2 * ifmap["leakage_mw_per_bank"] + weights["leakage_mw_per_bank"]) * 1e-3
    expected += leakage_w * cycles / clock
    spikes, weight_words, outputs = 16 * steps / 8, 16 * 8, 8 * steps / 8  # words of eight bits
    nano = ifmap["read_nj"] * spikes + ifmap["write_nj"] * spikes  # to the array; from DRAM
    nano += (weights["read_nj"] + weights["write_nj"]) * weight_words
    nano += (ifmap["write_nj"] + ifmap["read_nj"]) * outputs
    nano += 0.468762 * (spikes + weight_words) + 0.468771 * outputs
    expected += nano * 1e-9
    assert cost.total_j == pytest.approx(expected, rel=1e-12)


def test_every_correction_changes_a_workload_that_it_concerns():
    layers = (
        Layer.conv("image", height=9, width=9, in_channels=3, out_channels=5, padding=2, analog_input=True),
        Layer.conv(
            "c",
            height=9,
            width=9,
            in_channels=5,
            out_channels=7,
            padding=2,
            input_rate=0.3,
            weight_sparsity=0.5,
            pool=2,
            residual_add=True,
        ),
        Layer.linear("f", in_features=70, out_features=4, input_rate=0.1, spiking=False),
    )
    sizes = sata.correction_sizes(Workload(layers=layers, timesteps=5))
    assert sizes.keys() == sata.CORRECTIONS.keys()
    for name in sizes.keys() - {"dram_write", "rounding", "pooled_inputs"}:
        assert sizes[name] != 0, name
    # Bits count where words have widths.
    alone, with_pools = (
        sata.inference_energy(Workload(layers=layers, timesteps=5), conventions=names).total_j
        for names in (("precision",), ("precision", "pooled_inputs"))
    )
    assert with_pools > alone
    lowering = (
        "fully_connected",
        "ofmap_skew",
        "precision",
        "weight_sparsity",
        "analog_input",
        "filter_load",
    )
    raising = ("ofmap_timesteps", "ifmap_timesteps", "banks", "buffer_fills", "dram_write", "padding")
    assert all(sizes[name] < 0 for name in lowering)
    assert all(sizes[name] > 0 for name in raising)
    assert sizes["rounding"] != 0
    together = sata.inference_energy(Workload(layers=layers, timesteps=5), conventions=tuple(sizes))
    assert together.total_j == sata.inference_energy(Workload(layers=layers, timesteps=5)).total_j


def test_a_direct_layer_does_not_repeat_its_products():
    def cost(timesteps, **changes):
        layer = Layer.conv("c", height=8, width=8, in_channels=3, out_channels=8, padding=1, **changes)
        return sata.inference_energy(Workload(layers=(layer,), timesteps=timesteps))

    assert cost(8, analog_input=True).macs == cost(1, analog_input=True).macs == cost(1).macs
    assert cost(8).macs == 8 * cost(1).macs
    assert cost(8, analog_input=True).neuron_updates == cost(8).neuron_updates
    parts = cost(8, analog_input=True).energy_by_component_j
    assert (
        parts["image_multiplier"] == cost(1, analog_input=True).energy_by_component_j["image_multiplier"] > 0
    )


KNOBS = {
    "rows": lambda chip: (chip.array.rows, 20),
    "columns": lambda chip: (chip.array.columns, 12),
    "ifmap": lambda chip: (chip.buffers.ifmap, 1000),
    "filter": lambda chip: (chip.buffers.filter, 60000),
    "ofmap": lambda chip: (chip.buffers.ofmap, 3000),
    "activation": lambda chip: (chip.precision.activation, 4),
    "weight": lambda chip: (chip.precision.weight, 4),
    "accumulator": lambda chip: (chip.precision.accumulator, 24),
    "lif": lambda chip: (chip.precision.lif, 12),
    "membrane": lambda chip: (chip.precision.membrane, 2),
    "threshold": lambda chip: (chip.precision.threshold, 8),
    "output": lambda chip: (chip.precision.output, 3),
    "image": lambda chip: (chip.precision.image, 4),
    "lif_sharing": lambda chip: (chip.lif_sharing, 4),
    "clock_hz": lambda chip: (chip.clock_hz, 200e6),
    "sram_width_bytes": lambda chip: (chip.sram_width_bytes, 16),
    "sram_banks": lambda chip: (chip.sram_banks, 4),
}


def _where(name):
    def find(chip):
        for holder in (chip, chip.array, chip.buffers, chip.precision):
            if name in vars(holder):
                return getattr(holder, name)
        raise AssertionError(name)

    return find


@pytest.mark.parametrize("name", KNOBS)
def test_every_knob_of_the_chip_changes_the_energy(name):
    image = Layer.conv("i", height=12, width=10, in_channels=3, out_channels=4, padding=1, analog_input=True)
    workload = network(layers=(image, *network().layers))
    chip = sata.Accelerator()
    other = eqx.tree_at(_where(name), chip, KNOBS[name](chip)[1])
    assert sata.inference_energy(workload, other).total_j != sata.inference_energy(workload, chip).total_j


@pytest.mark.parametrize("dataflow", ["os", "ws", "is", "spinalflow", "ptb"])
def test_every_dataflow_differs_from_sata(dataflow):
    ours = sata.inference_energy(network(), sata.Accelerator(dataflow=dataflow)).total_j
    assert ours != sata.inference_energy(network()).total_j


SMOOTH = {  # name: (value, slope must not be zero)
    "rate": 0.3,
    "pruned": 0.2,
    "timesteps": 3.0,
    "weight": 7.0,
    "activation": 1.5,
    "output": 1.5,
    "membrane": 6.0,
    "accumulator": 14.0,
    "lif": 15.0,
    "threshold": 5.0,
    "lif_sharing": 2.0,
    "clock_hz": 3e8,
    "sram_width_bytes": 20.0,
    "sram_banks": 1.7,
    "filter_bytes": 100000.0,
}


def total_at(x, dram="closed_form"):
    value = dict(zip(SMOOTH, x, strict=True))
    layers = (
        Layer.conv(
            "c",
            height=12,
            width=10,
            in_channels=12,
            out_channels=20,
            padding=1,
            input_rate=value["rate"],
            weight_sparsity=value["pruned"],
            pool=2,
        ),
        Layer.linear("f", in_features=600, out_features=30, input_rate=value["rate"]),
    )
    chip = sata.Accelerator(
        buffers=sata.Buffers(filter=value["filter_bytes"]),
        precision=sata.Precision(
            activation=value["activation"],
            weight=value["weight"],
            accumulator=value["accumulator"],
            lif=value["lif"],
            membrane=value["membrane"],
            threshold=value["threshold"],
            output=value["output"],
        ),
        lif_sharing=value["lif_sharing"],
        clock_hz=value["clock_hz"],
        sram_width_bytes=value["sram_width_bytes"],
        sram_banks=value["sram_banks"],
    )
    return sata.inference_energy(Workload(layers, value["timesteps"]), chip, dram=dram).total_j


TOTAL = jax.jit(total_at, static_argnames="dram")


@pytest.mark.parametrize("dram", ["exact", "closed_form"])
def test_smooth_gradients_match_finite_differences(dram):
    at = jnp.array(list(SMOOTH.values()))
    gradient = jax.jit(jax.grad(lambda x: total_at(x, dram)))(at)
    # on plain numbers the same function is evaluated on the host: an independent path
    expected = finite_difference(lambda x: total_at([float(v) for v in x], dram), at, step=1e-5)
    # one knob is held: the filter buffer's bytes are whole, so that only its memory, not its count, is smooth
    for name, ours, theirs in zip(SMOOTH, gradient, expected, strict=True):
        if name == "filter_bytes":
            continue
        assert ours == pytest.approx(theirs, rel=1e-6), name
        assert ours != 0, name


def test_slope_of_a_buffer_is_that_of_its_memory():
    def total(size):
        return sata.inference_energy(
            network(), sata.Accelerator(buffers=sata.Buffers(filter=size)), dram="closed_form"
        ).total_j

    ours = jax.jit(jax.grad(total))(100000.0)
    assert ours == pytest.approx(float((total(100400) - total(99600)) / 800), rel=1e-4)


@pytest.mark.parametrize(("dimension", "low", "high"), [("rows", 8, 24), ("columns", 4, 12)])
def test_stepped_slopes_have_the_sign_of_the_trend(dimension, low, high):
    def total(size):
        chip = sata.Accelerator(array=sata.Array(**{dimension: size}))
        return sata.inference_energy(Workload(sata.vgg9().layers[1:4], 4), chip).total_j

    slope = jax.jit(jax.grad(total))(float({"rows": 16, "columns": 8}[dimension]))
    assert np.sign(slope) == np.sign(total(high) - total(low))


def test_ifmap_buffer_slope_has_the_sign_of_the_trend():
    # the buffer thrashes on these wide layers: more bytes save energy, by the slope and by the exact counts
    def total(size):
        tdbn = sata.published_workload("tdbn")
        wide = Workload(layers=tdbn.layers[7:10], timesteps=4)
        return sata.inference_energy(wide, sata.Accelerator(buffers=sata.Buffers(ifmap=size))).total_j

    assert jax.jit(jax.grad(total))(28000.0) < 0
    assert total(36000) < total(20000)


def test_traced_values_equal_host_values_and_vectorise():
    workload = Workload(sata.vgg9().layers[:3], 4)

    def total(rows):
        chip = sata.Accelerator(array=sata.Array(rows=rows))
        return sata.inference_energy(workload, chip, dram="closed_form").total_j

    rows = jnp.arange(4.0, 33.0)
    swept = jax.jit(jax.vmap(total))(rows)
    np.testing.assert_allclose(swept, [total(int(r)) for r in rows], rtol=1e-12)


def test_leaves_of_any_kind_mix_under_strict_promotion():
    layers = (eqx.tree_at(lambda la: la.input_rate, network().layers[1], jnp.float32(0.2)),)
    workload = Workload(layers=layers, timesteps=jnp.int32(4))
    chip = sata.Accelerator(array=sata.Array(rows=np.int64(16), columns=jnp.float64(8.0)))
    total = jax.jit(lambda w, c: sata.inference_energy(w, c).total_j)(workload, chip)
    plain = Workload(layers=(network().layers[1],), timesteps=4)
    assert total == pytest.approx(sata.inference_energy(plain).total_j, rel=1e-6)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 30))
def test_energy_grows_with_rate_and_timesteps(rate, other, timesteps):
    def total(r, t):
        layer = Layer.conv("c", height=6, width=6, in_channels=4, out_channels=8, padding=1, input_rate=r)
        return sata.inference_energy(Workload(layers=(layer,), timesteps=t)).total_j

    low, high = sorted((rate, other))
    assert total(low, timesteps) <= total(high, timesteps)
    assert total(rate, timesteps) < total(rate, timesteps + 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 1.5}, "layer 'c': input_rate is a fraction"),
        ({"pruned": float("nan")}, "layer 'c': weight_sparsity is a fraction"),
        ({"weight": 40.0}, "unsupported precision: weight"),
        ({"output": 0.5}, "unsupported precision: output"),
    ],
)
def test_traced_values_out_of_range_raise_when_run(changes, message):
    at = jnp.array(list((SMOOTH | changes).values()))
    with pytest.raises(Exception, match=message):
        jax.block_until_ready(TOTAL(at))


@pytest.mark.parametrize("value", ["3", b"3", np.array("3"), np.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda value: sata.Array(rows=value),
        lambda value: sata.Buffers(ofmap=value),
        lambda value: sata.Accelerator(clock_hz=value),
    ],
)
def test_sizes_are_finite_numbers(make, value, as_users_run):
    """Found by tests/hostile: text counted as its number, and infinity ended in an OverflowError."""
    with pytest.raises(ValueError, match=r"at least .*, got .*\.") as refusal:
        make(value)
    assert ("finite" in str(refusal.value)) == (value is np.inf)


def test_bad_input():
    with pytest.raises(ValueError, match=r"layer 'c': input_rate is a fraction"):
        Layer.conv("c", height=4, width=4, in_channels=1, out_channels=1, input_rate=1.2)
    with pytest.raises(ValueError, match=r"ifmap buffer needs at least 100 bytes"):
        sata.Buffers(ifmap=0)
    with pytest.raises(ValueError, match=r"at least one of its rows, got 0"):
        sata.Array(rows=0)
    with pytest.raises(ValueError, match=r"unsupported precision: weight has 64 bits"):
        sata.Precision(weight=64)
    with pytest.raises(ValueError, match=r"unknown conventions 'new'"):
        sata.inference_energy(network(), conventions="new")
    with pytest.raises(ValueError, match=r"unknown dataflow 'rs'"):
        sata.Accelerator(dataflow="rs")
    with pytest.raises(ValueError, match=r"unknown element 'analog'"):
        sata.Accelerator(element="analog")
    with pytest.raises(ValueError, match=r"lif_sharing counts"):
        sata.Accelerator(lif_sharing=0)
    with pytest.raises(ValueError, match=r"1 to 4 banks, got 8"):
        sata.Accelerator(sram_banks=8)
    with pytest.raises(ValueError, match=r"8 to 64 bytes, got 128"):
        sata.Accelerator(sram_width_bytes=128)
    with pytest.raises(ValueError, match=r"layer 'c1': unknown dram count 'fast'"):
        sata.inference_energy(network(), sata.Accelerator(dataflow="spinalflow"), dram="fast")
    with pytest.raises(ValueError, match=r"layer 'c1': the dataflow 'ptb' has no published convention"):
        sata.inference_energy(network(), sata.Accelerator(dataflow="ptb"), conventions="published")
    with pytest.raises(ValueError, match=r"unknown work 'vgg'"):
        sata.published_workload("vgg")
    small = Layer.conv("deep", height=2, width=2, in_channels=4, out_channels=4, padding=1)
    with pytest.raises(ValueError, match=r"layer 'deep': kernel \(3, 3\) is larger"):
        sata.inference_energy(Workload(layers=(small,), timesteps=1), conventions="published")
    assert sata.inference_energy(Workload(layers=(small,), timesteps=1)).total_j > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sata.Accelerator(array=(16, 8)), r"array must be of type sata\.Array, got \(16, 8\)"),
        (lambda: sata.Accelerator(buffers=None), r"buffers must be of type sata\.Buffers, got None"),
        (lambda: sata.inference_energy(None), r"workload must be a hwmodels\.workload\.Workload, got None"),
        (
            lambda: sata.inference_energy(network(), "sata"),
            r"accelerator must be a sata\.Accelerator, got 'sata'",
        ),
    ],
)
def test_parts_of_another_kind_are_refused(make, message, as_users_run):
    with pytest.raises(TypeError, match=message):
        make()
