"""What a network does on images that leave early, and what that costs on a chip."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from hwmodels.chip import Chip
from jaxsnn.codesign.workload import inference_energy_j
from jaxsnn.data.batches import batch_starts
from jaxsnn.encoding import inputs_of
from jaxsnn.learning.early_exit import accuracy_curve
from jaxsnn.learning.evaluation import mean_spike_rate
from jaxsnn.learning.training import evaluate
from jaxsnn.network import LayerRecord, Network, batch_key


@dataclass(frozen=True)
class Inference:
    """What a network does on images that leave early, and what that costs."""

    accuracy: float
    timesteps: float
    record: tuple[LayerRecord, ...]
    energy_j: float

    def numbers(self) -> dict[str, Any]:
        return {
            "accuracy": self.accuracy,
            "mean_timesteps": self.timesteps,
            "weight_bits": [
                None if layer.weight_bits is None else float(layer.weight_bits) for layer in self.record
            ],
            "mean_spike_rate": float(mean_spike_rate(self.record)),
            "energy_j": self.energy_j,
        }


@dataclass(frozen=True)
class Setting:
    """How networks are run and priced: one for a whole experiment."""

    timesteps: int
    entropy: float
    chip: Chip
    conventions: Any

    def energy_j(self, record: Sequence[LayerRecord], timesteps: float) -> float:
        return float(inference_energy_j(record, timesteps, self.chip, self.conventions))

    def measure(
        self, network: Network, images: Any, labels: Any, *, key: jax.Array | None = None
    ) -> Inference:
        """Exits are hard and bits whole. The rates are those of all T timesteps.

        **Arguments:** as for [`jaxsnn.learning.evaluation.evaluate`][].
        """
        record = evaluate(network, images, labels, timesteps=self.timesteps, key=key).record
        outputs = _outputs(network, images, self.timesteps, key)
        _, mean, accuracy = accuracy_curve(outputs, labels, [self.entropy])[0]
        return Inference(accuracy, mean, record, self.energy_j(record, mean))

    def by_lever(self, before: Inference, after: Inference) -> dict[str, float]:
        """Energy saved by one lever at a time, as fractions of the energy before."""
        rates = tuple(
            dataclasses.replace(new, weight_bits=old.weight_bits)
            for old, new in zip(before.record, after.record, strict=True)
        )
        bits = tuple(
            dataclasses.replace(old, weight_bits=new.weight_bits)
            for old, new in zip(before.record, after.record, strict=True)
        )
        changed = {
            "rates": self.energy_j(rates, before.timesteps),
            "timesteps": self.energy_j(before.record, after.timesteps),
            "bits": self.energy_j(bits, before.timesteps),
        }
        return {lever: 1 - energy / before.energy_j for lever, energy in changed.items()}


def _outputs(
    network: Network, images: Any, timesteps: int, key: jax.Array | None, batch_size: int = 256
) -> jax.Array:
    starts = batch_starts(len(images), batch_size)
    parts = [
        _batch_outputs(
            network,
            jnp.asarray(images[start : start + batch_size]),
            batch_key(network, key, number),
            timesteps,
        )
        for number, start in enumerate(starts)
    ]
    return jnp.concatenate(parts, axis=1)


@nnx.jit(static_argnames="timesteps")
def _batch_outputs(network: Network, batch: jax.Array, key: jax.Array | None, timesteps: int) -> jax.Array:
    inputs = inputs_of(network.encoding, batch, timesteps)
    return network.outputs(inputs, timesteps=timesteps, key=key)[0]
