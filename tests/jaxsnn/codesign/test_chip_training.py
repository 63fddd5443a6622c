"""Training on modelled chips: gradients of the whole chain, exact periods, resume, knobs, errors."""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from hwmodels.chip import Analog
from hwmodels.crossbar import Converters, Crossbar, Device, ReadNoise, Sinh, Wires, deploy
from jaxsnn.codesign.folding import folded, scaled_as
from jaxsnn.codesign.noise_aware import NoiseAware
from jaxsnn.codesign.program import program
from jaxsnn.codesign.robustness import on_hardware
from jaxsnn.data import datasets
from jaxsnn.learning.pruning import magnitude_masks, masked
from jaxsnn.learning.training import TrainConfig, evaluate, fit, split_parameters
from jaxsnn.learning.transform import apply_transform, as_transform
from jaxsnn.models.digits import digits_convnet
from jaxsnn.neuron import LIF, ParametricLIF, ReLU
from jaxsnn.normalization import BatchNorm
from tests.helpers import run_processes

KEY = jax.random.key(2)
CROSSBAR = Crossbar(8, 8, Wires(), Device(variation=0.1))
NONLINEAR = dataclasses.replace(CROSSBAR, cell=Sinh(0.2), read_voltage_v=0.4, cell_model="mean-activity")
CONFIG = TrainConfig(epochs=2, batch_size=32, timesteps=2, learning_rate=1e-2)


def behind(crossbar, converters):
    return Analog(crossbar, converters, converters)


def network(**options):
    return digits_convnet(width=1, neuron=partial(LIF, leak=0.5, threshold=0.1), rngs=nnx.Rngs(0), **options)


def few_digits():
    data = datasets.load("digits", seed=0)
    return dataclasses.replace(
        data,
        train_images=data.train_images[:96],
        train_labels=data.train_labels[:96],
        test_images=data.test_images[:32],
        test_labels=data.test_labels[:32],
    )


def trained(transform, config=CONFIG, **options):
    own = network()
    result = fit(own, few_digits(), config, transform=transform, **options)
    return jax.tree.leaves(split_parameters(own)[1]), result


def assert_equal_bits(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("crossbar", "converters"),
    [
        (CROSSBAR, None),
        (CROSSBAR, Converters(adc_bits=None)),
        (NONLINEAR, None),
        pytest.param(dataclasses.replace(NONLINEAR, cell_model="exact"), None, marks=pytest.mark.long),
    ],
)
def test_gradient_of_weights_to_loss_through_the_chip(crossbar, converters):
    """Weights → encoding → variation → circuit → ReLU twin → loss, against central differences."""
    twin = digits_convnet(width=1, image_size=4, neuron=ReLU, param_dtype=jnp.float64, rngs=nnx.Rngs(1))
    graph, params, rest = split_parameters(twin)
    images = jax.random.uniform(KEY, (3, 4, 4, 1), jnp.float64)
    labels = jnp.array([0, 3, 7], jnp.int32)

    @jax.jit
    def loss(params):
        chip = program(nnx.merge(graph, params, rest), behind(crossbar, converters), KEY)
        logits, _ = chip(images, timesteps=1)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    gradient = jax.jit(jax.grad(loss))(params)
    for seed in range(3):
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(seed), len(leaves))
        direction = structure.unflatten(
            [jax.random.normal(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves, strict=True)]
        )

        def moved(step, direction=direction):
            return loss(jax.tree.map(lambda w, along: w + step * along, params, direction))

        slope = sum(jnp.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
        assert float(slope) == pytest.approx(float(moved(1e-6) - moved(-1e-6)) / 2e-6, rel=1e-5, abs=1e-9)


@pytest.mark.long
def test_a_period_of_one_step_is_deploy_to_the_bit():
    weights, _ = trained(NoiseAware(CROSSBAR))
    plain, _ = trained(lambda params, key: deploy(params, CROSSBAR, key))
    assert_equal_bits(weights, plain)


@pytest.mark.long
@pytest.mark.parametrize("between", ["reuse", "lumped", "linearised"])
def test_resume_equals_uninterrupted_to_the_bit(tmp_path, between):
    """A period of 2 over 3 batches an epoch: the kill falls inside a period."""
    transform = NoiseAware(CROSSBAR, every=2, between=between)
    whole, _ = trained(transform)

    class Killed(Exception):
        pass

    def kill(metrics):
        raise Killed

    with pytest.raises(Killed):
        trained(transform, checkpoint_dir=tmp_path, on_epoch=kill)
    resumed, result = trained(transform, checkpoint_dir=tmp_path)
    assert result.resumed_epochs == 1
    assert_equal_bits(resumed, whole)
    with pytest.raises(ValueError, match="transform was"):
        trained(NoiseAware(CROSSBAR, every=3, between=between), checkpoint_dir=tmp_path)


def test_transforms_compose():
    """Pruned and on a chip: what is programmed is pruned, and removed weights have no gradient."""
    own = network()
    before = split_parameters(own)[1]
    masks = masked(magnitude_masks(before, 0.5))
    chain = [masks, NoiseAware(CROSSBAR, every=2)]
    running = apply_transform(own, chain, key=KEY)
    expected = apply_transform(
        apply_transform(own, masks), NoiseAware(CROSSBAR, every=2), key=jax.random.fold_in(KEY, 1)
    )
    assert_equal_bits(*(jax.tree.leaves(split_parameters(each)[1]) for each in (running, expected)))

    def total(params):
        # Of a plain function in the chip's place, whose gradient compiles at once.
        chained = as_transform([masks, lambda params, key: jax.tree.map(jnp.square, params)])
        graph, _, rest = split_parameters(own)
        given = nnx.merge(graph, params, rest, copy=True)
        running = chained.apply(given, chained.init(given), KEY)
        return sum(map(jnp.sum, jax.tree.leaves(split_parameters(running)[1])))

    slopes = jax.tree.leaves(jax.grad(total)(before))
    for slope, mask, value in zip(slopes, *map(jax.tree.leaves, (masks.masks, before)), strict=True):
        np.testing.assert_allclose(slope, 2 * mask * value, rtol=1e-6)
    with pytest.raises(ValueError, match="at least one"):
        apply_transform(own, [])


@pytest.mark.long
def test_every_knob_changes_the_result():
    one = dataclasses.replace(CONFIG, epochs=1)
    noisy = Crossbar(8, 8, Wires(), Device(variation=0.1, read_noise=ReadNoise(0.1)))
    levels = Crossbar(8, 8, Wires(), Device(variation=0.1, bits=2))
    settings = [
        NoiseAware(CROSSBAR),
        NoiseAware(CROSSBAR, every=2),
        NoiseAware(CROSSBAR, every=3),
        NoiseAware(CROSSBAR, every=2, between="lumped"),
        NoiseAware(CROSSBAR, every=2, between="linearised"),
        NoiseAware(CROSSBAR, software=0.5),
        NoiseAware(CROSSBAR, converters=Converters(adc_bits=3)),
        NoiseAware(noisy),
        NoiseAware(levels),
    ]
    found = {b"".join(np.asarray(w).tobytes() for w in trained(setting, one)[0]) for setting in settings}
    assert len(found) == len(settings)


def leaves(network):
    return jax.tree.leaves(split_parameters(network)[1])


def at_scale_of(own, chip):
    graph, params, rest = split_parameters(own)
    return nnx.merge(graph, scaled_as(params, split_parameters(chip)[1]), rest, copy=True)


@pytest.mark.parametrize("every", [1, 2])
def test_a_step_is_on_the_chip_or_in_software_at_its_scale(every):
    own = network()
    transform = NoiseAware(CROSSBAR, software=0.5, every=every, between="lumped")
    always = dataclasses.replace(transform, software=0.0)

    @jax.jit
    def both(key):
        state = transform.update(own, transform.init(own), KEY)
        chip = always.apply(own, state, key)
        return leaves(transform.apply(own, state, key)), leaves(chip), leaves(at_scale_of(own, chip))

    met = set()
    for number in range(8):
        found, chip, software = both(jax.random.key(number))
        close = partial(np.allclose, rtol=1e-5, atol=0)
        kernels = {"chip": chip, "software": software}
        same = {name for name, expected in kernels.items() if all(map(close, found, expected))}
        assert len(same) == 1
        met |= same
    assert met == {"chip", "software"}


def test_test_images_see_exact_chips_alone():
    transform = NoiseAware(CROSSBAR, software=0.9, every=2, between="lumped")
    assert transform.evaluation() == NoiseAware(CROSSBAR, between="lumped")


@pytest.mark.long
def test_test_images_see_the_chip_whatever_training_does():
    """No step moves a weight, so that accuracies after each epoch are those of chips of the same weights."""
    still = dataclasses.replace(CONFIG, learning_rate=1e-30, epochs=4)
    settings = [NoiseAware(CROSSBAR), NoiseAware(CROSSBAR, software=0.9, every=2)]
    chip, mostly_software = (
        [epoch.test_accuracy for epoch in trained(setting, still)[1].history] for setting in settings
    )
    assert chip == mostly_software
    own, data = network(), few_digits()
    scaled = at_scale_of(own, program(own, CROSSBAR, KEY))
    software = evaluate(scaled, data.scale(data.test_images), data.test_labels, timesteps=2).accuracy
    assert set(chip) != {software}


def test_the_scale_of_a_chip_is_the_least_squares_fit():
    own = network()
    chip = program(own, CROSSBAR, KEY)
    for kernel, on_chip, found in zip(*map(leaves, (own, chip, at_scale_of(own, chip))), strict=True):
        (expected,), *_ = np.linalg.lstsq(kernel.reshape(-1, 1), on_chip.ravel())
        assert 0 < expected < 1
        np.testing.assert_allclose(found, expected * kernel, rtol=1e-5)


def test_thresholds_take_the_scale_of_kernels():
    """Powers of two scale floats exactly, so that a folded network gives the same spikes to the bit."""
    own = network()
    graph, params, rest = split_parameters(own)
    factors = iter((0.5, 0.25, 0.125, 0.5))
    chip = nnx.merge(graph, jax.tree.map(lambda w: w * next(factors), params), rest, copy=True)
    software = folded(own, chip)
    assert [layer.neuron.threshold for layer in software.layers[:-1]] == pytest.approx([0.2, 0.4, 0.8])
    images = jnp.asarray(few_digits().scale(few_digits().test_images))
    (logits, record), (expected, _) = (net(images, timesteps=3) for net in (software, chip))
    np.testing.assert_array_equal(logits, expected)
    assert float(np.ptp(expected)) > 0
    assert min(float(layer.spike_rate) for layer in record[:-1]) > 0
    for kernel, before in zip(leaves(software)[:-1], leaves(own)[:-1], strict=True):
        np.testing.assert_array_equal(kernel, before)


def test_what_has_no_threshold_cannot_be_folded():
    own = network(norm=partial(BatchNorm))
    with pytest.raises(ValueError, match="'conv1' has a bias, a normalisation or a shortcut"):
        folded(own, own)
    learnt = digits_convnet(width=1, neuron=ParametricLIF, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="'conv1': a ParametricLIF has no plain threshold"):
        folded(learnt, learnt)
    chip = program(network(), Crossbar(8, 8, wires=Wires(sense=math.inf)), jax.random.key(0))
    with pytest.raises(ValueError, match=r"'conv1': its kernel's scale on the chip is 0\.0"):
        folded(network(), chip)


def test_a_kernel_of_zeros_keeps_its_scale():
    zeros = jnp.zeros((3, 2))
    assert float(jnp.abs(scaled_as({"kernel": zeros}, {"kernel": zeros})["kernel"]).max()) == 0


CUT = """
import jax
import numpy as np
from jax.sharding import Mesh
from tests.jaxsnn.codesign.test_chip_training import difference_on

print(difference_on(Mesh(np.array(jax.devices()), ("tiles",))))
"""


def difference_on(mesh):
    """Largest relative difference of a chip's kernels and their gradients, tiles cut or on one device."""
    own = network(param_dtype=jnp.float64)
    graph, params, rest = split_parameters(own)
    found = []
    for cut in (None, mesh):
        transform = NoiseAware(
            Crossbar(4, 4, Wires(), Device(variation=0.1)), every=2, between="lumped", mesh=cut
        )

        @jax.jit
        def value(params, transform=transform):
            own = nnx.merge(graph, params, rest, copy=True)
            state = transform.update(own, transform.init(own), KEY)
            chip = leaves(transform.apply(own, state, KEY))
            return sum(jnp.sum(jnp.sin(3 * leaf)) for leaf in chip), chip

        found.append(jax.tree.leaves(jax.grad(value, has_aux=True)(params)))
    return max(
        float(np.abs(np.asarray(one) - np.asarray(many)).max() / np.abs(one).max())
        for one, many in zip(*found, strict=True)
    )


@pytest.mark.long
def test_tiles_cut_among_two_devices_are_those_of_one():
    (printed,) = run_processes(CUT, 1, devices=2)
    assert float(printed.splitlines()[-1]) < 1e-12


def test_a_chip_without_imperfections_is_the_network():
    ideal = Crossbar(8, 8, Wires(0, 0, 0, 0), Device(variation=None))
    own, data = network(), few_digits()
    images = data.scale(data.test_images)
    accuracies = [
        evaluate(chip, images, data.test_labels, timesteps=2).loss
        for chip in (
            own,
            program(own, ideal, KEY),
            program(own, behind(ideal, Converters(None, None)), KEY),
        )
    ]
    np.testing.assert_allclose(accuracies[1:], accuracies[0], rtol=1e-5)


@pytest.mark.long
def test_calibrated_converters_are_finer_than_the_worst_case():
    """Nearer to ideal converters, from each layer's own inputs; the chip that was given stays as it is."""
    own = digits_convnet(width=1, image_size=4, neuron=ReLU, param_dtype=jnp.float64, rngs=nnx.Rngs(1))
    images = jax.random.uniform(KEY, (8, 4, 4, 1), jnp.float64) / 4

    def logits(converters, **seen):
        chip = program(own, behind(CROSSBAR, converters), KEY, **seen)
        return chip(images, timesteps=2)[0]

    exact = logits(Converters(adc_bits=None))
    rule = Converters(adc_bits=6, full_scale="calibrated", percentile=1.0)
    with pytest.raises(ValueError, match="images that the network will see"):
        logits(rule)
    seen = {"images": images, "timesteps": 2}
    errors = [jnp.abs(one - exact).mean() for one in (logits(rule, **seen), logits(Converters(adc_bits=6)))]
    assert errors[0] < errors[1]


@pytest.mark.long
def test_calibrated_converters_can_be_evaluated():
    rule = Converters(adc_bits=6, full_scale="calibrated")
    found = on_hardware(
        network(), behind(CROSSBAR, rule), few_digits(), software=1.0, timesteps=2, keys=[KEY]
    )
    assert 0 <= found.mean <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "at least 1; got 0"),
        ({"between": "guess"}, "'reuse', 'lumped', 'linearised'"),
        ({"software": 1.0}, r"in \[0, 1\); got 1.0"),
        ({"software": 0.5, "converters": Converters()}, "leave out converters, read noise and cells"),
    ],
)
def test_bad_settings(options, message, as_users_run):
    with pytest.raises(ValueError, match=message):
        NoiseAware(CROSSBAR, **options)
