"""NIR and torch: against a NumPy interpreter of the graph, and weights laid out as the authors' files."""

import sys
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.interop.nir import from_nir, to_nir
from jaxsnn.interop.torch import load_weights, read_state_dict
from jaxsnn.layers import Block, Conv, Linear
from jaxsnn.models.resnet import resnet
from jaxsnn.models.vgg import vgg, vgg9
from jaxsnn.network import Network
from jaxsnn.neuron import IF, LIF, AdaptiveLIF, CubaLIF, Integration, Readout, Reset
from jaxsnn.normalization import BNTT, BatchNorm

nir = pytest.importorskip("nir")

DT = 1e-3
X = np.random.default_rng(0).uniform(0, 2, (2, 6, 4, 2))


def network(neurons, readout=None, use_bias=False):
    options = {"param_dtype": jnp.float64, "use_bias": use_bias}
    net = Network(
        [
            Block("a", Conv(2, 3, rngs=nnx.Rngs(0), **options), neurons[0], pool=2),
            Block("b", Conv(3, 4, 3, stride=(2, 1), rngs=nnx.Rngs(1), **options), neurons[1]),
            Block("c", Linear(4 * 2 * 2, 7, rngs=nnx.Rngs(2), **options), neurons[2]),
            Block("d", Linear(7, 5, rngs=nnx.Rngs(3), **options), readout or Readout()),
        ]
    )
    if use_bias:
        for layer in net.layers:
            layer.synapse.bias[...] = jnp.linspace(-0.3, 0.5, layer.synapse.out_channels)
    return net


def interpret(graph, images, timesteps):
    """NIR's equations by Euler's method in NumPy, channels first, node after node; the last potential."""
    order = [next(name for name, node in graph.nodes.items() if isinstance(node, nir.Input))]
    following = dict(graph.edges)
    while order[-1] in following:
        order.append(following[order[-1]])
    v, i = dict.fromkeys(order, 0.0), dict.fromkeys(order, 0.0)

    def conv(x, node):
        ph, pw = node.padding
        x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
        kh, kw = node.weight.shape[2:]
        rows = range(0, x.shape[2] - kh + 1, node.stride[0])
        columns = range(0, x.shape[3] - kw + 1, node.stride[1])
        parts = [
            [np.einsum("bchw,ochw->bo", x[:, :, r : r + kh, c : c + kw], node.weight) for c in columns]
            for r in rows
        ]
        return np.moveaxis(np.array(parts), (0, 1), (2, 3)) + np.asarray(node.bias)[:, None, None]

    fired = 0
    for _ in range(timesteps):
        x = images.transpose(0, 3, 1, 2)
        for name in order:
            node = graph.nodes[name]
            if isinstance(node, nir.Conv2d):
                x = conv(x, node)
            elif isinstance(node, nir.Linear | nir.Affine):
                x = x @ node.weight.T + getattr(node, "bias", 0.0)
            elif isinstance(node, nir.Flatten):
                x = x.reshape(len(x), -1)
            elif isinstance(node, nir.AvgPool2d):
                k = int(node.kernel_size[0])
                x = x.reshape(*x.shape[:2], x.shape[2] // k, k, x.shape[3] // k, k).mean((3, 5))
            elif isinstance(node, nir.I | nir.LI | nir.IF | nir.LIF | nir.CubaLIF):
                if isinstance(node, nir.CubaLIF):
                    i[name] = i[name] + DT / node.tau_syn * (node.w_in * x - i[name])
                    x = i[name]
                if isinstance(node, nir.I | nir.IF):
                    v[name] = v[name] + DT * node.r * x
                else:
                    tau = node.tau_mem if isinstance(node, nir.CubaLIF) else node.tau
                    v[name] = v[name] + DT / tau * (node.v_leak - v[name] + node.r * x)
                if isinstance(node, nir.I | nir.LI):
                    x = v[name]
                else:
                    x = (v[name] > node.v_threshold).astype(float)
                    v[name] = np.where(x == 1, node.v_reset, v[name])
                    fired += x.sum()
    return x, fired


CASES = [
    ([LIF(leak=0.7), LIF(leak=0.5, threshold=0.8), LIF(leak=0.9)], None, False),
    ([LIF(leak=0.6, integration=Integration.AVERAGE, threshold=0.3), IF(threshold=0.6), IF()], None, True),
    ([CubaLIF(leak=0.7, current_leak=0.4), IF(), LIF(leak=0.0)], Readout(leak=0.8), False),
]


@pytest.mark.parametrize(("neurons", "readout", "use_bias"), CASES)
def test_nir_means_the_same_to_others_and_back(tmp_path, neurons, readout, use_bias):
    net = network(neurons, readout, use_bias)
    logits, record = net(jnp.asarray(X), timesteps=5)
    path = tmp_path / "graph.nir"
    nir.write(path, to_nir(net, (6, 4, 2), dt=DT))
    graph = nir.read(path)
    expected, fired = interpret(graph, X, 5)
    assert fired > 0
    np.testing.assert_allclose(np.asarray(logits) * 5, expected, rtol=1e-6, atol=1e-9)
    back = from_nir(graph, dt=DT, dtype=jnp.float64)
    again, record_back = back(jnp.asarray(X), timesteps=5)
    np.testing.assert_allclose(again, logits, rtol=1e-6, atol=1e-9)
    assert [r.spike_rate for r in record] == [r.spike_rate for r in record_back]
    assert [type(layer.neuron) for layer in back.layers] == [type(layer.neuron) for layer in net.layers]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network([LIF(reset=Reset.SUBTRACT), IF(), IF()]), "'a': NIR resets to a value"),
        (lambda: network([IF(), CubaLIF(current_leak=1.0), IF()]), "'b': a synapse that keeps all"),
        (
            lambda: vgg(((2,), ()), in_channels=2, norm=partial(BNTT, timesteps=2), rngs=nnx.Rngs(0)),
            "'conv1': a BNTT differs between timesteps",
        ),
        (lambda: network([AdaptiveLIF(), IF(), IF()]), "'a': a AdaptiveLIF cannot be written"),
        (lambda: network([IF(), IF(), LIF(leak=1.0, rest=0.1)]), "'c': this neuron without leak"),
        (
            lambda: vgg(((2,), ()), in_channels=3, rngs=nnx.Rngs(0)),
            r"'conv1' convolves 3 channels and gets an input of shape \(6, 4, 2\)",
        ),
        (
            lambda: Network([Block("a", Conv(2, 2, (3, 2), rngs=nnx.Rngs(0)), LIF())]),
            "'a': nir 1.0.8 takes kernels for square",
        ),
        (lambda: Network([DelayedLayer()]), "a DelayedLayer cannot be written to NIR"),
    ],
)
def test_what_nir_cannot_express_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        to_nir(make(), (6, 4, 2))


class DelayedLayer(nnx.Module):
    accumulates = False


VGG9 = {"image_size": 8, "width": 1 / 16, "kernel_init": nnx.initializers.zeros}


def spikesim_file():
    """A VGG9 state dict with the names of SpikeSim's code, which the BNTT authors' has too; no biases."""
    rng = np.random.default_rng(0)
    convs = [(3, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16), (16, 16)]
    tensors = {f"conv{i + 1}.weight": rng.normal(size=(o, c, 3, 3)) for i, (c, o) in enumerate(convs)}
    tensors |= {"fc1.weight": rng.normal(size=(64, 16)), "fc2.weight": rng.normal(size=(10, 64))}
    return {name: np.asarray(value, np.float32) for name, value in tensors.items()}


def bntt_file(timesteps=3):
    """The same with a normalisation for each timestep, whose bias the BNTT authors set to None."""
    tensors, rng = spikesim_file(), np.random.default_rng(1)
    norms = {f"bntt{i + 1}": len(tensors[f"conv{i + 1}.weight"]) for i in range(7)} | {"bntt_fc": 64}
    for name, size in norms.items():
        for t in range(timesteps):
            tensors[f"{name}.{t}.weight"] = rng.uniform(1, 2, size).astype(np.float32)
            tensors[f"{name}.{t}.running_mean"] = rng.normal(size=size).astype(np.float32)
            tensors[f"{name}.{t}.running_var"] = rng.uniform(1, 2, size).astype(np.float32)
            tensors[f"{name}.{t}.num_batches_tracked"] = np.array(7)
    return tensors


def read_back(tensors, path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)
    return read_state_dict(path)


def test_a_spikesim_file_fills_vgg9_and_computes_the_same(tmp_path):
    """SpikeSim's VGG9: its forward pass in NumPy, channels first, with its names and its order of layers."""
    tensors = spikesim_file()
    net = vgg9(
        neuron=partial(LIF, leak=0.5, integration=Integration.AVERAGE, reset=Reset.SUBTRACT),
        param_dtype=jnp.float64,
        rngs=nnx.Rngs(0),
        **VGG9,
    )
    load_weights(net, read_back(tensors, tmp_path / "n.safetensors"))
    images = np.random.default_rng(2).uniform(0, 1, (2, 8, 8, 3))
    weights = {name.removesuffix(".weight"): value.astype(float) for name, value in tensors.items()}
    u = dict.fromkeys(weights, 0.0)
    for _ in range(3):
        x = images.transpose(0, 3, 1, 2)
        for name in list(weights)[:-1]:
            if name.startswith("conv"):
                windows = np.lib.stride_tricks.sliding_window_view(
                    np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3)
                )
                current = np.einsum("bchwij,ocij->bohw", windows, weights[name])
            else:
                current = x.reshape(len(x), -1) @ weights[name].T
            u[name] = 0.5 * u[name] + 0.5 * current
            x = (u[name] > 1).astype(float)
            u[name] = u[name] - x
            if name in ("conv2", "conv4", "conv7"):
                x = x.reshape(*x.shape[:2], x.shape[2] // 2, 2, -1, 2).mean((3, 5))
        u["fc2"] = u["fc2"] + x @ weights["fc2"].T
    assert 0.05 < x.mean() < 0.95
    logits, _ = nnx.jit(lambda net: net(jnp.asarray(images), timesteps=3))(net)
    np.testing.assert_allclose(logits, u["fc2"] / 3, rtol=1e-9, atol=1e-12)


def bntt_vgg9():
    return vgg9(norm=partial(BNTT, timesteps=3), rngs=nnx.Rngs(0), **VGG9)


def test_a_bntt_file_fills_vgg9(tmp_path):
    tensors = bntt_file()
    net = bntt_vgg9()
    load_weights(net, read_back(tensors, tmp_path / "n.safetensors"))
    for i in range(7):
        block = net.layers[i]
        np.testing.assert_array_equal(
            block.synapse.kernel[...], tensors[f"conv{i + 1}.weight"].transpose(2, 3, 1, 0)
        )
        for t in range(3):
            np.testing.assert_array_equal(block.norm.scale[t], tensors[f"bntt{i + 1}.{t}.weight"])
            np.testing.assert_array_equal(block.norm.mean[t], tensors[f"bntt{i + 1}.{t}.running_mean"])
    np.testing.assert_array_equal(net.layers[7].norm.variance[2], tensors["bntt_fc.2.running_var"])
    np.testing.assert_array_equal(net.layers[8].synapse.kernel[...], tensors["fc2.weight"].T)


def test_the_flattened_map_changes_its_order():
    """A linear layer over (c, h, w) gives the same numbers over (h, w, c), with biases in place."""
    net = vgg(((2, "P", 3, "P"), (5,)), image_size=8, in_channels=1, use_bias=True, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(1)
    shapes = {"conv1": (2, 1, 3, 3), "conv2": (3, 2, 3, 3), "fc1": (5, 12), "fc2": (10, 5)}
    tensors = {f"{name}.weight": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    tensors |= {
        f"{name}.bias": rng.normal(size=shape[0]).astype(np.float32) for name, shape in shapes.items()
    }
    load_weights(net, tensors)
    maps = rng.normal(size=(1, 1, 2, 2, 3)).astype(np.float32)
    expected = maps[0].transpose(0, 3, 1, 2).reshape(1, 12) @ tensors["fc1.weight"].T + tensors["fc1.bias"]
    np.testing.assert_allclose(net.layers[2].synapse(jnp.asarray(maps))[0], expected, rtol=1e-5)


def test_batch_norm_is_read_by_its_four_tensors():
    net = vgg(((2, "P"), ()), image_size=4, in_channels=1, classes=3, norm=BatchNorm, rngs=nnx.Rngs(0))
    norm = {"weight": [1, 2], "bias": [3, 4], "running_mean": [5, 6], "running_var": [7, 8]}
    tensors = {f"features.1.{k}": np.asarray(v, np.float32) for k, v in norm.items()}
    tensors |= {"features.0.weight": np.ones((2, 1, 3, 3)), "classifier.weight": np.ones((3, 8))}
    load_weights(net, tensors)
    fields = ("scale", "offset", "mean", "variance")
    found = [np.asarray(getattr(net.layers[0].norm, field)[...]).tolist() for field in fields]
    assert found == list(norm.values())
    del tensors["features.1.bias"]
    with pytest.raises(ValueError, match=r"the file lacks features\.1\.bias"):
        load_weights(net, tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv7.weight": None}, "file has 6 Conv weights.*network has 7"),
        ({"conv3.weight": np.ones((8, 4, 5, 5))}, r"conv3.weight has shape \(5, 5, 4, 8\)"),
        (
            {"fc1.weight": np.ones((64, 48))},
            r"fc1.weight has shape \(48, 64\) where the network needs \(16, 64\)",
        ),
        ({"fc1.bias": np.ones(64)}, "fc1.bias is in the file only"),
        ({"bntt9.0.running_mean": np.ones(3)}, "file has 9 normalisations and the network has 8"),
        ({"bntt1.1.weight": None}, r"the file lacks bntt1\.1\.weight"),
        ({"bntt1.0.bias": np.ones(4)}, r"no place for bntt1\.0\.bias; build it with"),
        ({"lif.0.tau": np.ones(())}, r"no place for lif\.0\.tau;"),
        ({"bntt1.1.weight": np.ones(5)}, "bntt1: its weight differs in shape between timesteps"),
        ({"conv2.weight": np.full((4, 4, 3, 3), np.nan)}, "conv2.weight holds values that are not finite"),
        ({"bntt_fc.2.running_var": np.full(64, np.inf)}, r"bntt_fc\.0.* to bntt_fc\.2.* not finite"),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_changes_nothing(change, message):
    tensors = {k: v for k, v in (bntt_file() | change).items() if v is not None}
    net = bntt_vgg9()
    before = jax.tree.leaves(nnx.state(net))
    with pytest.raises(ValueError, match=message):
        load_weights(net, tensors)
    for old, new in zip(before, jax.tree.leaves(nnx.state(net)), strict=True):
        np.testing.assert_array_equal(old, new)


def test_damaged_and_foreign_files_are_refused(tmp_path):
    pytest.importorskip("safetensors")
    (tmp_path / "x.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(ValueError, match="damaged or no safetensors file"):
        read_state_dict(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"^there is no file .*missing\.safetensors\.$"):
        read_state_dict(tmp_path / "missing.safetensors")
    with pytest.raises(ValueError, match=r"must end in \.safetensors, \.pt, \.pth or \.pth\.tar"):
        read_state_dict(tmp_path / "x.pkl")


class Tensor(np.ndarray):
    """What `read_state_dict` uses of a torch tensor."""

    def detach(self):
        return self

    def numpy(self):
        return np.asarray(self)


ONES = np.ones(2).view(Tensor)


def torch_that_loads(found):
    """What `read_state_dict` uses of torch, so that this runs where it is not installed."""
    trust = SimpleNamespace(safe_globals=lambda numbers: nullcontext())
    return SimpleNamespace(load=lambda path, **options: found, serialization=trust)


def test_a_missing_torch_file_is_named(monkeypatch, tmp_path):
    torch = torch_that_loads({})
    torch.load = lambda path, **options: path.read_bytes()
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(ValueError, match=r"^there is no file .*missing\.pt\.$"):
        read_state_dict(tmp_path / "missing.pt")


@pytest.mark.parametrize(
    "found", [{"a": ONES}, {"global_step": 7, "state_dict": {"a": ONES}, "accuracy": 9.0}]
)
def test_torch_files_hold_a_state_dict_or_one_by_its_name(monkeypatch, found):
    monkeypatch.setitem(sys.modules, "torch", torch_that_loads(found))
    assert {name: list(values) for name, values in read_state_dict("n.pth.tar").items()} == {"a": [1, 1]}


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        ([1, 2], "a list;"),
        (3, "a int;"),
        ({"model": {"a": ONES}}, "a dict of model;"),
        ({"state_dict": [ONES]}, "a dict of state_dict;"),
        ({"a": ONES, "epoch": 3}, "a dict of a, epoch;"),
    ],
)
def test_other_torch_files_are_refused_in_a_sentence(monkeypatch, found, holds):
    monkeypatch.setitem(sys.modules, "torch", torch_that_loads(found))
    with pytest.raises(
        ValueError, match=rf"n\.pt must hold a mapping .* and holds {holds} write it with torch"
    ):
        read_state_dict("n.pt")


def test_residual_networks_are_not_matched_by_order():
    net = resnet(((2, 1),), stem=2, norm=None, image_size=4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="residual networks cannot be matched"):
        load_weights(net, {})


def test_a_pickle_is_not_opened(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.ones(2)}, tmp_path / "good.pt")
    assert list(read_state_dict(tmp_path / "good.pt")["a"]) == [1, 1]
    stored = {"state_dict": {"a": torch.ones(2)}, "accuracy": np.mean([0.9])}  # As SpikeSim and BNTT save.
    torch.save(stored, tmp_path / "best.pth.tar")
    assert list(read_state_dict(tmp_path / "best.pth.tar")["a"]) == [1, 1]
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="holds a list"):
        read_state_dict(tmp_path / "list.pt")
    torch.save({"a": jax.ShapeDtypeStruct((1,), np.float32)}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match="was not unpickled"):
        read_state_dict(tmp_path / "bad.pt")


def test_snntorch_sees_the_same_spikes():
    """The graph without its readout runs in snnTorch; its output currents, summed, are our potential.

    One image, as snnTorch flattens from NIR's first axis, which is its own batch axis.
    """
    torch = pytest.importorskip("torch")
    import_from_nir = pytest.importorskip("snntorch.import_nir").import_from_nir
    net = network([LIF(leak=0.7), LIF(leak=0.5, threshold=0.8), LIF(leak=0.9)])
    logits, _ = net(jnp.asarray(X[:1]), timesteps=5)
    graph = to_nir(net, (6, 4, 2))
    del graph.nodes["d_neuron"]
    edges = [edge for edge in graph.edges if "d_neuron" not in edge]
    theirs = import_from_nir(nir.NIRGraph(graph.nodes, [*edges, ("d", "output")]))
    x, state, total = torch.tensor(X[:1].transpose(0, 3, 1, 2), dtype=torch.float32), None, 0.0
    with torch.no_grad():
        for _ in range(5):
            out, state = theirs(x, state)
            total = total + out
    np.testing.assert_allclose(total.numpy() / 5, logits[0], rtol=1e-4, atol=1e-5)
