"""The shared language: shapes, counts and checks of layers and workloads."""

import dataclasses
import warnings

import jax
import numpy as np
import pytest

from hwmodels.workload import Layer, Workload


def test_convolution_counts_a_non_square_map():
    layer = Layer.conv(
        "c", height=9, width=7, in_channels=2, out_channels=5, kernel=(3, 1), stride=(2, 1), padding=(1, 0)
    )
    assert (layer.out_height, layer.out_width) == (5, 7)
    assert layer.weights == 3 * 1 * 2 * 5
    assert layer.macs == 5 * 7 * 5 * 3 * 1 * 2


def test_linear_is_the_one_by_one_case():
    layer = Layer.linear("fc", in_features=1024, out_features=512, input_rate=0.1)
    assert (layer.outputs, layer.macs, layer.weights) == (512, 1024 * 512, 1024 * 512)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": 9}, "larger than the padded map"),
        ({"kernel": (3, 3, 3)}, "kernel must be an int or a pair"),
        ({"stride": 0}, "stride must be at least 1"),
        ({"height": 0}, "height must be at least 1"),
        ({"padding": -1}, "padding must not be negative"),
        ({"input_rate": 1.2}, "input_rate is a fraction"),
        ({"input_rate": float("nan")}, "input_rate is a fraction"),
        ({"weight_sparsity": -0.1}, "weight_sparsity is a fraction"),
    ],
)
def test_a_bad_layer_is_named(change, message):
    good = {"height": 8, "width": 8, "in_channels": 3, "out_channels": 4}
    with pytest.raises(ValueError, match=f"'conv7'.*{message}"):
        Layer.conv("conv7", **(good | change))


def test_a_workload_needs_distinct_layers_and_time():
    layer = Layer.linear("fc", in_features=4, out_features=2)
    with pytest.raises(ValueError, match="at least one layer"):
        Workload(layers=(), timesteps=4)
    with pytest.raises(ValueError, match="'fc' more than once"):
        Workload(layers=(layer, layer), timesteps=4)
    for timesteps in (0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"timesteps must be finite and at least 1, got {timesteps}"):
            Workload(layers=(layer,), timesteps=timesteps)


def test_rates_and_timesteps_are_the_leaves():
    layer = Layer.linear("fc", in_features=4, out_features=2, input_rate=0.5)
    assert jax.tree.leaves(Workload(layers=(layer,), timesteps=3)) == [0.5, 0.0, 3]


def test_another_kind_is_refused(as_users_run):
    linear = Layer.linear("fc", in_features=4, out_features=2)
    with pytest.raises(ValueError, match="layer 'fc': kind must be one of 'conv', 'linear', got 'dense'"):
        dataclasses.replace(linear, kind="dense")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": "no"}, "bias must be True or False, got 'no'"),
        ({"height": 8.5}, "height must be at least 1 and a whole number, got 8.5"),
        ({"out_channels": True}, "out_channels must be at least 1 and a whole number"),
        ({"kernel": 2.5}, "kernel must be an int or a pair of ints, got 2.5"),
        ({"input_pool": 0}, "layer 'c': input_pool must be at least 1 and a whole number.* got 0"),
        ({"input_pool": 1.5}, "layer 'c': input_pool must be at least 1 and a whole number.* got 1.5"),
        ({"weight_bits": -3}, r"layer 'c': weight_bits must lie in \[1, 64\], got -3"),
        ({"weight_bits": float("nan")}, r"layer 'c': weight_bits must lie in \[1, 64\], got nan"),
        ({"pool": 20, "padding": 1}, "pooling of side 20 does not fit its output map of 8 × 8"),
    ],
)
def test_a_shape_that_cannot_be_is_named(change, message, as_users_run):
    with pytest.raises(ValueError, match=message):
        Layer.conv("c", **({"height": 8, "width": 8, "in_channels": 3, "out_channels": 4} | change))


def test_whole_numbers_of_numpy_are_whole_numbers():
    sizes = {"height": 8, "width": 8, "in_channels": 3, "out_channels": 4, "kernel": 3, "pool": 2}
    plain = Layer.conv("c", **sizes)
    assert Layer.conv("c", **{name: np.int64(size) for name, size in sizes.items()}) == plain
    assert Layer.conv("c", **(sizes | {"kernel": np.array([3, 3], np.int32)})) == plain
    assert type(Layer.linear("f", in_features=np.int32(3), out_features=2).in_channels) is int


def test_layers_follow_one_another():
    first = Layer.conv("a", height=8, width=8, in_channels=3, out_channels=16, padding=1, pool=2)

    def after(layer):
        return Workload((first, layer), 4)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after(Layer.conv("b", height=4, width=4, in_channels=16, out_channels=2))
        after(Layer.linear("b", in_features=4 * 4 * 16, out_features=2))
        after(Layer.linear("b", in_features=16, out_features=2))  # averaged over the map
    for wrong in (
        Layer.conv("b", height=4, width=4, in_channels=99, out_channels=2),
        Layer.conv("b", height=16, width=16, in_channels=16, out_channels=2),
        Layer.linear("b", in_features=100, out_features=2),
        Layer.linear("b", in_features=3, out_features=2),
    ):
        message = r"layer 'b' takes .* layer 'a' before it gives 8 × 8 × 16"
        with pytest.warns(UserWarning, match=message):
            after(wrong)
        with pytest.raises(ValueError, match=message):
            after(dataclasses.replace(wrong, source="a"))


def test_a_workload_is_made_of_layers(as_users_run):
    with pytest.raises(TypeError, match="a workload is made of Layers, got 'conv'"):
        Workload(("conv",), 1)
