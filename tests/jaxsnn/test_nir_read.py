"""NIR graphs in: real files and what their own simulators give; made ones and NIR's equations in NumPy."""

from itertools import pairwise
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.graph import Graph
from jaxsnn.interop.nir import from_nir
from jaxsnn.interop.nir._writers import habits
from jaxsnn.layers import Block, Neurons
from jaxsnn.neuron import IF, LIF, CubaReadout, Identity, Readout
from jaxsnn.recurrence import Recurrent
from jaxsnn.signal import Signal

nir = pytest.importorskip("nir")

from tests.jaxsnn.nir_reference import simulate  # noqa: E402  # It needs nir.

REAL = Path(__file__).parents[1] / "data" / "reference" / "nir" / "real"
DT = 1e-3
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def same_numbers():
    """Every test makes its graphs from the same numbers, whichever tests run."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


@nnx.jit
def unrolled(network, inputs):
    return network.unroll(inputs)


@pytest.mark.parametrize("name", sorted(path.stem for path in REAL.glob("*.nir")))
def test_real_files_give_the_spikes_of_their_own_simulators(name):
    known = np.load(REAL / f"{name}.npz")
    network = from_nir(nir.read(REAL / f"{name}.nir"), dt=float(known["dt"]))
    x = known["x"][:, None]
    if x.ndim == 5:
        x = x.transpose(0, 1, 3, 4, 2)
    spikes = np.asarray(unrolled(network, jnp.asarray(x)))[:, 0]
    assert known["spikes"].sum() > 0
    np.testing.assert_array_equal(spikes, known["spikes"])


def lif(*shape, tau=None, r=1.0, leak=0.0, threshold=0.4, reset=0.0):
    full = np.ones(shape)
    tau = RNG.uniform(2, 8, shape) * DT if tau is None else tau
    return nir.LIF(
        tau=tau * full, r=r * full, v_leak=leak * full, v_threshold=threshold * full, v_reset=reset * full
    )


def conv(inputs, out, *kernel, stride=1, padding=0, dilation=1, groups=1):
    weight = RNG.normal(0.3, 1, (out, inputs // groups, *kernel))
    kind = nir.Conv2d if len(kernel) == 2 else nir.Conv1d
    return kind(None, weight, stride, padding, dilation, groups, RNG.normal(0, 0.3, out))


def affine(inputs, out):
    return nir.Affine(RNG.normal(0.2, 1, (out, inputs)) / np.sqrt(inputs), RNG.normal(0.1, 0.2, out))


def chain(shape, out_shape, **nodes):
    nodes = {
        "a in": nir.Input({"input": np.array(shape)}),
        **nodes,
        "0": nir.Output({"output": np.array(out_shape)}),
    }
    names = list(nodes)
    edges = list(pairwise(names))
    shuffled = dict(sorted(nodes.items()))  # HDF5 gives nodes by the alphabet.
    return nir.NIRGraph(shuffled, edges[::-1], type_check=False), names


def pair(*values):
    return np.array(values)


def grouped():
    return chain(
        (4, 6, 5),
        (6,),
        w=conv(4, 6, 3, 2, stride=(1, 2), padding=(2, 1), dilation=(2, 1), groups=2),
        n=lif(6, 6, 3, r=RNG.uniform(0.5, 2, (6, 1, 1)), threshold=RNG.uniform(0.2, 0.5, (6, 1, 1))),
        p=nir.AvgPool2d(pair(2, 2), pair(2, 2), pair(0, 0)),
        v=conv(6, 2, 2, 2, padding="same"),
        m=lif(2, 3, 1, threshold=RNG.uniform(0.2, 0.5, (2, 3, 1))),
        f=nir.Flatten({"input": np.array([2, 3, 1])}, 0, -1),
        u=affine(6, 6),
        o=lif(6, r=RNG.uniform(0.5, 2, 6)),
    )


def pooled_before_neurons():
    return chain(
        (2, 9, 8),
        (3,),
        w=conv(2, 3, 3, 3, padding="valid", stride=(1, 2)),
        p=nir.SumPool2d(pair(2, 1), pair(2, 1), pair(0, 0)),
        n=nir.IF(np.full((3, 3, 3), 0.5 / DT), np.full((3, 3, 3), 0.9), np.full((3, 3, 3), 0.2)),
        q=nir.SumPool2d(pair(3, 3), pair(3, 3), pair(0, 0)),
        s=nir.Scale(RNG.uniform(0.1, 0.3, (3, 1, 1))),
        f=nir.Flatten({"input": np.array([3, 1, 1])}, 0, -1),
        v=nir.Linear(RNG.normal(0.5, 1, (3, 3))),
        o=nir.CubaLIF(
            np.full(3, 4 * DT), pair(3, 4, 5) * DT, pair(1, 2, 3.0), np.zeros(3), np.full(3, 0.4), w_in=2.0
        ),
    )


def bare():
    """Neurons first, their potentials at a rest of their own, and weights at the end."""
    return chain(
        (2, 3, 4),
        (2, 3, 4),
        n=lif(2, 3, 4, r=RNG.uniform(0.5, 3, (2, 3, 4)), leak=-0.1, reset=-0.1, threshold=0.2),
        w=conv(2, 2, 3, 3, padding=1),
        v=conv(2, 2, 1, 1),
    )


def line():
    return chain(
        (3, 9),
        (2, 4),
        w=conv(3, 4, 3, stride=2, padding=1),
        n=lif(4, 5, leak=0.2, reset=-0.3, threshold=0.3),
        v=conv(4, 2, 2),
        o=nir.CubaLI(
            np.full((2, 4), 2 * DT),
            np.full((2, 4), 5 * DT),
            np.ones((2, 4)),
            np.full((2, 4), 0.3),
            np.ones((2, 4)),
        ),
    )


def in_order():
    """A flattened map whose neurons differ, and which is an output."""
    return chain(
        (2, 4, 3),
        (24,),
        n=lif(2, 4, 3, threshold=0.1),
        f=nir.Flatten({"input": np.array([2, 4, 3])}, 0, 2),
        o=lif(24, threshold=RNG.uniform(0.05, 0.5, 24)),
    )


def readout():
    return chain(
        (5,), (3,), w=affine(5, 3), o=nir.LI(np.full(3, 5 * DT), pair(1, 2, 3.0), pair(0.1, 0, -0.1))
    )


CASES = {make.__name__: make for make in (grouped, pooled_before_neurons, bare, line, in_order, readout)}


def last(array, axes):
    """Channels last, of an array with as many axes before the channels."""
    return np.moveaxis(array, axes, -1) if array.ndim > axes + 1 else array


@pytest.mark.parametrize("name", CASES)
def test_chains_follow_the_equations(name):
    graph, order = CASES[name]()
    shape = tuple(graph.nodes["a in"].input_type["input"])
    x = np.random.default_rng(1).uniform(0, 2, (12, *shape))
    expected = simulate(graph, x, DT, order)
    network = from_nir(graph, dt=DT, dtype=jnp.float64)
    found = np.asarray(unrolled(network, jnp.asarray(last(x, 1)[:, None])))[:, 0]
    assert np.mean(expected != 0) > 0.02, "the output is silent"
    np.testing.assert_allclose(found, last(expected, 1), rtol=1e-9, atol=1e-12)


def test_what_chains_become():
    blocks = [from_nir(make()[0], dt=DT).layers for make in CASES.values()]
    kinds = [[type(layer).__name__ for layer in layers] for layers in blocks]
    assert kinds[0] == ["Block", "Block", "Block"]
    assert blocks[0][0].pool == 2
    assert kinds[1] == ["Block", "Pool", "Scale", "Block"]
    assert blocks[1][0].synapse.kernel_size == (4, 3)
    assert blocks[1][0].synapse.stride == (2, 2)
    assert kinds[2] == ["Neurons", "Block", "Block"]
    assert isinstance(blocks[2][-1].neuron, Identity)
    assert isinstance(blocks[3][-2].neuron, CubaReadout)
    assert kinds[4] == ["Neurons", "Rearrange", "Neurons", "Rearrange"]
    assert isinstance(blocks[5][0].neuron, Readout)


def test_maps_may_come_channels_first_where_the_shape_tells():
    graph, _ = bare()
    network = from_nir(graph, dt=DT, dtype=jnp.float64)
    x = np.random.default_rng(1).uniform(0, 2, (3, 1, 2, 3, 4))
    first = np.asarray(network.unroll(jnp.asarray(x)))
    np.testing.assert_array_equal(
        np.moveaxis(first, 2, -1), network.unroll(jnp.asarray(np.moveaxis(x, 2, -1)))
    )
    with pytest.raises(
        ValueError, match=r"inputs of shape \(time, batch, 3, 4, 2\) and got \(3, 1, 3, 2, 4\)"
    ):
        network.unroll(jnp.zeros((3, 1, 3, 2, 4)))


def joined(nodes, edges, shape=(5,), out=(4,)):
    ends = {"x": nir.Input({"input": np.array(shape)}), "y": nir.Output({"output": np.array(out)})}
    return nir.NIRGraph({**ends, **nodes}, edges, type_check=False)


def residual():
    nodes = {"w": affine(5, 4), "n": lif(4, threshold=0.1), "v": affine(4, 4), "m": lif(4, threshold=0.3)}
    nodes |= {"u": affine(4, 4), "o": lif(4, threshold=0.2)}
    edges = [("x", "w"), ("w", "n"), ("n", "v"), ("v", "m"), ("n", "m"), ("m", "u"), ("u", "o"), ("o", "y")]
    return joined(nodes, edges), ["x", "w", "n", "v", "m", "u", "o", "y"], {}


def recurrent():
    nodes = {"w": affine(5, 4), "n": lif(4, threshold=0.2), "r": affine(4, 4), "v": affine(4, 4), "o": lif(4)}
    edges = [("x", "w"), ("w", "n"), ("n", "r"), ("r", "n"), ("n", "v"), ("v", "o"), ("o", "y")]
    return joined(nodes, edges), ["x", "w", "n", "r", "v", "o", "y"], {"r": 4}


def inside():
    """The same recurrence as a graph inside the graph."""
    whole, order, late = recurrent()
    ends = {"input": nir.Input({"input": np.array([4])}), "output": nir.Output({"output": np.array([4])})}
    inner = nir.NIRGraph(
        {**ends, "n": whole.nodes["n"], "r": whole.nodes["r"]},
        [("input", "n"), ("n", "r"), ("r", "n"), ("n", "output")],
        type_check=False,
    )
    nodes = {"w": whole.nodes["w"], "s": inner, "v": whole.nodes["v"], "o": whole.nodes["o"]}
    edges = [("x", "w"), ("w", "s"), ("s", "v"), ("v", "o"), ("o", "y")]
    return joined(nodes, edges), order, late, whole


def circle():
    """Two layers in a circle; the first also hears itself at once, and the input has a way past both."""
    nodes = {"w": affine(5, 4), "a": lif(4, threshold=0.2), "v": affine(4, 4), "b": lif(4, threshold=0.2)}
    nodes |= {"r": nir.Scale(np.full(4, -0.5)), "u": affine(5, 4), "o": lif(4, threshold=0.2)}
    edges = [("x", "w"), ("w", "a"), ("a", "a"), ("a", "v"), ("v", "b"), ("b", "r"), ("r", "a"), ("b", "o")]
    edges += [("x", "u"), ("u", "o"), ("o", "y")]
    return joined(nodes, edges), ["x", "w", "r", "a", "v", "b", "u", "o", "y"], {"a": 4, "b": 4}


@pytest.mark.parametrize("make", [residual, recurrent, inside, circle])
def test_graphs_that_join_and_turn(make):
    graph, order, late, *whole = make()
    x = np.random.default_rng(1).uniform(0, 2, (12, 5))
    expected = simulate(whole[0] if whole else graph, x, DT, order, late)
    network = from_nir(graph, dt=DT, dtype=jnp.float64)
    found = np.asarray(unrolled(network, jnp.asarray(x[:, None])))[:, 0]
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(found, expected)
    # Step by step, from the state that the step before left, as early exit runs.
    signal_states, parts = None, []
    for step in np.split(jnp.asarray(x[:, None]), 4):
        signal = Signal(values=jnp.asarray(step), steps=3, analog=False)
        out, signal_states, records = network.run(signal, signal_states, start=3 * len(parts))
        parts.append(np.asarray(out.values)[:, 0])
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    by_name = {record.name: record for record in records}
    if make is recurrent:
        assert isinstance(network.layers[0], Recurrent)
        assert by_name["w_recurrent"].recurrent
        assert not by_name["w_recurrent"].spiking
        assert by_name["w"].spiking
    if make in (residual, circle):
        assert any(isinstance(layer, Graph) for layer in network.layers)
    if make is residual:
        assert by_name["v"].residual_add
        assert by_name["v"].spiking


def test_a_bias_in_a_loop_acts_at_once_where_the_writer_has_it_so():
    """Norse and SpikingJelly start with nothing in the loop, snnTorch with silent neurons."""
    graph, order, late = recurrent()
    graph.nodes["r"].bias = np.array([1.5, -1.5, 1.5, -1.5])
    x = np.random.default_rng(1).uniform(0, 2, (12, 5))
    silent = ["x", "w", "r", "n", "v", "o", "y"], {"n": 4}
    found = {}
    for writer, (steps, start) in {"snntorch": silent, None: (order, late)}.items():
        network = from_nir(graph, dt=DT, dtype=jnp.float64, writer=writer)
        found[writer] = np.asarray(unrolled(network, jnp.asarray(x[:, None])))[:, 0]
        np.testing.assert_array_equal(found[writer], simulate(graph, x, DT, steps, start))
    assert (found["snntorch"] != found[None]).any()
    with pytest.raises(ValueError, match="writer is the framework that wrote the file, one of 'snntorch'"):
        habits("nest")


def test_an_input_may_have_the_axis_of_a_batch():
    """Norse 1.1.0 writes (batch, features), sinabs (time, features)."""
    graph = changed()
    graph.nodes["x"].input_type["input"] = np.array([40, 5])
    x = jnp.asarray(np.random.default_rng(1).uniform(0, 2, (12, 1, 5)))
    np.testing.assert_array_equal(
        from_nir(graph, dt=DT).unroll(x), from_nir(changed_back(graph), dt=DT).unroll(x)
    )


def changed_back(graph):
    graph.nodes["x"].input_type["input"] = np.array([5])
    return graph


# What cannot be read, and what the message says.


def changed(**nodes):
    base = {"w": affine(5, 4), "n": lif(4), "v": affine(4, 4), "o": lif(4)} | nodes
    names = ["x", *base, "y"]
    return joined(base, list(pairwise(names)))


def with_field(node, **values):
    for field, value in values.items():
        setattr(node, field, value)
    return node


NAN = np.array([0.1, np.nan, 0.2, 0.3])


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            lambda: changed(t=nir.Threshold(np.ones(4))),
            "'t': a Threshold cannot be read; give the threshold to",
        ),
        (lambda: changed(t=nir.Delay(np.ones(4))), "'t': a Delay cannot be read; a network of timesteps"),
        (
            lambda: changed(n=lif(4, threshold=0.0)),
            r"'n': its threshold 0.0 does not lie above its reset 0.0",
        ),
        (
            lambda: changed(n=lif(4, threshold=0.5, reset=0.7)),
            "'n': its threshold 0.5 does not lie above its",
        ),
        (lambda: changed(n=lif(4, tau=DT / 2)), "'n': its time constant 0.0005 s is shorter than dt = 0.001"),
        (lambda: changed(n=lif(4, tau=-DT)), "'n': a time constant must be positive, got -0.001"),
        (lambda: changed(n=with_field(lif(4), tau=NAN)), "'n': its tau holds NaN or infinity"),
        (lambda: changed(w=with_field(affine(5, 4), bias=NAN)), "'w': its bias holds NaN or infinity"),
        (lambda: changed(w=affine(6, 4)), r"'w': it takes 6 values, and values of shape \(5,\) enter it"),
        (lambda: changed(n=lif(3)), r"'n': it has \(3,\) neurons, and values of shape \(4,\)"),
        (lambda: changed(w=conv(5, 4, 3, 3)), "'w': a convolution needs a map"),
        (
            lambda: changed(x2=nir.Input({"input": np.array([4])})),
            r"has 2 inputs \('x', 'x2'\) and must have one",
        ),
        (lambda: changed(y2=nir.Output({"output": np.array([4])})), r"has 2 outputs"),
        (
            lambda: joined({"w": affine(5, 4)}, [("x", "w"), ("w", "z")]),
            "joins a node 'z' that the graph lacks",
        ),
        (
            lambda: joined(
                {"w": affine(5, 4), "v": affine(4, 4)}, [("x", "w"), ("w", "v"), ("v", "v"), ("v", "y")]
            ),
            "the circle v → v has no neurons",
        ),
        (
            lambda: joined(
                {"w": affine(5, 4), "n": lif(4), "u": lif(4)},
                [("x", "w"), ("w", "n"), ("u", "n"), ("u", "u"), ("n", "y")],
            ),
            "'u': the input does not reach it",
        ),
        (
            lambda: chain(
                (2, 3, 1), (4,), f=nir.Flatten({"input": np.array([2, 3, 1])}, 1, -1), w=affine(6, 4)
            )[0],
            r"'w': it takes 6 values, and values of shape \(2, 3\) enter it; put a Flatten before it whose",
        ),
        (
            lambda: chain((2, 3, 1), (4,), w=conv(2, 3, 2, 2, stride=2, padding="same"))[0],
            "'w': padding 'same' has a meaning at stride 1 only",
        ),
        (lambda: chain((2, 3, 1), (4,), w=conv(2, 3, 5, 5))[0], "'w': its kernel is larger than the map"),
        (lambda: "no graph", "no graph"),
        (lambda: 3, "takes a NIR graph or the path of one, got a int"),
    ],
)
def test_what_cannot_be_read_is_named(graph, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        from_nir(graph(), dt=DT)


def test_files_that_are_no_nir_are_named(tmp_path):
    import h5py

    (tmp_path / "text.nir").write_text("no HDF5")
    with h5py.File(tmp_path / "other.nir", "w") as file:
        file["data"] = np.ones(3)
    nir.write(tmp_path / "nan.nir", changed(n=with_field(lif(4), r=NAN)))
    for name, message in (
        ("text", "holds no NIR graph"),
        ("other", "holds no NIR"),
        ("nan", "node 'n': its r"),
    ):
        with pytest.raises(ValueError, match=rf"{name}\.nir.*{message}"):
            from_nir(tmp_path / f"{name}.nir", dt=DT)


# The timestep.


@pytest.mark.parametrize(
    ("nodes", "dt"),
    [
        ({"n": nir.IF(np.ones(4), np.ones(4)), "o": nir.IF(np.ones(4), np.ones(4))}, 1.0),
        ({"n": lif(4, tau=0.002, r=20.0), "o": lif(4, tau=0.001, r=10.0)}, 1e-4),
        ({"n": lif(4, tau=0.002, r=np.float32(20.000006)), "o": lif(4, tau=0.01, r=1.0)}, 1e-4),
        (
            {"n": lif(4, tau=0.01), "o": lif(4, tau=0.002)},
            "are 0.002 to 0.01 s and r is 1",
        ),
        (
            {"n": lif(4, tau=0.01, r=20.0), "o": lif(4, tau=0.01, r=10.0)},
            "r of node 'n' is for dt = 0.0005 and r of",
        ),
    ],
)
def test_the_timestep_is_found_where_the_file_tells_one(nodes, dt):
    graph = changed(**nodes)
    if isinstance(dt, str):
        with pytest.raises(ValueError, match=dt):
            from_nir(graph, dt="auto")
        return
    kernels = [np.asarray(layer.synapse.kernel[...]) for layer in from_nir(graph, dt="auto").layers]
    expected = [np.asarray(layer.synapse.kernel[...]) for layer in from_nir(graph, dt=dt).layers]
    for found, same, node in zip(kernels, expected, (graph.nodes["w"], graph.nodes["v"]), strict=True):
        np.testing.assert_array_equal(found, same)
        np.testing.assert_array_equal(found, node.weight.T.astype(np.float32))


def test_a_factor_near_one_is_not_one():
    """r = 1.09 beside τ/dt = 1e7: in proportion it is 9 % off, however small both are beside τ/dt."""
    graph = changed(n=lif(4, tau=1e7 * DT, r=1.09), o=lif(4, tau=1e7 * DT, r=1.0))
    first, second = from_nir(graph, dt=DT, dtype=jnp.float64).layers
    np.testing.assert_allclose(first.synapse.kernel[...], graph.nodes["w"].weight.T * 1.09e-7, rtol=1e-12)
    np.testing.assert_array_equal(second.synapse.kernel[...], graph.nodes["v"].weight.T)


def test_integrators_at_another_step_are_warned_of():
    graph = changed(n=nir.IF(np.ones(4), np.ones(4)))
    with pytest.warns(UserWarning, match="'n' integrates with r = 1, .* usually meant for dt = 1"):
        from_nir(graph, dt=DT)
    with pytest.raises(ValueError, match="dt must be a positive number"):
        from_nir(graph, dt=0.0)


def test_files_of_frameworks_that_fire_at_the_threshold():
    graph = chain((1,), (1,), n=nir.IF(np.ones(1), np.ones(1)))[0]
    x = jnp.full((4, 1, 1), 0.5)
    for inclusive, expected in ((False, [0, 0, 1, 0]), (True, [0, 1, 0, 1])):
        network = from_nir(graph, dt=1.0, inclusive=inclusive)
        assert isinstance(network.layers[0], Neurons)
        assert type(network.layers[0].neuron) is IF
        np.testing.assert_array_equal(network.unroll(x)[:, 0, 0], expected)


def test_one_block_is_one_neuron():
    network = from_nir(changed(), dt=DT)
    assert all(isinstance(layer, Block) and type(layer.neuron) is LIF for layer in network.layers)
