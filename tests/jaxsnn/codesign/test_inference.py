"""What is measured of images that leave early is what tests and early exit find, however images come in."""

from functools import partial

import jax
import numpy as np
import pytest
from flax import nnx

from hwmodels import sata
from jaxsnn.codesign.inference import Setting
from jaxsnn.encoding import Direct, Frames, Poisson
from jaxsnn.learning.early_exit import run_until_sure
from jaxsnn.learning.evaluation import evaluate
from jaxsnn.models.mlp import mlp
from jaxsnn.neuron import LIF

T, COUNT = 5, 7
X = np.random.default_rng(0).uniform(0, 1, (COUNT, T, 12)).astype(np.float32)


@pytest.mark.parametrize("encoding", [Frames(), Poisson(), Direct()])
def test_an_inference_is_that_of_a_test_and_of_early_exit(encoding):
    own = mlp(
        (8,),
        in_features=12,
        classes=3,
        encoding=encoding,
        neuron=partial(LIF, threshold=0.3),
        rngs=nnx.Rngs(0),
    )
    x, options = X if encoding == Frames() else X[:, 0], {"key": jax.random.key(2), "timesteps": T}
    labels = np.arange(COUNT) % 3
    whole = evaluate(own, x, labels, **options)
    for entropy in (0.0, 0.8):
        setting = Setting(T, entropy, sata.Accelerator(), "corrected")
        # Its own answers for labels: an accuracy of one, unless other images are seen.
        exits = run_until_sure(own, x, entropy=entropy, **options)
        answers = exits.logits.argmax(axis=-1)
        found = setting.measure(own, x, answers, key=options["key"])
        assert found.accuracy == 1
        # Without quantisers, weights have no bits of their own.
        assert found.numbers()["weight_bits"] == [None, None]
        assert found.timesteps == exits.mean_timesteps
        assert setting.measure(own, x, labels, key=options["key"]).accuracy == np.mean(answers == labels)
        if entropy == 0:
            assert found.timesteps == T
            np.testing.assert_array_equal(answers, whole.predictions)
        else:
            assert found.timesteps < T
