"""Bad input is named: the parameter, its value, its range."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from hwmodels import spikeflow
from hwmodels.workload import Layer, Workload


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("crossbar_rows", 0, r"crossbar_rows must lie in \[1, 4096\], got 0"),
        ("crossbar_columns", -64, r"crossbar_columns must lie in \[1, 4096\], got -64"),
        ("crossbar_rows", math.nan, r"crossbar_rows must lie in \[1, 4096\], got nan"),
        ("kernel", 0, r"kernel must lie in \[1, 64\], got 0"),
        ("pes_per_tile", 0, r"pes_per_tile must lie in \[1, 4096\], got 0"),
        ("mux_ratio", 65, r"mux_ratio must lie in \[1, crossbar_columns = 64\], got 65"),
        ("adc_bits", 17, r"adc_bits must lie in \[1, 16\], got 17"),
        ("weight_bits", 0, r"weight_bits must lie in \[1, 16\], got 0"),
        ("input_bits", 0, r"input_bits must lie in \[1, 16\], got 0"),
        ("encoder_cycles", 0, r"encoder_cycles must lie in \[1, 16\], got 0"),
        ("membrane_bits", 0, r"membrane_bits must lie in \[1, 64\], got 0"),
        ("channel_sharing", 0.5, r"channel_sharing must lie in \[1, 4096\], got 0.5"),
        ("clock_hz", 0.0, r"clock_hz must lie in .* got 0"),
        ("pipeline_start", 1.5, r"pipeline_start must lie in .* got 1.5"),
        ("pipeline_start", 0.0, r"pipeline_start must lie in .* got 0"),
        ("activation_bits", 99, r"activation_bits must lie in \[1, 16\], got 99"),
        (
            "components",
            spikeflow.Components(neuron_j=-1.0),
            r"components.neuron_j .* \[0, inf\], got -1",
        ),
        ("crossbar_rows", jnp.asarray(-1.0), r"crossbar_rows must lie in \[1, 4096\], got -1"),
        (
            "mux_ratio",
            jnp.asarray(65),
            r"mux_ratio must lie in \[1, crossbar_columns = 64\], got 65",
        ),
        ("node_nm", 5, r"node_nm must lie in \[7, 180\], got 5"),
        (
            "components",
            spikeflow.Components(subtractors_per_round=-1),
            r"components.subtractors_per_round must lie in \[0, inf\], got -1",
        ),
        ("node_rule", "moore", "node_rule must be one of 'nominal-voltage', .*, got 'moore'"),
        ("partition", "rows", "partition must be one of 'kernel-split', 'flatten', got 'rows'"),
        ("schedule", "lazy", "schedule must be one of 'overlapped', 'pipelined', 'sequential', got 'lazy'"),
        ("activity", "sparse", "activity must be one of 'dense', 'spikes', got 'sparse'"),
        ("full_scale_percentile", 2.0, "full_scale_percentile is a fraction above 0 and at most 1, got 2.0"),
        ("neuron", "izhikevich", "neuron must be one of 'lif', 'relu', got 'izhikevich'"),
        ("mesh", spikeflow.Mesh(hop_bit_j=math.nan), r"mesh.hop_bit_j must lie in \[0, inf\], got nan"),
    ],
)
def test_parameters_out_of_range(name, value, message):
    with pytest.raises(ValueError, match=message):
        spikeflow.Chip(**{name: value})


def test_a_chip_changed_behind_its_check_is_caught():
    chip = eqx.tree_at(lambda c: c.crossbar_rows, spikeflow.Chip(), -1)
    with pytest.raises(ValueError, match="crossbar_rows must lie in"):
        spikeflow.evaluate(spikeflow.vgg(spikeflow.VGG9), chip)


def test_unknown_conventions():
    workload = spikeflow.vgg(spikeflow.VGG9)
    with pytest.raises(ValueError, match="no convention is called 'ghost'; there are convolution_outputs"):
        spikeflow.CORRECTED.replace(ghost=True)
    with pytest.raises(ValueError, match="'corrected', 'published' or a Conventions, got 'correct'"):
        spikeflow.evaluate(workload, conventions="correct")


@pytest.mark.parametrize(
    "changes",
    [{"settling": 1e-9}, {"adc": "sar"}, {"cell": "sram"}, {"adc_bits": "4"}, {"membrane_bits": None}],
)
def test_parameters_of_another_kind(changes):
    with pytest.raises((TypeError, ValueError), match=next(iter(changes))):
        spikeflow.Chip(**changes)


def test_arguments_in_another_order():
    with pytest.raises(TypeError, match="chip"):
        spikeflow.evaluate(spikeflow.vgg(spikeflow.VGG9), "published")


def test_nan_is_no_probability_and_no_number_of_pes():
    workload = spikeflow.vgg(spikeflow.VGG9)
    with pytest.raises(ValueError, match="sum to one"):
        spikeflow.early_exit_cost(workload, [math.nan, 1.0])


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("crossbar_rows", 0.0, r"crossbar_rows must lie in \[1, 4096\]"),
        ("adc_bits", math.nan, r"adc_bits must lie in \[1, 16\]"),
        ("timesteps", 0.5, r"timesteps must lie in \[1, 1e\+09\]"),
        ("input_rate", 1.5, r"layer 'fc': input_rate must lie in \[0, 1\]"),
    ],
)
def test_traced_values_out_of_range(parameter, value, message):
    good = {"crossbar_rows": 64.0, "adc_bits": 4.0, "timesteps": 4.0, "input_rate": 0.1}

    @eqx.filter_jit
    def energy(values):
        layer = Layer.linear("fc", in_features=8, out_features=2, input_rate=values["input_rate"])
        chip = spikeflow.Chip(crossbar_rows=values["crossbar_rows"], adc_bits=values["adc_bits"])
        return spikeflow.evaluate(Workload([layer], values["timesteps"]), chip).energy_j

    as_arrays = {name: jnp.asarray(x) for name, x in good.items()}
    assert energy(as_arrays) > 0
    with pytest.raises(Exception, match=message):
        energy(as_arrays | {parameter: jnp.asarray(value)})


def test_one_bad_design_of_a_sweep_is_found():
    @eqx.filter_jit
    def energies(rows):
        layer = Layer.linear("fc", in_features=8, out_features=2)

        def one(size):
            return spikeflow.evaluate(Workload([layer], 1), spikeflow.Chip(crossbar_rows=size)).energy_j

        return jax.vmap(jax.grad(one))(rows)

    assert jnp.isfinite(energies(jnp.array([16.0, 64.0]))).all()
    with pytest.raises(Exception, match=r"crossbar_rows must lie in \[1, 4096\]"):
        energies(jnp.array([16.0, 8192.0]))


def test_endless_time():
    with pytest.raises(ValueError, match=r"timesteps must lie in \[1, 1e\+09\], got 2000000000"):
        spikeflow.evaluate(spikeflow.vgg(spikeflow.VGG9, timesteps=2_000_000_000))


def test_an_ann_runs_once():
    layers = [Layer.linear("fc", in_features=8, out_features=2)]
    with pytest.raises(ValueError, match=r"timesteps must be 1, got 4; see spikeflow.dense_twin"):
        spikeflow.evaluate(Workload(layers, 4), spikeflow.Chip(neuron="relu"))
