"""The guards around gin: every mistake in a config is one clear sentence."""

import dataclasses
import importlib
import logging

import pytest

from experiments import mnist, registry
from experiments.registry import ConfigError


@dataclasses.dataclass(frozen=True)
class Sample:
    epochs: int
    rate: float = 1e-3
    sizes: tuple[int, ...] = (64,)


make_sample = registry.register(Sample, name="RegistrySample")


@registry.experiment("registry_sample", "for these tests")
def sample_experiment(run, *, seed: int):
    sample = make_sample()
    registry.require_all_used()
    return seed, sample


# Out of the catalogue again, so that other tests see the real experiments only.
chosen = registry.EXPERIMENTS.pop("registry_sample")


@pytest.fixture
def run(tmp_path):
    config = tmp_path / "sample.gin"
    config.write_text("registry_sample.seed = 3\nRegistrySample.epochs = 2\n")

    def run(*bindings):
        registry.load(chosen, bindings, config)
        return chosen.function(None)

    return run


def test_the_config_decides_and_a_binding_overrides(run):
    assert run() == (3, Sample(epochs=2))
    assert run("RegistrySample.epochs = 5", "RegistrySample.sizes = (32, 64)") == (
        3,
        Sample(5, sizes=(32, 64)),
    )


def test_nothing_of_an_earlier_run_remains(run):
    run("RegistrySample.rate = 0.5")
    assert run() == (3, Sample(epochs=2))


def test_an_int_is_a_float(run):
    assert run("RegistrySample.rate = 1")[1].rate == 1


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("RegistrySampel.epochs = 3", "did you mean 'RegistrySample'"),
        ("RegistrySample.epoch = 3", "RegistrySample has no parameter 'epoch'; did you mean 'epochs'"),
        ("RegistrySample.epochs = 'three'", "RegistrySample.epochs must be int, got 'three'"),
        ("RegistrySample.epochs = 2.5", "RegistrySample.epochs must be int, got 2.5"),
        ("RegistrySample.sizes = (64, 'a')", "RegistrySample.sizes must be"),
        ("small/RegistrySample.epochs = 4", "nothing uses the binding small/RegistrySample.epochs"),
        ("RegistrySample.epochs", "the config cannot be read"),
        ("RegistrySample.epochs = @nothing()", "No configurable matching reference '@nothing()'"),
        (
            "RegistrySample.epochs = @small/RegistrySampl()",
            "'@RegistrySampl()'; did you mean 'RegistrySample'",
        ),
        ("RegistrySample.epochs = @RegistrySampl", "'@RegistrySampl'; did you mean 'RegistrySample'"),
        ("RegistrySample.epochs = (1,", "the config cannot be read: a bracket or a text is not closed."),
        (
            "RegistrySample.epochs = %RRM",
            "the config cannot be read: nothing is bound to %RRM; did you mean 'RRAM'",
        ),
        ("epochs = 5", "nothing uses the binding epochs; did you mean 'RegistrySample.epochs'?"),
        ("other = 5", "nothing uses the binding other; say %other where it is meant, or leave it out."),
        ("import registry_nowhere", "the config cannot be read: No module named 'registry_nowhere'"),
        ("LIF.tau = 2", "LIF has no parameter 'tau'; there are detach_reset, inclusive, integration, leak"),
    ],
)
def test_a_mistake_is_one_sentence(run, binding, message):
    with pytest.raises(ConfigError) as caught:
        run(binding)
    assert message in str(caught.value).splitlines()[0]


def test_an_unknown_experiment_lists_the_known(monkeypatch):
    monkeypatch.setitem(registry.EXPERIMENTS, "registry_sample", chosen)
    with pytest.raises(ConfigError, match="no experiment 'registri'; did you mean 'registry_sample'"):
        registry.find_experiment("registri")


def test_a_missing_config_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no config file"):
        registry.load(chosen, [], tmp_path / "missing.gin")


def test_a_config_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "arrays.gin"
    path.write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(
        ConfigError, match=r"arrays\.gin, or a file that it includes, is no text; give a gin file"
    ):
        registry.load(chosen, [], path)


def test_an_included_file_that_is_missing_is_named_once(run, caplog):
    with pytest.raises(ConfigError, match=r"no config file missing\.gin to include, neither here nor beside"):
        run("include 'missing.gin'")
    assert not caplog.records
    logging.getLogger().error("heard again")
    assert caplog.messages == ["heard again"]


def test_a_file_that_includes_itself_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "round.gin"
    path.write_text('include "round.gin"\n')
    with pytest.raises(ConfigError, match=r"^the config cannot be read: a file includes itself, or one that"):
        registry.load(chosen, [], path)


def test_bindings_leave_packaged_values_without_use_but_not_a_users(run, tmp_path, monkeypatch):
    """Whatever scope they have; and a packaged config alone is held to every binding."""
    written = (tmp_path / "sample.gin").read_text()
    (tmp_path / "sample.gin").write_text(written + "LIF.leak = 0.5\nsmall/LIF.leak = 0.25\nvalue = 3\n")
    with pytest.raises(ConfigError, match=r"LIF\.leak, small/LIF\.leak, value; check"):
        run("RegistrySample.rate = 0.5")
    monkeypatch.setattr(registry, "CONFIGS", tmp_path)
    assert run("RegistrySample.rate = 0.5") == (3, Sample(2, rate=0.5))
    with pytest.raises(ConfigError, match=r"nothing uses the binding small/LIF\.leak; check"):
        run("small/LIF.leak = 0.25")
    with pytest.raises(ConfigError, match=r"LIF\.leak, small/LIF\.leak, value; check"):
        run()


def test_the_operative_config_reproduces_the_run(run, tmp_path):
    first = run("RegistrySample.rate = 0.25")
    written = tmp_path / "operative.gin"
    written.write_text(registry.operative_config())
    registry.load(chosen, [], written)
    assert chosen.function(None) == first


def test_a_module_can_be_loaded_again():
    """As notebooks do; and another thing of the same name is still refused."""
    importlib.reload(mnist)

    def RegistrySample(epochs: int = 1):
        return epochs

    with pytest.raises(ValueError, match="already exists"):
        registry.register(RegistrySample)
