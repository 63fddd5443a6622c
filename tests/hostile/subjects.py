"""The situations: for each subject a strategy, and a check against a reference without our code."""

import functools
import math
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from hypothesis import assume
from hypothesis import strategies as st

from hwmodels import sata, spikeflow
from hwmodels.crossbar import (
    Converters,
    Crossbar,
    Device,
    Faults,
    TileProduct,
    Variation,
    Wires,
    deploy,
    effective_conductance,
    program,
)
from hwmodels.workload import Layer, Workload
from jaxsnn.data.pixels import unit_pixels
from jaxsnn.layers import Block, Linear
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, Readout
from tests.hostile.invariant import EITHER, REFUSED, check
from tests.hostile.numbers import FLOATS, STRANGE, VALUES, mostly, number, pair, whole
from tests.hwmodels.crossbar.nodal import nodal
from tests.hwmodels.sata import naive

KEY = jax.random.key(0)
small = st.integers(1, 9)


# --- Shapes of layers: windows counted one by one. ---

shapes = st.fixed_dictionaries(
    {
        "height": mostly(small),
        "width": mostly(small),
        "in_channels": mostly(small),
        "out_channels": mostly(small),
        "kernel": mostly(st.integers(1, 4)),
        "stride": mostly(st.integers(1, 3)),
        "padding": mostly(st.integers(0, 2)),
        "pool": mostly(st.integers(1, 3)),
        "input_rate": mostly(st.floats(0, 1)),
    }
)


def layer_shape(s):
    def act():
        layer = Layer.conv("subject", **s)
        return layer.out_height, layer.out_width, float(layer.weights), float(layer.macs)

    return check(act, _shape(s), "'subject'")


def _shape(s):
    sizes = [s[name] for name in ("height", "width", "in_channels", "out_channels", "pool")]
    kernel, stride, padding = (pair(s[name]) for name in ("kernel", "stride", "padding"))
    if not all(map(whole, sizes)) or None in (kernel, stride, padding):
        return REFUSED
    height, width, inputs, outputs, pool = map(int, sizes)
    rate = s["input_rate"]
    if isinstance(rate, np.ndarray) or not number(rate):
        return REFUSED if not isinstance(rate, np.ndarray | np.bool_) else EITHER
    if min(height, width, inputs, outputs, pool, *kernel, *stride) < 1 or min(padding) < 0:
        return REFUSED
    if max(height, width, inputs, outputs, *kernel, *stride, *padding) > 10**6:
        return EITHER
    out = [
        len(range(0, size + 2 * pad - k + 1, step)) if size + 2 * pad >= k else 0
        for size, pad, k, step in zip((height, width), padding, kernel, stride, strict=True)
    ]
    if min(out) < 1 or pool > min(out) or not 0 <= rate <= 1:
        return REFUSED
    weights = kernel[0] * kernel[1] * inputs * outputs
    return out[0], out[1], float(weights), float(weights * out[0] * out[1])


# --- Memory traffic: a cycle simulator, word by word. ---

machines = st.fixed_dictionaries(
    {
        "rows": mostly(st.integers(1, 6)),
        "columns": mostly(st.integers(1, 6)),
        "buffer": mostly(st.sampled_from([100, 250, 999, 40000])),
        "side": st.integers(3, 6),
        "channels": st.integers(1, 4),
        "filters": st.integers(1, 7),
        "stride": st.integers(1, 2),
        "dataflow": st.sampled_from(["os", "ws", "is"]),
    }
)


def traffic(s):
    sizes = [s["rows"], s["columns"], s["buffer"]]
    # Arrays of sizes are many machines, for `jax.vmap`.
    assume(not any(isinstance(size, np.ndarray) and size.ndim for size in sizes))
    layer = Layer.conv(
        "subject",
        height=s["side"],
        width=s["side"],
        in_channels=s["channels"],
        out_channels=s["filters"],
        stride=s["stride"],
    )

    def act():
        buffer = s["buffer"]
        found = sata.cycle_statistics(
            layer, sata.Array(s["rows"], s["columns"]), sata.Buffers(buffer, buffer, buffer), s["dataflow"]
        )
        return float(found.dram_ifmap_reads), float(found.dram_filter_reads), float(found.cycles)

    usable = all(whole(size) and size >= 1 for size in sizes) and s["buffer"] >= 100
    expected = EITHER if usable else REFUSED
    if usable and max(sizes) < 10**6:
        shape = naive.Shape(*(s["side"],) * 2, 3, 3, s["channels"], s["filters"], *(s["stride"],) * 2)
        rows, columns, buffer = map(int, sizes)
        truth = naive.simulate(shape, rows, columns, (buffer,) * 3, s["dataflow"])
        expected = tuple(float(truth[n]) for n in ("dram_ifmap_reads", "dram_filter_reads", "cycles"))
    elif all(number(size) or isinstance(size, np.bool_) for size in sizes):
        expected = EITHER  # Sizes between whole numbers stand for the nearest.
    return check(act, expected)


# --- Costs: laws that hold whatever the constants. ---

networks = st.fixed_dictionaries(
    {
        "channels": st.lists(st.integers(1, 40), min_size=1, max_size=4),
        "side": st.integers(3, 10),
        "rate": mostly(st.floats(0.01, 1)),
        "timesteps": mostly(st.integers(1, 8)),
        "sparsity": st.sampled_from([0.0, 0.5, 1.0]),
        "dataflow": st.sampled_from(["sata", "os", "ws", "is", "spinalflow", "ptb"]),
        "law": st.sampled_from(["order", "time", "twice", "rate", "utilisation", "pad"]),
    }
)


def costs(s):
    def workload(channels=None, timesteps=s["timesteps"], rate=s["rate"], reverse=False):
        layers, inputs = [], 3
        for index, outputs in enumerate(channels or s["channels"]):
            layers.append(
                Layer.conv(
                    f"layer{index}",
                    height=s["side"],
                    width=s["side"],
                    in_channels=inputs,
                    out_channels=outputs,
                    padding=1,
                    input_rate=rate,
                    weight_sparsity=s["sparsity"],
                )
            )
            inputs = outputs
        return Workload(layers[::-1] if reverse else layers, timesteps)

    chip = sata.Accelerator(dataflow=s["dataflow"])

    def energy(*arguments, **settings):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The law of order breaks the chain on purpose.
            return float(sata.inference_energy(workload(*arguments, **settings), chip).total_j)

    steps = s["timesteps"]
    if isinstance(steps, np.bool_) or isinstance(s["rate"], np.bool_):
        return check(energy, EITHER)
    usable = number(steps) and number(s["rate"]) and not isinstance(s["rate"], np.ndarray)
    usable = usable and steps >= 1 and math.isfinite(steps) and 0 <= s["rate"] <= 1
    if not usable or max(steps, 1) > 1e6 or isinstance(steps, np.ndarray):
        return check(lambda: energy(), EITHER if usable else REFUSED)

    def law():
        here = energy()
        assert math.isfinite(here)
        assert here > 0
        if s["law"] == "order":
            return energy(reverse=True) / here
        if s["law"] == "twice":
            return float(energy() == here)
        if s["law"] == "rate":
            return float(energy(rate=min(1.0, 1.5 * float(s["rate"]))) >= here * (1 - 1e-12))
        if s["law"] == "pad":  # One more filter is never cheaper.
            return float(energy(channels=[*s["channels"][:-1], s["channels"][-1] + 1]) >= here * (1 - 1e-12))
        if s["law"] == "time":
            return float(energy(timesteps=steps + 1) > here)
        cost = sata.inference_energy(workload(), chip)
        return float(0 <= float(cost.utilisation) <= 1 + 1e-12)

    return check(law, 1.0, rtol=1e-9)


def spikeflow_costs(s):
    def workload():
        layers, inputs = [], 3
        for index, outputs in enumerate(s["channels"]):
            settings = {"height": s["side"], "width": s["side"], "padding": 1, "input_rate": s["rate"]}
            layers.append(Layer.conv(f"layer{index}", in_channels=inputs, out_channels=outputs, **settings))
            inputs = outputs
        return Workload(layers, s["timesteps"])

    steps = s["timesteps"]
    if isinstance(steps, np.bool_) or isinstance(s["rate"], np.bool_):
        return check(lambda: float(spikeflow.evaluate(workload(), spikeflow.Chip()).energy_j), EITHER)
    usable = number(steps) and number(s["rate"]) and not isinstance(s["rate"], np.ndarray)
    usable = usable and steps >= 1 and math.isfinite(steps) and 0 <= s["rate"] <= 1

    def act():
        cost = spikeflow.evaluate(workload(), spikeflow.Chip())
        by_layer = sum(float(value) for value in cost.energy_by_layer_j.values())
        by_component = sum(float(value) for value in cost.energy_by_component_j.values())
        assert float(cost.latency_s) > 0
        assert float(cost.area_mm2) > 0
        return by_layer / float(cost.energy_j), by_component / float(cost.energy_j)

    # More than 10⁹ timesteps are refused.
    expected = EITHER if usable and (isinstance(steps, bool) or steps > 1e9) else (1.0, 1.0)
    return check(act, expected if usable else REFUSED, rtol=1e-9)


# --- Numbers of devices, wires, converters and tiles. ---

SETTINGS = {
    "Wires.row": (lambda v: Wires(row=v), lambda v: v >= 0),
    "Variation.sigma": (lambda v: Variation(v), lambda v: 0 <= v < math.inf),
    "Faults.open": (lambda v: Faults(open=v), lambda v: 0 <= v <= 1),
    "g_max": (lambda v: Device(g_max_siemens=v), lambda v: 1 / 200e3 < v < math.inf),
    "Converters.input_full_scale": (
        lambda v: Converters(input_full_scale=v),
        lambda v: 0 < v < math.inf,
    ),
    "Converters.adc_bits": (lambda v: Converters(adc_bits=v), None),
    "Crossbar.rows": (lambda v: Crossbar(rows=v), None),
    "Device.bits": (lambda v: Device(bits=v), None),
}
WHOLE = {"Converters.adc_bits": (1, 24), "Crossbar.rows": (1, math.inf), "Device.bits": (1, 16)}
settings_of_chips = st.tuples(
    st.sampled_from(sorted(SETTINGS)),
    st.one_of(st.sampled_from(STRANGE), VALUES, st.integers(-3, 40)),
)


def chip_settings(s):
    name, value = s
    make, holds = SETTINGS[name]
    if holds is None:
        low, high = WHOLE[name]
        allowed = (whole(value) and low <= value <= high) or (value is None and name != "Crossbar.rows")
        expected = EITHER if allowed else REFUSED
    elif isinstance(value, bool | np.bool_) or (isinstance(value, np.ndarray) and value.ndim):
        expected = EITHER  # Several numbers are a batch of chips, which `jax.vmap` maps over.
    else:
        expected = EITHER if number(value) and holds(float(value)) else REFUSED
    return check(lambda: (make(value), 0)[1], expected, name.split(".")[-1], "g_max")


# --- The circuit: nodal analysis. ---

circuits = st.fixed_dictionaries(
    {
        "G": st.lists(
            st.sampled_from([0.0, 1e-9, 5e-6, 2e-5, 5e-5, 1e-2, 1e-5, 3e-5]), min_size=12, max_size=12
        ),
        "wires": st.lists(st.sampled_from([0.0, 1e-3, 5.0, 1e3, 1e6, math.inf]), min_size=4, max_size=4),
        "bad": st.sampled_from([None] * 6 + [-1e-6, math.nan, math.inf]),
        "bad_wire": st.sampled_from([None] * 6 + [-1.0, math.nan]),
    }
)


# As `jax.jit`, whose errors bury the sentence under the callback that raised it.
@eqx.filter_jit
def _circuit(G, wires):
    return effective_conductance(G, Wires(wires[0], wires[1], wires[2], wires[3]))


def circuit(s):
    G, wires = np.reshape(s["G"], (3, 4)).copy(), np.array(s["wires"])
    expected = REFUSED
    if s["bad"] is not None:
        G[1, 2] = s["bad"]
    elif s["bad_wire"] is not None:
        wires[2] = s["bad_wire"]
    else:
        expected = nodal(G, *wires)
    return check(
        lambda: jax.block_until_ready(_circuit(G, wires)), expected, "crossbar", rtol=1e-7, atol=1e-18
    )


# --- Kernels on an ideal chip: themselves. ---

IDEAL = {
    signs: Crossbar(4, 4, Wires(0, 0, 0, 0), Device(variation=None), signs=signs)
    for signs in ("differential", "offset", "nice")
}
kernels = st.fixed_dictionaries(
    {
        "signs": st.sampled_from(sorted(IDEAL)),
        "values": st.lists(FLOATS, min_size=18, max_size=18),
        "bad": st.sampled_from([None] * 8 + [math.nan, math.inf]),
        "shape": st.sampled_from([(6, 3)] * 8 + [(18,), (0, 3), ()]),
        "dtype": st.sampled_from(["float64"] * 4 + ["float32", "int32", "bool", "complex64"]),
    }
)


@eqx.filter_jit
def _deployed(kernel, signs):
    return deploy({"kernel": kernel}, IDEAL[signs], KEY, solve=lambda G, wires: G)["kernel"]


def kernel(s):
    values = np.array(s["values"])
    if s["bad"] is not None:
        values[7] = s["bad"]
    size = math.prod(s["shape"])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = values[:size].reshape(s["shape"]).astype(s["dtype"])
    floating = np.issubdtype(values.dtype, np.floating)
    expected = REFUSED
    if floating and s["shape"] == (6, 3) and s["bad"] is None:
        greatest = float(np.abs(values).max())
        big = values.dtype == np.float32 and greatest > 1e33
        expected = EITHER if big else values
    scale = np.abs(values).max() if values.size and floating and np.isfinite(values).all() else 1.0
    return check(
        lambda: jax.block_until_ready(_deployed(jnp.asarray(values), s["signs"])),
        expected,
        "kernel",
        "leaf",
        atol=1e-5 * float(scale),
        rtol=1e-5,
    )


# --- Products on tiles: a matrix product, in any type of input. ---

MATRIX = np.random.default_rng(0).normal(size=(6, 3))
TILES = TileProduct(program(jnp.asarray(MATRIX), IDEAL["differential"], KEY))
SIGNED = TileProduct(
    program(jnp.asarray(MATRIX), IDEAL["differential"], KEY), Converters(None, None, signed=True)
)
inputs_of_tiles = st.fixed_dictionaries(
    {
        "values": st.lists(st.integers(-3, 9), min_size=12, max_size=12),
        "dtype": st.sampled_from(["float64", "float32", "int32", "uint8", "bool", "int64"]),
        "converters": st.booleans(),
        "shape": st.sampled_from([(2, 6)] * 6 + [(12,), (2, 3, 2), (1, 2, 6), (6, 2)]),
    }
)


def tile_products(s):
    x = np.array(s["values"]).astype(s["dtype"]).reshape(s["shape"])
    tiles = SIGNED if s["converters"] else TILES
    expected = x.astype(float) @ MATRIX if s["shape"][-1] == 6 else REFUSED
    return check(lambda: tiles.linear(jnp.asarray(x)), expected, "features", rtol=1e-5, atol=1e-5)


# --- Pixels. ---

images = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(
            [
                "uint8",
                "uint16",
                "bool",
                "float32",
                "float64",
                "float16",
                "int32",
                "int64",
                "complex64",
                "U1",
                "O",
            ]
        ),
        "shape": st.sampled_from([(), (0,), (2,), (2, 3), (1, 2, 2, 1)]),
        "value": st.integers(0, 255),
    }
)


def pixels(s):
    x = np.full(s["shape"], s["value"]).astype(s["dtype"])
    scale = {"u1": 255, "u2": 65535, "b1": 1}.get(x.dtype.str[1:])
    expected = x.astype(np.float64) / scale if scale else (x if x.dtype.kind == "f" else REFUSED)
    return check(lambda: unit_pixels(x), expected, "images", rtol=1e-6)


# --- A network over time: the equations in NumPy. ---

_WEIGHTS = [np.random.default_rng(index).normal(size=shape) for index, shape in enumerate([(4, 5), (5, 3)])]


@functools.cache
def _network(scale):
    def linear(weights):
        return Linear(
            *weights.shape,
            param_dtype=jnp.float64,
            kernel_init=lambda key, shape, dtype: jnp.asarray(weights * scale, dtype),
            rngs=nnx.Rngs(0),
        )

    hidden = LIF(leak=0.5, threshold=0.75 * scale)
    return Network(
        [Block("hidden", linear(_WEIGHTS[0]), hidden), Block("out", linear(_WEIGHTS[1]), Readout())]
    )


@nnx.jit(static_argnames=("timesteps", "chunk"))
def _logits(network, images, timesteps, chunk):
    return network(images, timesteps=timesteps, chunk=chunk)[0]


runs = st.fixed_dictionaries(
    {
        "values": st.lists(st.floats(-1, 1), min_size=12, max_size=12),
        "timesteps": mostly(st.sampled_from([1, 2])),
        "chunk": st.sampled_from([None, 1, None, 0, -1]),
        "scale": st.sampled_from([1.0, 4.0]),
        "dtype": st.sampled_from(["float64"] * 5 + ["uint8", "int64"]),
        "shape": st.sampled_from([(3, 4)] * 6 + [(12,), (3, 2, 2, 1), (4, 3)]),
        "permute": st.booleans(),
    }
)


def network(s):
    """Weights and threshold scaled together scale the logits; permuted images permute them."""
    x = np.array(s["values"]).reshape(s["shape"])
    x = (x * 100 + 100 if s["dtype"] != "float64" else x).astype(s["dtype"])
    steps, chunk = s["timesteps"], s["chunk"]
    expected = REFUSED
    order = np.array([2, 0, 1]) if s["permute"] else np.arange(3)
    fits = s["shape"] in ((3, 4), (3, 2, 2, 1)) and s["dtype"] != "int64"
    if fits and whole(steps) and steps >= 1 and (chunk is None or chunk >= 1):
        pixels = x.reshape(3, 4) / (255.0 if s["dtype"] == "uint8" else 1.0)
        potential, total = np.zeros((3, 5)), np.zeros((3, 3))
        current = pixels @ (s["scale"] * _WEIGHTS[0])
        if steps > 1000:
            return check(lambda: 0, EITHER)
        margin = np.inf
        for _ in range(int(steps)):
            potential = 0.5 * potential + current
            margin = min(margin, np.abs(potential - 0.75 * s["scale"]).min())
            fired = potential >= 0.75 * s["scale"]
            potential = np.where(fired, 0, potential)
            total = total + fired @ (s["scale"] * _WEIGHTS[1])
        expected = (total / int(steps))[order]
        if margin < 1e-5:  # A potential on the threshold may round either way.
            expected = EITHER
    images_in_order = x[order] if fits else x

    def act():
        try:
            hash((steps, chunk))
        except TypeError:
            return _network(s["scale"])(jnp.asarray(images_in_order), timesteps=steps, chunk=chunk)[0]
        return _logits(_network(s["scale"]), jnp.asarray(images_in_order), steps, chunk)

    return check(act, expected, "timesteps", "chunk", "images", "layer", rtol=1e-5, atol=1e-9)


SUBJECTS = {
    "layer shapes": (shapes, layer_shape),
    "memory traffic": (machines, traffic),
    "SATA's costs": (networks, costs),
    "SpikeFlow's costs": (networks, spikeflow_costs),
    "numbers of chips": (settings_of_chips, chip_settings),
    "circuit": (circuits, circuit),
    "kernels": (kernels, kernel),
    "products on tiles": (inputs_of_tiles, tile_products),
    "pixels": (images, pixels),
    "networks": (runs, network),
}
