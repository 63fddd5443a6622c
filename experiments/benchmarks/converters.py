"""A spiking VGG9 behind converters of 6 bits, beside an older build: time over XLA's convolution, and memory.

What bounds it is measured with it. A weight is a differential pair, so the tiles multiply twice as often as a
convolution does, in products of 64 rows whose every current is rounded by itself: no algorithm that mixes
sums, such as Winograd's, is left. So the rate of such products says the least time.
"""

import json
from pathlib import Path
from typing import Any

from experiments.benchmarks._builds import beside_older, python

WIDTH = 1.0
BATCH = 16
TIMESTEPS = 5
ROUNDS = 2

_SCRIPT = """
import json, sys, time
from functools import partial
import jax, jax.numpy as jnp
from flax import nnx
from hwmodels.crossbar import Converters, Crossbar, Device, Variation
from jaxsnn.convolution import convolve_by_xla
from jaxsnn.layers import Conv
from jaxsnn.models.vgg import vgg9
from jaxsnn.neuron import LIF

width, batch, timesteps = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
network = vgg9(image_size=32, in_channels=3, width=width, neuron=partial(LIF, leak=0.5), rngs=nnx.Rngs(0))
crossbar, converters = Crossbar(device=Device(variation=Variation(0.1))), Converters(adc_bits=6)
# Circuits without wires: their solution is not what is measured.
free = lambda G, wires: G
try:
    from jaxsnn.codesign.program import program
    from hwmodels.chip import Analog
    design = Analog(crossbar, converters, converters)
    on_chip = lambda one: program(one, design, jax.random.key(1), solve=free)
except ImportError:
    from experiments.chip_training import programmed
    on_chip = lambda one: programmed(one, crossbar, jax.random.key(1), converters=converters, solve=free)
by_xla = nnx.clone(network)
for _, layer in nnx.iter_graph(by_xla):
    if isinstance(layer, Conv):
        layer.product = convolve_by_xla
images = jax.random.uniform(jax.random.key(2), (batch, 32, 32, 3), jnp.float32)

def least(function, *arguments):
    jax.block_until_ready(function(*arguments))
    took = []
    for _ in range(5):
        began = time.process_time()
        jax.block_until_ready(function(*arguments))
        took.append(time.process_time() - began)
    return min(took)

def compiled(network):
    graph, state = nnx.split(network)
    run = jax.jit(lambda state, images: nnx.merge(graph, state)(images, timesteps=timesteps)[0])
    return run.lower(state, images).compile(), state

def mib(program):
    return program.memory_analysis().temp_size_in_bytes / 2**20

found = {}
xla, state = compiled(by_xla)
by_convolution = least(xla, state, images)
chip, state = compiled(on_chip(network))
found["evaluation over XLA's convolution"] = least(chip, state, images) / by_convolution
found["evaluation, temporary MiB"] = mib(chip)
graph, params, rest = nnx.split(network, nnx.Param, ...)

def loss(params):
    return jnp.sum(on_chip(nnx.merge(graph, params, rest, copy=True))(images, timesteps=timesteps)[0] ** 2)

gradient = jax.jit(jax.grad(loss)).lower(params).compile()
found["gradient of the weights, temporary MiB"] = mib(gradient)
found["gradient of the weights, s"] = least(gradient, params)

# The products alone: blocks of 64 rows, as many columns as two for each of 64 outputs.
vectors, effective = jnp.ones((1024, 64)), jnp.ones((9, 64, 128))

@jax.jit
def products(vectors, effective):
    def read(total, block):
        return total + vectors @ block, None
    return jax.lax.scan(read, jnp.zeros((1024, 128)), jnp.concatenate([effective] * 20))[0]

took = least(products, vectors, effective)
found["s for 1e9 operations of such products"] = took / (2 * 1024 * 64 * 128 * 180 / 1e9)
shape = (batch * timesteps, 32, 32, 64)
x, kernel = jnp.ones(shape), jnp.ones((3, 3, 64, 64))
took = least(jax.jit(lambda x, kernel: convolve_by_xla(x, kernel, (1, 1), (1, 1))), x, kernel)
found["s for 1e9 operations of XLA's convolution"] = took / (2 * x.size * 9 * 64 / 1e9)
print(json.dumps(found))
"""


def run(rounds: int = ROUNDS, width: float = WIDTH) -> dict[str, Any]:
    """Both builds, and the ratio of this one to the older one."""
    found = beside_older(lambda build, _: _measured(build, width), rounds)
    of_this = {row["what"]: row["this"] for row in found["rows"]}
    rates = "s for 1e9 operations of such products", "s for 1e9 operations of XLA's convolution"
    bound = 2 * of_this[rates[0]] / of_this[rates[1]]
    notes = [
        f"Older: {found['builds']['older']}. This: {found['builds']['this']}.",
        f"VGG9 of width {width:g} for 32×32×3, batch {BATCH}, T = {TIMESTEPS}, float32, differential pairs "
        "on 64×64 without wires; processor time.",
        f"Twice the operations of a convolution at the rate of products of 64 rows take {bound:.2f} times as "
        "long as XLA's convolution: no less is possible without other arithmetic.",
    ]
    return {"title": "A VGG9 behind converters", **found, "notes": notes, "bound_over_xla": bound}


def _measured(build: Path, width: float) -> dict[str, float]:
    return json.loads(python(build, _SCRIPT, str(width), str(BATCH), str(TIMESTEPS)))
