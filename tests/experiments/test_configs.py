"""The configs on MNIST: every binding is read, checked and used, up to the training."""

import functools
import sys

import pytest
from rich.console import Console

import experiments.__main__  # noqa: F401 - its import registers them all
from experiments import output, parts, registry
from experiments.output import Run
from jaxsnn.attention import SpikingAttention
from jaxsnn.data import datasets

ON_MNIST = sorted(registry.CONFIGS.glob("*_mnist.gin"))


class Reached(Exception):
    """The config was used up, and training would begin."""


@pytest.mark.parametrize("config", ON_MNIST, ids=lambda path: path.stem)
def test_every_binding_is_used(config, monkeypatch, tmp_path):
    experiment = registry.find_experiment(config.stem.removesuffix("_mnist"))
    network = []

    def fit(given, *_, **__):
        network.append(given)
        raise Reached

    monkeypatch.setattr(output, "fit", fit)
    # The images of digits stand for those of MNIST, which are not at hand everywhere.
    registry.load(experiment, ["load.name='digits'", "load.seed=0"], config)
    with pytest.raises(Reached):
        experiment.function(Run(tmp_path, Console(file=sys.stderr)))
    (given,) = network
    (first,) = (layer for layer in given.layers if layer.name == "fc1")
    assert first.synapse.in_channels == 2 * 16 * 14 * 14


def test_configs_are_checked_before_data_are_read(monkeypatch, tmp_path):
    """Every experiment's own config will do, and what is wrong is found, with no data set read."""

    def unread(name, loader):
        return functools.wraps(loader)(lambda **_: pytest.fail(f"{name} was read"))

    loaders = {name: unread(name, loader) for name, loader in datasets._LOADERS.items()}
    monkeypatch.setattr(datasets, "_LOADERS", loaders)

    def rehearse(name, *bindings):
        experiment = registry.find_experiment(name)
        registry.load(experiment, bindings)
        registry.rehearse(lambda: experiment.function(Run(tmp_path, Console(file=sys.stderr))))

    for name in registry.EXPERIMENTS:
        rehearse(name)
    for binding, message in {
        "nonlinear.epochs=0": "epochs must be at least 1",
        "nonlinear.train_v0=-1.0": "Sinh.v0",
        "load.name='cifar11'": "unknown data set",
        "load.by='time'": "data set 'digits' has no option 'by'",
        "Converters.adc_bits=4": r"nothing uses the binding Converters\.adc_bits",
        "Wires.row='ten'": "Wires.row must be a number",
    }.items():
        with pytest.raises(ValueError, match=message):
            rehearse("nonlinear", binding)
    assert not registry.rehearsing()


def test_every_data_set_has_an_outline():
    assert set(parts._SHAPES) == set(datasets._LOADERS)


def test_the_config_of_a_transformer_is_used_up(monkeypatch, tmp_path):
    networks = []

    def fit(given, *_, **__):
        networks.append(given)
        raise Reached

    monkeypatch.setattr(output, "fit", fit)
    # The images of digits, one channel of 8 × 8, stand for those of CIFAR-10.
    registry.load(
        registry.find_experiment("digits"),
        ["load.name='digits'", "load.seed=0"],
        registry.CONFIGS / "spikformer_cifar10.gin",
    )
    with pytest.raises(Reached):
        registry.find_experiment("digits").function(Run(tmp_path, Console(file=sys.stderr)))
    (network,) = networks
    assert sum(isinstance(layer, SpikingAttention) for layer in network.layers) == 2
    assert network.layers[-1].synapse.kernel[...].shape == (64, 10)


def test_there_is_a_config_on_mnist_for_every_experiment_that_trains():
    trained = {name for name, one in registry.EXPERIMENTS.items() if "TrainConfig." in one.config.read_text()}
    named = {path.stem.removesuffix("_mnist") for path in ON_MNIST}
    assert trained - named == {"digits", "mnist", "events", "parity", "zoo"}


def test_a_binding_that_nothing_uses_is_found(monkeypatch, tmp_path):
    """The guard that the test above relies on."""
    monkeypatch.setattr(output, "fit", lambda *_, **__: pytest.fail("training began"))
    experiment = registry.find_experiment("noise_aware")
    registry.load(experiment, ["Converters.adc_bits=4"])
    with pytest.raises(registry.ConfigError, match=r"Converters\.adc_bits"):
        experiment.function(Run(tmp_path, Console(file=sys.stderr)))
