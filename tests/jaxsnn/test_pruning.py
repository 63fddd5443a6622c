"""Magnitude masks and lottery tickets."""

import jax
import numpy as np
import pytest
from flax import nnx

from jaxsnn.learning.pruning import lottery_ticket, magnitude_masks, masked, sparsity_of
from jaxsnn.learning.training import TrainConfig, apply_transform, evaluate, fit, split_parameters
from jaxsnn.models.vgg import vgg
from jaxsnn.normalization import TdBN
from tests.jaxsnn.small_runs import few_digits


def network():
    return vgg(((4, "P"), (16,)), image_size=8, in_channels=1, norm=TdBN, rngs=nnx.Rngs(0))


def kernels(params):
    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    return {jax.tree_util.keystr(p): np.asarray(x) for p, x in flat if "kernel" in jax.tree_util.keystr(p)}


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_masks_remove_the_smallest(scope):
    params = split_parameters(network())[1]
    masks = magnitude_masks(params, 0.7, scope=scope)
    values, kept = kernels(params), kernels(masks)
    groups = [list(values)] if scope == "global" else [[name] for name in values]
    for group in groups:
        magnitude = np.concatenate([np.abs(values[name]).ravel() for name in group])
        mask = np.concatenate([kept[name].ravel() for name in group]) == 1
        assert mask.sum() == magnitude.size - round(0.7 * magnitude.size)
        assert magnitude[~mask].max() < magnitude[mask].min()
    others = [
        x for p, x in jax.tree_util.tree_flatten_with_path(masks)[0] if "norm" in jax.tree_util.keystr(p)
    ]
    assert others
    assert all(np.all(np.asarray(x) == 1) for x in others)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_of_weights_that_tie_the_first_are_removed_and_no_more_than_asked(scope):
    params = {
        "a": {"kernel": np.full((2, 3), 0.5, np.float32)},
        "b": {"kernel": np.float32([0.5, -0.5, 0.5, -0.5])},
    }
    kept = kernels(magnitude_masks(params, 0.5, scope=scope))
    of_a, of_b = kept["['a']['kernel']"].ravel(), kept["['b']['kernel']"]
    if scope == "global":
        np.testing.assert_array_equal(np.concatenate([of_a, of_b]), 5 * [0] + 5 * [1])
    else:
        np.testing.assert_array_equal(of_a, 3 * [0] + 3 * [1])
        np.testing.assert_array_equal(of_b, 2 * [0] + 2 * [1])


def test_weights_of_few_levels_lose_the_share_that_was_asked_for():
    levels = {"kernel": np.random.default_rng(0).integers(-3, 4, (40, 25)).astype(np.float32)}
    mask = np.asarray(magnitude_masks(levels, 0.3)["kernel"])
    assert mask.sum() == 700
    magnitude = np.abs(levels["kernel"])
    assert magnitude[mask == 0].max() <= magnitude[mask == 1].min()


def test_no_sparsity_keeps_everything():
    params = split_parameters(network())[1]
    assert all(np.all(mask == 1) for mask in kernels(magnitude_masks(params, 0.0)).values())


def test_removed_weights_stay_removed_and_the_rest_learns():
    net = network()
    params = split_parameters(net)[1]
    masks = magnitude_masks(params, 0.5)
    start, mask = kernels(params), kernels(masks)
    mask_it = masked(masks)
    result = fit(net, few_digits(), TrainConfig(epochs=1, timesteps=2, batch_size=32), transform=mask_it)
    end, left = kernels(split_parameters(net)[1]), kernels(split_parameters(apply_transform(net, mask_it))[1])
    for name in start:
        gone = mask[name] == 0
        np.testing.assert_array_equal(end[name][gone], start[name][gone])
        assert np.mean(end[name][~gone] != start[name][~gone]) > 0.5
        np.testing.assert_array_equal(left[name], end[name] * mask[name])
    pruned, data = apply_transform(net, mask_it), few_digits()
    assert sparsity_of(split_parameters(pruned)[1]) == pytest.approx(0.5, abs=1e-3)
    accuracy = evaluate(pruned, data.scale(data.test_images), data.test_labels, timesteps=2).accuracy
    assert accuracy == result.test_accuracy


def test_a_run_of_another_mask_is_refused(tmp_path):
    config = TrainConfig(epochs=1, timesteps=1, batch_size=96)

    def run(sparsity):
        net = network()
        transform = masked(magnitude_masks(split_parameters(net)[1], sparsity))
        return fit(net, few_digits(), config, transform=transform, checkpoint_dir=tmp_path)

    run(0.5)
    with pytest.raises(ValueError, match=r"another run: transform was .Masked\(.* and is .Masked\("):
        run(0.6)
    assert run(0.5).resumed_epochs == 1


@pytest.mark.long
def test_a_ticket_is_the_start_under_the_mask_of_the_end():
    net, data = network(), few_digits()
    config = TrainConfig(epochs=1, timesteps=2, batch_size=32)
    dense = network()
    fit(dense, data, config)
    tickets = lottery_ticket(net, data, config, rounds=2, prune_per_round=0.4)
    np.testing.assert_allclose([t.sparsity for t in tickets], [0, 0.4, 0.64], atol=2e-3)
    expected = magnitude_masks(split_parameters(dense)[1], 0.4)
    for a, b in zip(kernels(expected).values(), kernels(tickets[1].masks).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    # The second mask only removes further, and the network ends pruned.
    for a, b in zip(kernels(tickets[1].masks).values(), kernels(tickets[2].masks).values(), strict=True):
        assert np.all(b <= a)
    assert sparsity_of(split_parameters(net)[1]) == pytest.approx(0.64, abs=2e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: magnitude_masks(p, 1.0), r"sparsity is a fraction in \[0, 1\)"),
        (lambda p: magnitude_masks(p, 0.5, scope="all"), "scope must be 'global' or 'layer'"),
        (
            lambda p: lottery_ticket(network(), few_digits(), TrainConfig(), rounds=0),
            "rounds must be at least 1",
        ),
        (
            lambda p: lottery_ticket(network(), few_digits(), TrainConfig(), rounds=1, prune_per_round=1.5),
            "prune_per_round is a fraction",
        ),
    ],
)
def test_bad_options_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(split_parameters(network())[1])
