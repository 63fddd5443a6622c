"""One rule for pixels, wherever images enter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.data.pixels import unit_pixels
from jaxsnn.encoding import Poisson
from jaxsnn.learning.conversion import convert
from jaxsnn.learning.early_exit import run_until_sure
from jaxsnn.learning.evaluation import evaluate
from jaxsnn.models.mlp import mlp
from jaxsnn.neuron import ReLU
from jaxsnn.normalization import BatchNorm, adapt_statistics

BYTES = np.random.default_rng(0).integers(0, 256, (8, 3, 3, 1)).astype(np.uint8)
FLOATS = (BYTES / 255).astype(np.float32)
LABELS = np.arange(8) % 4
KEY = jax.random.key(1)


def network(**options):
    return mlp((6,), in_features=9, classes=4, rngs=nnx.Rngs(0), **options)


def called(images):
    return network()(jnp.asarray(images), timesteps=3)[0]


def poisson(images):
    return network(encoding=Poisson())(jnp.asarray(images), timesteps=3, key=KEY)[0]


def evaluated(images):
    found = evaluate(network(), images, LABELS, timesteps=3)
    return [found.loss, *(float(layer.input_rate) for layer in found.record), *found.predictions]


def sure(images):
    return run_until_sure(network(), images, timesteps=3, entropy=0.9).logits


def converted(images):
    return list(convert(network(neuron=ReLU), images, timesteps=3, key=KEY)[1].values())


def adapted(images):
    normed = network(norm=BatchNorm)
    adapt_statistics(normed, images, timesteps=2, batch_size=4)
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(nnx.state(normed, nnx.BatchStat))])


WAYS_IN = [called, poisson, evaluated, sure, converted, adapted]


@pytest.mark.parametrize("way_in", WAYS_IN, ids=lambda way: way.__name__)
def test_bytes_are_fractions_of_255_everywhere(way_in):
    right = np.asarray(way_in(FLOATS))
    np.testing.assert_allclose(way_in(BYTES), right, rtol=1e-6)
    np.testing.assert_allclose(way_in(BYTES.astype(np.uint16) * 257), right, rtol=1e-6)
    assert not np.allclose(way_in(FLOATS / 20), right)


@pytest.mark.parametrize("way_in", WAYS_IN, ids=lambda way: way.__name__)
def test_integers_without_a_scale_are_refused_everywhere(way_in):
    with pytest.raises(ValueError, match="int32"):
        way_in(np.asarray(BYTES, np.int32))


@pytest.mark.parametrize("way_in", [evaluated, sure, converted, adapted], ids=lambda way: way.__name__)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_not_finite_are_refused(way_in, value):
    images = FLOATS.copy()
    images[5, 1, 2, 0] = value
    with pytest.raises(ValueError, match="image 5 holds NaN, infinity"):
        way_in(images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.ma.masked_less(FLOATS, 0.5), "evaluation: the array is masked, first at"),
        (
            FLOATS.astype(FLOATS.dtype.newbyteorder()),
            "evaluation: .* bytes in another order than this machine",
        ),
    ],
)
def test_arrays_that_jax_cannot_take_as_they_are_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        evaluated(images)


@pytest.mark.parametrize(
    ("labels", "message"), [(LABELS + 0.5, "label 0 is 0.5"), (np.eye(4)[LABELS], "argmax")]
)
def test_labels_are_whole(labels, message):
    with pytest.raises(ValueError, match=message):
        evaluate(network(), FLOATS, labels, timesteps=3)


def test_evaluation_takes_whole_float_labels():
    right, found = (evaluate(network(), FLOATS, kind, timesteps=3) for kind in (LABELS, LABELS.astype(float)))
    assert (found.accuracy, found.loss) == (right.accuracy, right.loss)


@pytest.mark.parametrize(
    ("pixels", "seen"),
    [
        (np.array([0, 51, 255], np.uint8), [0, 0.2, 1]),
        (np.array([0, 13107, 65535], np.uint16), [0, 0.2, 1]),
        (np.array([False, True]), [0, 1]),
        (np.array([-3.5, 0, 300.0]), [-3.5, 0, 300]),
        (jnp.asarray([0.5, 2], jnp.bfloat16), [0.5, 2]),
    ],
)
def test_the_rule(pixels, seen):
    found = unit_pixels(pixels)
    np.testing.assert_allclose(np.asarray(found, float), seen, rtol=1e-7)
    assert found.dtype == (pixels.dtype if pixels.dtype.kind in "fV" else np.float32)


def test_poisson_fires_a_small_rate_in_bfloat16():
    rate, count = 0.003, 400_000
    image = jnp.full((1, count), rate, jnp.bfloat16)
    spikes = Poisson()(image, start=0, steps=1, key=KEY).values
    assert spikes.dtype == jnp.bfloat16
    meant = float(image[0, 0])
    found = float(jnp.mean(spikes.astype(jnp.float32)))
    np.testing.assert_allclose(found, meant, atol=5 * np.sqrt(meant / count))
