#!/usr/bin/env bash
# Spyx 1.0.0: the loss mse_spikerate compares a firing rate with a number of spikes.
#
# It is documented as the mean squared error of the mean spike rate, with `sparsity` as the share of the time that the
# wanted neuron should spike. So a good guess is that the loss is smallest, zero, where the neuron of the right class
# spikes in that share of the steps and the others are silent, whatever the number of steps.
#
# But the outputs are averaged over time, while the target is the share times the number of steps. With 100 steps and
# a share of 0.25, the target is a mean of 25 spikes a step, where a neuron can have one at most: the loss falls all the
# way to a neuron that spikes in every step, and most of it is a constant that no network can remove. For the same rates
# it grows about as the square of the number of steps. Only with a single step does it do what it says.
#
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "spyx==1.0.0" "jax==0.10.2" "jaxlib==0.10.2" "flax==0.12.8" "optax==0.2.8" "grain==0.2.18" "nir==1.0.8" "numpy==2.4.6" 2>/dev/null
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
import spyx.fn

print("spyx", version("spyx"), "jax", jax.__version__)
share, target = 0.25, jnp.array([1])
loss = spyx.fn.mse_spikerate(sparsity=share)


def of_rate(rate, steps):
    spikes = np.zeros((1, steps, 2), dtype=np.float32)  # (batch, time, classes), class 0 is silent
    spikes[0, : round(rate * steps), 1] = 1
    return float(loss(jnp.array(spikes), target))


rates = (0.0, 0.25, 0.5, 1.0)
best = {}
for steps in (4, 20, 100):
    losses = [of_rate(rate, steps) for rate in rates]
    best[steps] = rates[int(np.argmin(losses))]
    print(f"{steps:3d} steps:", ", ".join(f"rate {rate}: {value:.4f}" for rate, value in zip(rates, losses)))
gradient = jax.grad(lambda x: loss(x, target))(jnp.array(np.repeat([[0.0, share]], 100, 0)[None], dtype=jnp.float32))
print("at the wanted rate, 100 steps: slope of the loss by the spikes of the right class", float(gradient[0, 0, 1]))
as_said = set(best.values()) == {1.0} and float(gradient[0, 0, 1]) < -0.1
raise SystemExit(0 if as_said else 1)
PYTHON
