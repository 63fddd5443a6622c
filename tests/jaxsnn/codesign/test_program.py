"""Programming: quantisers act before and never after, digital chips round operands, facts reach costs."""

import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwmodels import sata, spikeflow
from hwmodels.chip import Analog, Digital
from hwmodels.crossbar import (
    Converters,
    Crossbar,
    Device,
    Drift,
    Faults,
    ReadNoise,
    Sinh,
    Variation,
    Wires,
)
from jaxsnn.codesign import program, to_workload, undisturbed, workload_of
from jaxsnn.codesign.digital import FixedPoint
from jaxsnn.codesign.folding import folded
from jaxsnn.codesign.noise_aware import NoiseAware
from jaxsnn.codesign.program import fix_converters, realised
from jaxsnn.codesign.sensitivity import kernels_of
from jaxsnn.composite import SharedMembrane
from jaxsnn.encoding import Frames
from jaxsnn.graph import Graph
from jaxsnn.layers import Block, Conv, Linear, synapses
from jaxsnn.learning.bit_widths import LearntBits, with_learnt_bits
from jaxsnn.learning.conversion import fold_normalization
from jaxsnn.learning.quantization import settled, to_mint, uniform
from jaxsnn.learning.transform import apply_transform
from jaxsnn.models.mlp import mlp
from jaxsnn.models.resnet import resnet
from jaxsnn.models.spikformer import spikformer
from jaxsnn.network import Network
from jaxsnn.neuron import IF, LIF, AdaptiveLIF, DelayedLIF, Readout, ReLU, Reset
from jaxsnn.normalization import BNTT, BatchNorm
from jaxsnn.recurrence import Recurrent
from tests.helpers import finite_difference

KEY = jax.random.key(5)
IDEAL = Crossbar(8, 8, Wires(0, 0, 0, 0), Device(variation=None))
IMAGES = jax.random.uniform(jax.random.key(1), (32, 4, 4, 1), jnp.float32)


def dense(**options):
    return mlp(
        (12,), in_features=16, neuron=partial(LIF, leak=0.5, threshold=0.5), rngs=nnx.Rngs(3), **options
    )


@nnx.jit
def _decisions(network, images):
    return network(images, timesteps=3)[0].argmax(axis=-1)


def decisions(network):
    return np.asarray(_decisions(network, IMAGES))


@pytest.mark.parametrize("converters", [None, Converters(adc_bits=None)])
def test_a_quantised_network_on_an_ideal_chip_decides_as_in_software(converters):
    """With converters the tiles held raw kernels and 36 % of the decisions were left."""
    network = to_mint(dense(), 3)
    chip = program(network, Analog(IDEAL, converters, converters), KEY)
    np.testing.assert_array_equal(decisions(chip), decisions(network))


def test_devices_are_rounded_no_more():
    """Three bits at σ = 10 %: as many weights as devices, where rounding again left seven."""
    network = with_learnt_bits(dense(), lambda: LearntBits(3))
    noisy = eqx.tree_at(lambda design: design.device, IDEAL, Device(variation=0.1))
    chip = program(network, noisy, KEY)
    used = chip.layers[0].synapse.quantizer(chip.layers[0].synapse.kernel[...])
    assert len(np.unique(used)) == used.size
    assert len(np.unique(kernels_of(network)["fc1"])) <= 7
    assert float(chip.layers[0].synapse.quantizer.bits) == 3
    trained_as = NoiseAware(noisy).apply(nnx.clone(network), (), KEY)
    np.testing.assert_array_equal(
        trained_as.layers[0].synapse.kernel[...], chip.layers[0].synapse.kernel[...]
    )


def test_gradients_reach_the_weights_behind_a_quantiser():
    network = with_learnt_bits(dense(), lambda: LearntBits(4))
    graph, params, rest = nnx.split(network, nnx.Param, ...)

    def total(params):
        chip = settled(nnx.merge(graph, params, rest))
        return jnp.sum(chip.layers[0].synapse.kernel[...] ** 2)

    found = jax.grad(total)(params)["layers"][0]["synapse"]["kernel"][...]
    assert float(jnp.abs(found).max()) > 0


def test_sums_of_few_bits_are_counted_in_the_steps_of_their_weights():
    """MINT's highest level need not be taken: sums were rounded to a grid of the greatest weight's."""
    network = to_mint(dense(), 4)
    chip = program(network, sata.Accelerator(), KEY)
    spikes = jnp.asarray(np.random.default_rng(0).integers(0, 2, (1, 4, 12)), jnp.float32)
    meant, found = (net.layers[1].synapse(spikes) for net in (network, chip))
    np.testing.assert_allclose(found, meant, atol=1e-6)


def test_an_accelerator_rounds_weights_pixels_sums_and_potentials():
    network = dense()
    chip = program(network, sata.Accelerator(), KEY, images=IMAGES)
    kernel = network.layers[0].synapse.kernel[...]
    np.testing.assert_array_equal(chip.layers[0].synapse.kernel[...], uniform(kernel, 8))
    fine = Digital(weight_bits=20, image_bits=20, accumulator_bits=28, threshold_bits=20, membrane_bits=28)
    np.testing.assert_allclose(
        program(network, fine, KEY)(IMAGES, timesteps=3)[0], network(IMAGES, timesteps=3)[0], atol=1e-4
    )
    exact = program(network, Digital(), KEY)
    np.testing.assert_array_equal(exact(IMAGES, timesteps=3)[0], network(IMAGES, timesteps=3)[0])


def test_a_potential_is_kept_in_units_of_the_threshold():
    """By hand: θ = 1 in 2 bits is 3 units, a potential of 4 bits saturates at ±7 units."""
    neuron = FixedPoint(IF(threshold=1.0, reset=Reset.SUBTRACT), 2, 4)
    _, kept = neuron(jnp.array([0.4, -0.4, 0.6, -9.0]), neuron.initial_state((4,)))
    np.testing.assert_allclose(kept, np.array([1, -1, 2, -7]) / 3, rtol=1e-6)


@pytest.mark.parametrize("inclusive", [False, True])
def test_a_delayed_reset_follows_every_spike_and_nothing_else(inclusive):
    """Of two bits θ is 3 units; 0.9 and 1.1 of it are both 3 units when they are rounded."""
    neuron = DelayedLIF(threshold=0.7, leak=1.0, inclusive=inclusive)
    kept = FixedPoint(neuron, 2, 5)
    spikes, state = kept(0.7 * jnp.array([0.9, 1.0, 1.1, 2.2]), kept.initial_state((4,)))
    np.testing.assert_array_equal(spikes, [0, inclusive, 1, 1])
    np.testing.assert_allclose(3 * state / 0.7, [2, 3, 3, 7] if inclusive else [3, 3, 4, 7], rtol=1e-6)
    # Without current, what has fired loses the threshold, and what has not keeps its potential.
    _, after = kept(jnp.zeros(4), state)
    np.testing.assert_allclose(3 * (state - after) / 0.7, 3 * np.asarray(spikes), atol=1e-6)


def test_adaptation_is_kept_in_units_of_the_threshold():
    """It went lost in large units of current: a count of spikes was rounded to thresholds."""

    def fired(unit, kept):
        neuron = kept(AdaptiveLIF(threshold=unit, adaptation=0.4 * unit, leak=0.5))
        state, spikes = neuron.initial_state((1,)), []
        for _ in range(20):
            out, state = neuron(jnp.array([1.3 * unit]), state)
            spikes.append(float(out[0]))
        return spikes

    fixed = [fired(unit, lambda neuron: FixedPoint(neuron, 4, 8)) for unit in (1.0, 100.0)]
    assert fixed[0] == fixed[1]
    exact = sum(fired(1.0, lambda neuron: neuron))
    assert exact < 10
    assert abs(sum(fixed[0]) - exact) <= 1


def test_every_neuron_of_a_transformer_is_kept_in_registers():
    """What attention gathers was not."""
    chip = program(spikformer(channels=8, heads=2, rngs=nnx.Rngs(0)), sata.Accelerator(), KEY)
    held = [module.neuron for _, module in nnx.iter_graph(chip) if hasattr(module, "neuron")]
    outer = [neuron for neuron in held if not isinstance(neuron, LIF | Readout)]
    assert len(outer) == sum(isinstance(neuron, LIF) for neuron in held) > 8
    assert all(isinstance(neuron, FixedPoint) for neuron in outer)


def test_a_sum_saturates_in_steps_of_the_weights():
    kernel, spikes = jnp.ones((2, 1), jnp.float32), jnp.ones((1, 1, 1, 2), jnp.float32)
    network = Network([Block("fc1", Linear(2, 1, rngs=nnx.Rngs(0)), Readout())])
    network.layers[0].synapse.kernel[...] = kernel
    chip = program(network, Digital(weight_bits=4, accumulator_bits=4), KEY)  # steps of 1/7, at most 7
    assert float(chip(spikes, timesteps=1)[0][0, 0]) == pytest.approx(1.0)
    assert float(network(spikes, timesteps=1)[0][0, 0]) == pytest.approx(2.0)


def test_activations_of_one_bit_are_refused():
    ann = mlp((4,), in_features=16, neuron=ReLU, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"layer 'fc1' sends activations .* Precision\(activation=8\)"):
        program(ann, sata.Accelerator(), KEY)
    program(ann, sata.Accelerator(precision=sata.Precision(activation=8)), KEY)(IMAGES, timesteps=1)


def test_what_is_no_chip_is_refused(as_users_run):
    with pytest.raises(TypeError, match="programmed onto a chip"):
        program(dense(), "spikeflow", KEY)
    with pytest.raises(ValueError, match=r"images that the network will see"):
        program(dense(), spikeflow.Chip(full_scale="calibrated"), KEY)


def test_undisturbed_devices_hold_what_was_meant():
    device = Device(
        variation=Variation(0.2), faults=Faults(0.1, 0.1), drift=Drift(time_s=1e4), read_noise=ReadNoise()
    )
    worn = dataclasses.replace(IDEAL, device=device)
    np.testing.assert_allclose(
        undisturbed(dense(), worn).layers[0].synapse.kernel[...],
        dense().layers[0].synapse.kernel[...],
        rtol=1e-5,
        atol=1e-6,
    )


def test_designs_that_differ_in_bits_and_full_scale_are_one_program():
    """On tiles of other sizes they are another; what they decide with many bits is the software's."""

    def fixed(**options):
        chip = spikeflow.Chip(crossbar_rows=8, crossbar_columns=options.pop("columns", 8), **options)
        made = program(dense(), chip, KEY, images=IMAGES, timesteps=3)
        fix_converters(made)
        return made

    one = {nnx.split(fixed(adc_bits=bits))[0] for bits in (4, 6)} | {
        nnx.split(fixed(full_scale="calibrated"))[0]
    }
    assert len(one) == 1
    assert nnx.split(fixed(columns=16))[0] not in one
    ideal = Analog(IDEAL, Converters(adc_bits=24), Converters(adc_bits=24))
    chip = program(dense(), ideal, KEY)
    fix_converters(chip)
    np.testing.assert_array_equal(decisions(chip), decisions(dense()))


@pytest.mark.parametrize(
    "change",
    [
        fold_normalization,
        partial(to_mint, bits=4),
        with_learnt_bits,
        partial(apply_transform, transform=lambda params, key: params),
        partial(apply_transform, transform=[NoiseAware(IDEAL), lambda params, key: params], key=KEY),
    ],
)
def test_what_changes_kernels_refuses_tiles_that_hold_the_weights(change):
    """A folded chip gave other logits, and a quantised one its own, without a word."""
    chip = program(dense(), Analog(IDEAL, Converters(), Converters()), KEY)
    with pytest.raises(ValueError, match="its tiles hold the weights"):
        change(chip)


def test_scales_are_those_of_quantised_weights():
    """Against the weights before their quantiser of two bits an ideal chip had a scale of 1.1."""
    network = with_learnt_bits(dense(), lambda: LearntBits(2))
    software = folded(network, program(network, IDEAL, KEY))
    assert software.layers[0].neuron.threshold == pytest.approx(0.5)
    np.testing.assert_array_equal(decisions(software), decisions(network))


def test_potentials_of_few_bits_cannot_be_folded():
    network = to_mint(dense(), 4)
    with pytest.raises(ValueError, match=r"layer 'fc1': a MintLIF has no plain threshold"):
        folded(network, program(network, IDEAL, KEY))


TILED = Crossbar(8, 8, Wires(sense=1e3), Device(variation=0.1))


@pytest.mark.parametrize(
    ("layer", "change"),
    [
        ("linear", {}),
        ("linear", {"signs": "offset"}),
        ("linear", {"cell": Sinh(0.25)}),
        ("conv", {"bias": "row"}),
        ("groups", {"bias": "row"}),
    ],
)
def test_tiles_realise_the_weights_of_the_matrix(layer, change):
    """Behind converters with noise as alone, where they are the programmed kernel."""
    options = {"use_bias": True, "rngs": nnx.Rngs(0)}
    synapse = {
        "linear": lambda: Linear(16, 10, **options),
        "conv": lambda: Conv(4, 6, (3, 2), stride=2, **options),
        "groups": lambda: Conv(4, 6, 3, groups=2, **options),
    }[layer]()
    synapse.bias[...] = jnp.arange(synapse.out_channels, dtype=jnp.float32)
    network = Network([Block("only", synapse, Readout())])
    matrix = program(network, dataclasses.replace(TILED, **change), KEY).layers[0].synapse
    device = Device(variation=0.1, read_noise=ReadNoise(0.1))
    noisy = dataclasses.replace(TILED, device=device, **change)
    tiles = program(network, Analog(noisy, Converters(), Converters()), KEY).layers[0].synapse
    np.testing.assert_allclose(realised(tiles), realised(matrix), rtol=1e-4, atol=1e-5)
    assert np.max(np.abs(realised(tiles) - synapse.kernel[...])) > 0.01


@pytest.mark.parametrize("converters", [Converters(), None])
def test_chips_on_tiles_are_folded_as_matrices_are(converters):
    """Every scale was 1: the kernel that was read is the software's, where tiles hold what they realise."""
    network = dense()
    expected = folded(network, program(network, TILED, KEY))
    noisy = dataclasses.replace(TILED, device=Device(variation=0.1, read_noise=ReadNoise(0.1)))
    found = folded(network, program(network, Analog(noisy, converters, converters), KEY))
    for one, two in zip(found.layers[:-1], expected.layers[:-1], strict=True):
        assert one.neuron.threshold == pytest.approx(two.neuron.threshold, rel=1e-5)
        assert one.neuron.threshold > 0.51


@pytest.mark.parametrize("calibrated", [False, True])
def test_biases_in_a_row_reach_the_logits_once(calibrated):
    """Software's on an ideal chip, as one matrix and tile by tile; scaled along with the weights by a chip's
    wires; and they learn there."""
    network = dense(use_bias=True)
    for layer in network.layers:
        shape = layer.synapse.bias[...].shape
        layer.synapse.bias[...] = jax.random.normal(jax.random.key(len(shape)), shape, jnp.float32)
    row = dataclasses.replace(IDEAL, bias="row")
    scale = "calibrated" if calibrated else "worst-case"
    fine = Converters(adc_bits=20, full_scale=scale, percentile=1.0)
    expected, _ = network(IMAGES, timesteps=3)
    matrix = program(network, row, KEY)
    tiles = program(network, Analog(row, fine, fine), KEY, images=IMAGES, timesteps=3)
    for chip in (matrix, tiles):
        logits, record = chip(IMAGES, timesteps=3)
        np.testing.assert_allclose(logits, expected, atol=2e-4)
        assert all(layer.bias for layer in record)
    if calibrated:
        return
    lossy = dataclasses.replace(row, wires=Wires(sense=1e4))
    found = program(network, lossy, KEY).layers[0].synapse.bias[...]
    assert np.all(np.abs(found) < np.abs(network.layers[0].synapse.bias[...]))
    graph, bias, rest = nnx.split(network, nnx.PathContains("bias"), ...)

    @jax.jit
    @jax.grad
    def slope(bias):
        logits, _ = program(nnx.merge(graph, bias, rest, copy=True), lossy, KEY)(IMAGES[:2], timesteps=1)
        return jnp.sum(logits**2)

    assert all(np.any(leaf) for leaf in jax.tree.leaves(slope(bias)))


CALIBRATED = Converters(adc_bits=8, full_scale="calibrated", percentile=1.0)


def full_scales(chip):
    return np.array([layer.product.tiles.adc_full_scale for layer in synapses(chip).values()])


def test_a_circle_of_a_graph_is_calibrated_as_a_recurrent_layer():
    def linear(seed, inputs, outputs):
        return Linear(inputs, outputs, rngs=nnx.Rngs(seed))

    edges = [("input", "w"), ("w", "n"), ("n", "v"), ("v", "n"), ("n", "output")]
    nodes = {"w": linear(0, 6, 4), "n": LIF(threshold=0.3), "v": linear(1, 4, 4)}
    loop = Recurrent(Block("w", linear(0, 6, 4), LIF(threshold=0.3)), linear(1, 4, 4))
    frames = jax.random.uniform(KEY, (5, 3, 6), jnp.float32)
    found, expected = (
        full_scales(program(network, Analog(IDEAL, CALIBRATED, CALIBRATED), KEY, images=frames, timesteps=5))
        for network in (
            Network([first, Block("o", linear(2, 4, 3), Readout())], Frames())
            for first in (Graph(nodes, edges), loop)
        )
    )
    np.testing.assert_allclose(np.sort(found), np.sort(expected), rtol=1e-6)
    assert len(set(found)) == 3


def test_layers_that_share_a_membrane_are_calibrated_on_all_timesteps():
    """They run timestep by timestep, and were calibrated on the last, here one without any spike."""

    def block(name, inputs, outputs, seed):
        return Block(name, Linear(inputs, outputs, rngs=nnx.Rngs(seed)), LIF(threshold=0.3))

    network = Network(
        [
            SharedMembrane([block("a", 6, 4, 0), block("b", 4, 4, 1)]),
            Block("o", Linear(4, 3, rngs=nnx.Rngs(2)), Readout()),
        ],
        Frames(),
    )
    frames = jax.random.uniform(KEY, (5, 3, 6), jnp.float32).at[-1].set(0)
    chip = program(network, Analog(IDEAL, CALIBRATED, CALIBRATED), KEY, images=frames, timesteps=5)
    first = chip.layers[0].blocks[0].synapse.product.tiles
    expected = first.calibrate(frames.reshape(-1, 6)).adc_full_scale
    np.testing.assert_allclose(full_scales(chip)[0], expected, rtol=1e-6)


def facts(network, shape, timesteps=2, **options):
    return {layer.name: layer for layer in workload_of(network, shape, timesteps, **options).layers}


def test_a_workload_has_every_fact_of_the_network():
    network = with_learnt_bits(
        mlp((6,), in_features=16, norm=partial(BNTT, timesteps=2), rngs=nnx.Rngs(0)), LearntBits
    )
    network.layers[0].synapse.kernel[...] = network.layers[0].synapse.kernel[...].at[:8].set(0.0)
    found = facts(network, (4, 4, 1), rates={"fc2": 0.25})
    assert (found["fc1"].norm, found["fc1"].source, found["fc1"].input_rate) == ("timestep", "", 1.0)
    assert (found["fc2"].norm, found["fc2"].source, found["fc2"].input_rate) == ("none", "fc1", 0.25)
    assert found["fc1"].weight_sparsity >= 0.5
    assert found["fc1"].weight_bits == 8
    _, record = network(IMAGES, timesteps=2)
    for one, two in zip(to_workload(record, 2).layers, found.values(), strict=True):
        same = {"input_rate": two.input_rate, "weight_bits": two.weight_bits}
        assert dataclasses.replace(one, **same) == two
    with pytest.raises(ValueError, match="'conv9', which is no layer"):
        facts(network, (4, 4, 1), rates={"conv9": 0.5})


def test_shortcuts_and_pools_are_told_and_not_guessed():
    network = resnet(((4, 1), (8, 1)), stem=4, image_size=8, in_channels=1, rngs=nnx.Rngs(0))
    found = facts(network, (8, 8, 1))
    projections = {layer.shortcut for layer in found.values() if layer.shortcut in found}
    added = [layer for layer in found.values() if layer.residual_add]
    assert {layer.shortcut for layer in added} >= projections
    assert projections


@pytest.mark.parametrize("chip", [spikeflow.Chip(), sata.Accelerator()], ids=["SpikeFlow", "SATA"])
def test_biases_and_normalisation_are_priced(chip):
    def energy(**options):
        network = mlp((6,), in_features=16, rngs=nnx.Rngs(0), **options)
        return chip.cost(workload_of(network, (4, 4, 1), 2, rates=0.5)).energy_j

    plain, shared, each = energy(), energy(norm=BatchNorm), energy(norm=partial(BNTT, timesteps=2))
    assert plain < shared < each


def test_a_loss_on_the_chip_differentiates_to_its_wires_and_devices():
    """Every float of the circuit and a weight, through circuit and network, in float64."""
    network = mlp((3,), in_features=4, neuron=ReLU, param_dtype=jnp.float64, rngs=nnx.Rngs(7))
    design = Crossbar(4, 4, Wires(), Device(variation=0.1))
    images = jax.random.uniform(KEY, (2, 2, 2, 1), jnp.float64)
    flat, rebuild = jax.flatten_util.ravel_pytree(jax.tree.map(jnp.float64, design))

    @jax.jit
    def loss(scales):
        kernel = network.layers[0].synapse.kernel[...]
        own = nnx.clone(network)
        own.layers[0].synapse.kernel[...] = kernel.at[0, 0].multiply(scales[-1])
        logits, _ = program(own, rebuild(flat * scales[:-1]), KEY)(images, timesteps=1)
        return jnp.sum(jnp.sin(3 * logits))

    ones = np.ones(flat.size + 1)
    expected = finite_difference(loss, ones, step=1e-5)
    np.testing.assert_allclose(jax.grad(loss)(ones), expected, rtol=1e-5, atol=1e-9)
    # Four resistances, two limits, σ and the weight; linear cells know no read voltage.
    assert np.count_nonzero(expected) == 8


@pytest.mark.parametrize("chip", [spikeflow.Chip(), sata.Accelerator()], ids=["SpikeFlow", "SATA"])
def test_energy_differentiates_to_every_float_of_one_pytree(chip):
    """Energy to rates, timesteps and every number of the chip that it depends on, in one gradient."""
    workload = workload_of(dense(), (4, 4, 1), 2.5, rates=0.3)
    tree = jax.tree.map(float, chip)
    flat, rebuild = jax.flatten_util.ravel_pytree(tree)
    # Counts are rounded, so that finite differences see the smooth numbers alone: energies and clocks.
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    smooth = np.array([i for i, name in enumerate(names) if name.endswith(("_j", "clock_hz"))])

    @jax.jit
    def energy_nj(scales):
        return 1e9 * rebuild(flat.at[smooth].multiply(scales)).cost(workload).energy_j

    everything = jax.jit(jax.grad(lambda values: 1e9 * rebuild(values).cost(workload).energy_j))(flat)
    assert np.isfinite(everything).all()
    ones = np.ones(smooth.size)
    expected = finite_difference(energy_nj, ones, step=1e-4)
    np.testing.assert_allclose(
        everything[smooth] * flat[smooth], expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max()
    )
