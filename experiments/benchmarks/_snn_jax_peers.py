"""The benchmark's network in Spyx and jaxpike; prints one JSON line per measurement.

It imports nothing of this project, so that it can run in an environment of its own.
"""

import importlib.metadata
import json
import resource
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import optax

# CIFAR-10's images, and the channels of 3×3 convolutions, where "P" pools 2×2.
SIDE, CHANNELS = 32, 3
FEATURES: tuple = (64, 64, "P", 128, 128, "P", 256, 256, 256, "P")


def spyx(timesteps):
    import spyx.nn as snn
    from flax import nnx

    rngs = nnx.Rngs(0)
    side, (first, *features) = SIDE, FEATURES

    def conv(channels, count):
        return nnx.Conv(channels, count, (3, 3), use_bias=False, rngs=rngs)

    def lif(*shape):
        return snn.LIF(shape, beta=0.5, rngs=rngs)

    encoder = conv(CHANNELS, first)
    channels, layers = first, [lif(side, side, first)]
    for item in features:
        if item == "P":
            layers.append(partial(nnx.avg_pool, window_shape=(2, 2), strides=(2, 2)))
            side //= 2
        else:
            layers += [conv(channels, item), lif(side, side, item)]
            channels = item
    layers += [snn.Flatten(), nnx.Linear(side * side * channels, 1024, use_bias=False, rngs=rngs), lif(1024)]
    rest = snn.Sequential(*layers, nnx.Linear(1024, 10, use_bias=False, rngs=rngs))
    graphdef, params = nnx.split((encoder, rest))

    def forward(params, x):
        encoder, rest = nnx.merge(graphdef, params)
        current = encoder(x)
        return snn.run(rest, jnp.broadcast_to(current, (timesteps, *current.shape)))[0].mean(0)

    return params, forward


def jaxpike(timesteps):
    import equinox as eqx
    import jaxpike as jp

    keys = iter(jax.random.split(jax.random.key(0), 16))
    side, (first, *features) = SIDE, FEATURES
    # λ = 1/2, as everywhere.
    lif = partial(jp.LIF, float(1 / jnp.log(2)), reset="zero")
    encoder = jp.Conv2d(CHANNELS, first, key=next(keys), use_bias=False)
    channels, layers = first, [lif()]
    for item in features:
        if item == "P":
            layers.append(jp.Pool2d(2))
            side //= 2
        else:
            layers += [jp.Conv2d(channels, item, key=next(keys), use_bias=False), lif()]
            channels = item
    layers += [jp.Flatten(), jp.Dense(side * side * channels, 1024, key=next(keys), use_bias=False), lif()]
    rest = jp.Sequential(*layers, jp.Dense(1024, 10, key=next(keys), use_bias=False))
    params, static = eqx.partition((encoder, rest), eqx.is_inexact_array)

    def forward(params, x):
        encoder, rest = eqx.combine(params, static)
        _, current = encoder(None, x)
        return jp.unroll(rest, jnp.broadcast_to(current, (timesteps, *current.shape)))[0].mean(0)

    return params, forward


def measure(name, timesteps, batch, repeats):
    params, forward = {"spyx": spyx, "jaxpike": jaxpike}[name](timesteps)

    def loss(params, images, labels):
        logits = forward(params, images)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    found = timed(params, jax.value_and_grad(loss), batch, repeats)
    return {"version": importlib.metadata.version(name)} | found


def timed(params, value_and_gradient, batch, repeats, compiler_options=None):
    """Images per second of the best of `repeats` steps of Adam, compile time and peak memory of this process;
    `value_and_gradient(params, images, labels)` is of the loss."""
    images = jax.random.uniform(jax.random.key(1), (batch, SIDE, SIDE, CHANNELS), jnp.float32)
    labels = jax.random.randint(jax.random.key(2), (batch,), 0, 10)
    optimizer = optax.adam(1e-3)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, opt_state, images, labels):
        value, gradient = value_and_gradient(params, images, labels)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    opt_state = optimizer.init(params)
    began = time.perf_counter()
    compiled = step.lower(params, opt_state, images, labels).compile(compiler_options)
    compile_s = time.perf_counter() - began
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        params, opt_state, value = compiled(params, opt_state, images, labels)
        value.block_until_ready()
        seconds.append(time.perf_counter() - began)
    return {
        "images_per_s": round(batch / min(seconds[1:]), 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "compile_s": round(compile_s, 1),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[3:6]))))
