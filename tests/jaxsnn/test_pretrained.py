"""Networks that ship: they load by name, say the truth about themselves, and come from sound files alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxsnn
from hwmodels import spikeflow
from jaxsnn.codesign import evaluate
from jaxsnn.models.pretrained import WEIGHTS, as_file, build, read

MODEL = {
    "name": "digits_convnet",
    "options": {"width": 2},
    "neuron": {"name": "LIF", "leak": 0.5, "reset": "subtract"},
    "norm": {"name": "TdBN"},
    "encoding": {"name": "Poisson", "gain": 0.5},
}


@pytest.fixture
def file(tmp_path):
    def write(model=MODEL, network=None, **facts):
        path = tmp_path / "network.safetensors"
        path.write_bytes(as_file(network or build(model, nnx.Rngs(3)), model, facts))
        return path

    return write


def test_a_network_comes_back_with_its_facts(file):
    network = build(MODEL, nnx.Rngs(3))
    found, facts = read(file(network=network, timesteps=4))
    assert facts == {"timesteps": 4}
    images = jax.random.uniform(jax.random.key(0), (2, 8, 8, 1))
    logits = [one(images, timesteps=3, key=jax.random.key(1))[0] for one in (network, found)]
    assert jnp.array_equal(*logits)
    assert nnx.graphdef(network) == nnx.graphdef(found)


def test_other_options_build_another_network():
    assert build(MODEL).layers[0].neuron.leak == 0.5
    wide = build({**MODEL, "options": {"width": 3}, "neuron": {"name": "ReLU"}, "norm": None})
    assert wide.layers[0].synapse.kernel.shape[-1] == 3
    assert not wide.layers[0].neuron.spiking
    assert wide.layers[0].norm is None


@pytest.mark.parametrize("part", ["name", "neuron", "norm", "encoding"])
def test_parts_that_are_not_known_are_refused(part):
    said = "os.system" if part == "name" else {"name": "os.system"}
    with pytest.raises(ValueError, match=r"there is no 'os\.system'"):
        build({**MODEL, part: said})


def test_files_that_do_not_fit_are_refused(file, tmp_path):
    with pytest.raises(ValueError, match="another network"):
        file(network=build({**MODEL, "options": {"width": 3}}))
    whole = file().read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    for content in (b"", whole[:-10], b"\x80\x04" + whole[2:]):
        damaged.write_bytes(content)
        with pytest.raises(ValueError, match="damaged"):
            read(damaged)
    from safetensors.numpy import save

    damaged.write_bytes(save({"x": np.zeros(1)}))
    with pytest.raises(ValueError, match="does not say how its network is built"):
        read(damaged)
    broken = build(MODEL)
    broken.layers[0].synapse.kernel[...] = jnp.full_like(broken.layers[0].synapse.kernel[...], jnp.nan)
    with pytest.raises(ValueError, match="NaN"):
        file(network=broken)


def test_a_name_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="it has digits"):
        jaxsnn.models.zoo("vgg99")
    with pytest.raises(ValueError, match="no network"):
        jaxsnn.models.zoo("../weights/digits")


def test_every_network_of_the_zoo_loads_and_is_small():
    facts = jaxsnn.models.zoo_facts()
    assert {"digits", "digits-on-chip"} <= facts.keys()
    for name, said in facts.items():
        path = WEIGHTS / f"{name}.safetensors"
        assert path.stat().st_size <= 2 * 2**20
        assert isinstance(jaxsnn.models.zoo(name), jaxsnn.Network)
        assert {"software_accuracy", "chips", "timesteps", "seed", "recipes"} <= said.keys()


@pytest.mark.parametrize("name", [pytest.param("digits", marks=pytest.mark.long), "digits-on-chip"])
def test_facts_are_what_the_network_does(name):
    said = jaxsnn.zoo_facts()[name]
    report = evaluate(
        jaxsnn.zoo(name),
        jaxsnn.load("digits"),
        {"chip": spikeflow.Chip(calibration="column")},
        timesteps=said["timesteps"],
        draws=2,
    )
    assert report.software_accuracy == pytest.approx(said["software_accuracy"], abs=0.003)
    on_chip = said["chips"]["SpikeFlow, gain per column"]
    assert abs(report["chip"].accuracy - on_chip["accuracy"]) < 0.02 + 3 * on_chip["spread"]
    assert float(report["chip"].energy_j) == pytest.approx(on_chip["energy_j"], rel=0.1)
