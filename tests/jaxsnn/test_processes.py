"""Two processes that train together on one data set end where one process ends."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.data.datasets import Dataset
from jaxsnn.learning.training import TrainConfig, fit
from jaxsnn.models.mlp import mlp
from tests.helpers import run_processes

TRAIN = """
import sys
from pathlib import Path

from tests.jaxsnn.test_processes import train

train(Path(sys.argv[1]))
"""


def train(folder: Path) -> None:
    """Leave the weights in a file named after this process, and what `fit` writes in folders named so."""
    here = jax.process_index()
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (64, 4, 4, 1), np.uint8), rng.integers(0, 3, 64, np.uint8)
    data = Dataset("noise", images, labels, images[:8], labels[:8], classes=3)
    wide = {"param_dtype": jnp.float64, "dtype": jnp.float64}
    net = mlp((8,), in_features=16, classes=3, rngs=nnx.Rngs(0), **wide)
    config = TrainConfig(epochs=2, timesteps=2, batch_size=16, optimizer="sgd", devices=jax.device_count())
    written = {"checkpoint_dir": folder / f"run-{here}", "tensorboard_dir": folder / f"events-{here}"}
    fit(net, data, config, **written)
    np.savez(folder / f"weights-{here}.npz", *jax.tree.leaves(nnx.state(net, nnx.Param)))


def weights(path: Path) -> list[np.ndarray]:
    return list(np.load(path).values())


@pytest.mark.long
def test_two_processes_train_as_one(tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    train(alone)
    run_processes(TRAIN, 2, together)

    assert sorted(entry.name for entry in together.iterdir()) == [
        "events-0",
        "run-0",
        "weights-0.npz",
        "weights-1.npz",
    ]
    first, second = (weights(together / f"weights-{rank}.npz") for rank in range(2))
    for one, a, b in zip(weights(alone / "weights-0.npz"), first, second, strict=True):
        assert a.dtype == np.float64
        assert a.tobytes() == b.tobytes()
        # The sum over a batch in another order, in a few steps of float64.
        np.testing.assert_allclose(a, one, rtol=0, atol=1e-13 * np.abs(one).max())
