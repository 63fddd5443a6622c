"""What bounds the exact solution of crossbars: what a march needs, at the rates that this machine reaches.

A march (`hwmodels.crossbar._march`) takes some tiles that stay in a core's cache through one row after the
other. Each row is a few small matrix products and passes over the fields, and each of these is a piece of
compiled code (a kernel) that has to be started. So three times bound it, one after the other: the operations
of the products at the rate that products of these shapes reach, the passes at the rate of the cache, and the
starts. All rates are measured here, in loops like the march's, beside the march itself.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from experiments.timing import in_turns
from hwmodels.crossbar import Wires, effective_conductance
from hwmodels.crossbar._chunks import _CHUNK_BYTES
from hwmodels.crossbar._march import _BLOCK

SIDE = 64
TILES = 256
REPEATS = 7
# Of each row, as XLA compiles it: fields read or written outside of products, and kernels.
PASSES, KERNELS = 7, 11
_LOOPS = 256


def run(tiles: int = TILES, repeats: int = REPEATS) -> dict[str, Any]:
    """What each part of a march takes at the least, and what the march takes; microseconds per tile."""
    chunk = _CHUNK_BYTES["cpu"] // (4 * SIDE**2)
    blocks = SIDE // _BLOCK
    field = (chunk, blocks, _BLOCK, SIDE)
    products = {
        "within blocks": ((chunk, blocks, _BLOCK, _BLOCK), field),
        "from blocks": ((chunk, blocks, 2, _BLOCK), field),
        "between blocks": ((chunk, 2 * blocks + 1, 2 * blocks), (chunk, 2 * blocks, SIDE)),
    }
    G = jax.random.uniform(jax.random.key(0), (tiles, SIDE, SIDE), jnp.float32, 5e-6, 5e-5)
    wires = jax.tree.map(jnp.float32, Wires())
    forward = jax.jit(effective_conductance)
    both = jax.jit(jax.value_and_grad(lambda G, wires: jnp.sum(effective_conductance(G, wires)), (0, 1)))
    large = jnp.ones((1536, 1536))
    multiply = jax.jit(jnp.matmul)
    timed: dict[str, Callable[[], Any]] = {
        "solved": lambda: forward(G, wires),
        "both": lambda: both(G, wires),
        "large": lambda: multiply(large, large),
        "nothing": _loop(jnp.zeros(())),
        "pass": _loop(jnp.zeros(field)),
    }
    timed |= {name: _loop_of_products(*shapes) for name, shapes in products.items()}
    seconds = in_turns(timed, repeats)
    # The loop's condition and its counter are kernels, too.
    start = seconds["nothing"] / (3 * _LOOPS)
    # It is read once and written once.
    passed = (seconds["pass"] - seconds["nothing"]) / (2 * _LOOPS)
    rows = [_row("large product", 2 * 1536**3 / seconds["large"] / 1e9)]
    least = 0.0
    for name, (left, right) in products.items():
        took = (seconds[name] - seconds["nothing"]) / _LOOPS
        operations = 2 * left[-2] * math.prod(right)
        rows.append(_row(f"products {name}", operations / took / 1e9, took * SIDE / chunk))
        least += took
    rows.append(_row("passes", None, PASSES * passed * SIDE / chunk, 4 * math.prod(field) / passed / 1e9))
    rows.append(_row("starts", None, KERNELS * start * SIDE / chunk))
    bound = (least + PASSES * passed + KERNELS * start) * SIDE / chunk
    solved, derived = seconds["solved"] / tiles, seconds["both"] / tiles
    rows += [_row("together", None, bound), _row("solution", None, solved)]
    rows.append(_row("solution and gradient", None, derived))
    notes = [
        f"{tiles} tiles of {SIDE}×{SIDE}, float32, {chunk} at a time; medians of {repeats} turns, wall time.",
        f"The solution takes {solved / bound:.2f} times what its rows need together, the rest being the "
        f"recurrences of the row wires and the inverse at the end; with its gradient {derived / solved:.2f} "
        "times the solution alone.",
    ]
    return {"title": "What bounds a march", "rows": rows, "notes": notes}


def _row(what: str, gflops: float | None, s: float | None = None, gb: float | None = None) -> dict[str, Any]:
    row = {"what": what, "µs_per_tile": None if s is None else 1e6 * s, "GFLOP/s": gflops, "GB/s": gb}
    return {name: value for name, value in row.items() if value is not None}


def _loop(start: jax.Array) -> Callable[[], Any]:
    """One pass over an array, again and again."""
    run = jax.jit(lambda start: jax.lax.fori_loop(0, _LOOPS, lambda _, state: state * 0.5 + 1, start))
    return lambda: run(start)


def _loop_of_products(left: tuple[int, ...], right: tuple[int, ...]) -> Callable[[], Any]:
    """Products of many matrices with the same fields, one after the other, as the rows of a march are."""
    many, fields = jnp.full((_LOOPS, *left), 1e-3), jnp.ones(right)

    @jax.jit
    def run(many, fields):
        start = jax.eval_shape(jnp.matmul, many[0], fields)
        return jax.lax.scan(lambda _, one: (one @ fields, None), jnp.zeros(start.shape), many)[0]

    return lambda: run(many, fields)
