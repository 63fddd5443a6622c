"""Two processes that train together on one data set end where one process ends."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsnn.learning.training import TrainConfig, fit
from tests.helpers import run_processes
from tests.jaxsnn.test_training import dense, few_digits

TRAIN = """
import sys
from pathlib import Path

from tests.jaxsnn.test_processes import train

train(Path(sys.argv[1]))
"""


def train(folder: Path) -> None:
    """Leave the weights in a file named after this process, and what `fit` writes in folders named so."""
    here = jax.process_index()
    net = dense(param_dtype=jnp.float64, dtype=jnp.float64)
    config = TrainConfig(epochs=2, timesteps=2, batch_size=32, optimizer="sgd", devices=jax.device_count())
    written = {"checkpoint_dir": folder / f"run-{here}", "tensorboard_dir": folder / f"events-{here}"}
    fit(net, few_digits(), config, **written)
    np.savez(folder / f"weights-{here}.npz", *jax.tree.leaves(nnx.state(net, nnx.Param)))


def weights(path: Path) -> list[np.ndarray]:
    return list(np.load(path).values())


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
