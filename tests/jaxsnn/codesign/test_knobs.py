"""Every knob of every chip moves what the table of the documentation says, and nothing else."""

import dataclasses
import itertools
import re
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from hwmodels import sata, spikeflow
from hwmodels.crossbar import Cubic, Device, Settling, Sinh, Wires
from hwmodels.workload import Layer, Workload
from jaxsnn.codesign import program, workload_of
from jaxsnn.models.digits import digits_convnet
from jaxsnn.models.vgg import vgg
from jaxsnn.neuron import LIF

TABLE = Path(__file__).parents[3] / "docs" / "explanation" / "knobs.md"
QUANTITIES = ("accuracy", "energy", "latency", "area")
WORKLOAD = workload_of(vgg("vgg9", width=0.25, rngs=nnx.Rngs(0)), (32, 32, 3), 5, rates=0.15)
BIASED = Workload([dataclasses.replace(layer, bias=True) for layer in WORKLOAD.layers], WORKLOAD.timesteps)
ANN = Workload([dataclasses.replace(layer, analog_input=False) for layer in WORKLOAD.layers], timesteps=1)

# Each knob turned once; after it, what must be set for it to act.
CHIP = {
    "crossbar_rows": (32,),
    "crossbar_columns": (32,),
    "kernel": (2,),
    "pes_per_tile": (4,),
    "mux_ratio": (4,),
    "adc_bits": (6,),
    "weight_bits": (6,),
    "input_bits": (6,),
    "encoder_cycles": (8,),
    "membrane_bits": (16,),
    "channel_sharing": (2,),
    "activation_bits": (8, {"neuron": "relu"}),
    "clock_hz": (1e8,),
    "cycle_clocks": (13,),
    "pipeline_start": (0.5,),
    "node_nm": (45.0,),
    "constants_nm": (45.0,),
    "node_rule": ("stillmaker-baas", {"node_nm": 45.0}),
    "cell": (spikeflow.Cell("other", bits=2, read_j=1e-12, area_um2=30.0),),
    "cell.law": (Sinh(0.25),),
    "cell.read_voltage_v": (0.3, {"cell": Sinh(0.25)}),
    "cell.model": ("read-voltage", {"cell": Sinh(0.25)}),
    "cell.activity": (0.4, {"cell": Sinh(0.25)}),
    "adc": (spikeflow.Adc(kind="sar"), {"adc_bits": 6}),
    "settling": (Settling(1e-9),),
    "components": (spikeflow.Components(mux_j=1e-12, mux_um2=90.0),),
    "mesh": (spikeflow.Mesh(hop_bit_j=1e-12),),
    "wires": (Wires(sense=2e3),),
    "device": (Device(variation=0.3),),
    "full_scale_percentile": (0.9, {"full_scale": "calibrated"}),
    "signs": ("differential",),
    "calibration": ("column",),
    "full_scale": ("calibrated",),
    "partition": ("flatten",),
    "bias": ("row",),
    "schedule": ("sequential",),
    "activity": ("dense",),
    "neuron": ("relu",),
    "entropy_module": (True,),
}
ACCELERATOR = {
    "array.rows": (8,),
    "array.columns": (4,),
    "buffers.ifmap": (2048,),
    "buffers.filter": (2048,),
    "buffers.ofmap": (2048,),
    "precision.activation": (2,),
    "precision.weight": (4,),
    "precision.accumulator": (8,),
    "precision.lif": (8,),
    "precision.membrane": (4,),
    "precision.threshold": (2,),
    "precision.output": (2,),
    "precision.image": (4,),
    "lif_sharing": (2,),
    "clock_hz": (2e8,),
    "sram_width_bytes": (16,),
    "sram_banks": (4,),
    "time_window": (4, {"dataflow": "ptb"}),
    "dataflow": ("os",),
    "element": ("dense",),
}


def tables() -> dict[str, dict[str, set[str]]]:
    """By chip and knob, what the documentation says is moved."""
    found: dict[str, dict[str, set[str]]] = {}
    chip = ""
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## `"):
            chip = line.split("`")[1]
            found[chip] = {}
        elif match := re.match(r"\| `([\w.]+)` \|(.*)", line):
            cells = [cell.strip() for cell in match[2].split("|")]
            marked = zip(QUANTITIES, cells, strict=False)
            found[chip][match[1]] = {name for name, cell in marked if cell == "●"}
    return found


def turned(chip, knob, value):
    """The chip with a knob, or one of a part's, at another value."""
    head, _, rest = knob.partition(".")
    if rest:
        value = dataclasses.replace(getattr(chip, head), **{rest: value})
    return dataclasses.replace(chip, **{head: value})


def answers(chip, workload):
    """What a chip says: its arithmetic, as text that shows every number, and its costs."""
    cost = chip.cost(workload)
    arithmetic = chip.arithmetic()
    leaves, structure = jax.tree.flatten(arithmetic)
    return (str(structure), list(map(float, leaves))), cost.energy_j, cost.latency_s, cost.area_mm2


def moved(before, after):
    return {name for name, one, two in zip(QUANTITIES, before, after, strict=True) if one != two}


@pytest.mark.parametrize(
    ("name", "base", "knobs"),
    [
        ("spikeflow.Chip", spikeflow.Chip(), CHIP),
        ("sata.Accelerator", sata.Accelerator(), ACCELERATOR),
    ],
)
def test_every_knob_moves_what_the_table_says_and_nothing_else(name, base, knobs):
    said = tables()[name]
    assert set(said) == set(knobs)
    assert {knob.split(".")[0] for knob in knobs} == {field.name for field in dataclasses.fields(base)}
    for knob, (value, *needs) in knobs.items():
        start = dataclasses.replace(base, **(needs[0] if needs else {}))
        runs_once = knob == "neuron" or (needs and needs[0].get("neuron") == "relu")
        workload = ANN if runs_once else BIASED if knob == "bias" else WORKLOAD
        if knob == "neuron":
            before, after = answers(start, WORKLOAD), answers(turned(start, knob, value), ANN)
        else:
            before, after = (answers(one, workload) for one in (start, turned(start, knob, value)))
        assert moved(before, after) == said[knob], knob


NETWORK = digits_convnet(
    width=2, image_size=4, neuron=partial(LIF, leak=0.5, threshold=0.3), rngs=nnx.Rngs(1)
)
IMAGES = jax.random.uniform(jax.random.key(0), (6, 4, 4, 1))
SMALL = spikeflow.Chip(crossbar_rows=8, crossbar_columns=8, calibration="column", mux_ratio=4, adc_bits=5)


CELL = {"law": Cubic(5.0), "read_voltage_v": 0.2, "activity": 0.6, "model": "read-voltage"}


@nnx.jit
def _logits(network, images):
    return network(images, timesteps=3)[0]


def logits(chip):
    chip = program(NETWORK, chip, jax.random.key(3), images=IMAGES, timesteps=3)
    return np.asarray(_logits(chip, IMAGES))


def test_arithmetic_of_other_numbers_gives_other_results():
    """What the table calls accuracy reaches the logits."""
    base = logits(SMALL)
    for knob in ("adc_bits", "weight_bits", "input_bits", "wires", "device"):
        value = {"adc_bits": 3, "weight_bits": 3, "input_bits": 3}.get(knob) or CHIP[knob][0]
        assert not np.array_equal(logits(turned(SMALL, knob, value)), base), knob
    steep = turned(SMALL, "cell", Sinh(0.1))
    changed = [logits(steep), *(logits(turned(steep, f"cell.{knob}", value)) for knob, value in CELL.items())]
    assert not any(np.array_equal(one, other) for one, other in itertools.combinations([base, *changed], 2))
    base = logits(sata.Accelerator())
    for knob, value in (("weight", 3), ("accumulator", 4), ("membrane", 3), ("threshold", 2), ("image", 2)):
        changed = logits(turned(sata.Accelerator(), f"precision.{knob}", value))
        assert not np.array_equal(changed, base), knob


@pytest.mark.long
@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("crossbar_rows", 16),
        ("crossbar_columns", 16),
        ("signs", "offset"),
        ("calibration", "none"),
        ("full_scale", "calibrated"),
        ("partition", "flatten"),
        ("cell", CHIP["cell"][0]),
    ],
)
def test_arithmetic_of_another_shape_gives_other_results(knob, value):
    assert not np.array_equal(logits(turned(SMALL, knob, value)), logits(SMALL))


def test_sizes_of_a_cost_become_sizes_of_a_circuit_in_one_place():
    chip = spikeflow.Chip(crossbar_rows=32.0, crossbar_columns=np.int64(16), weight_bits=6)
    design = chip.crossbar()
    assert (design.rows, design.columns) == (32, 16)
    assert (design.slices, design.device.bits) == (2, 3)
    with pytest.raises(ValueError, match=r"whole sizes: Chip.crossbar_rows is 32.5"):
        dataclasses.replace(chip, crossbar_rows=32.5).crossbar()
    with pytest.raises(ValueError, match=r"device.bits and cell.bits are the same levels"):
        spikeflow.Chip(device=Device(bits=3))


def test_signs_and_gains_are_priced():
    layer = Layer.conv("c", height=8, width=8, in_channels=64, out_channels=64, padding=1, input_rate=0.2)
    workload = Workload([layer], 4)

    def cost(**changes):
        return spikeflow.Chip(**changes).cost(workload)

    assert cost(signs="differential").placement.pes == 2 * cost().placement.pes
    assert cost(signs="offset").placement.layers[0].column_blocks == 2
    gain = cost(calibration="column")
    assert gain.energy_by_component_j["gain"] > 0 < gain.area_by_component_mm2["gain"]
    assert cost(calibration="kernel").energy_j == cost().energy_j
    published = spikeflow.Chip(calibration="column").cost(workload, "published")
    assert published.energy_j == spikeflow.Chip().cost(workload, "published").energy_j
