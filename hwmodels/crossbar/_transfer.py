"""Many tiles, in chunks, each by the method that suits it, with one derivative for both."""

import jax
import jax.numpy as jnp

from hwmodels.crossbar._chunks import in_chunks
from hwmodels.crossbar._elimination import eliminate
from hwmodels.crossbar._inverse import with_exact_products
from hwmodels.crossbar._march import adjoint, adjoint_holds, hold, march

# Narrower tiles are eliminated in no time.
_FEWEST_COLUMNS = 24


@jax.jit
def transfer(G, resistances):
    """Row voltages to sense currents: G_eff of tiles (tiles, rows, columns).

    `resistances` are finite: driver, row, column, sense. Under `jit` here, for callers that are not: the
    loops would be compiled anew in each call.
    """
    return in_chunks(lambda chunk: _solve(chunk, resistances), G)


@jax.custom_vjp
def _solve(G, resistances):
    return _forward(G, resistances)[0]


@with_exact_products
def _forward(G, resistances):
    if G.shape[-1] < _FEWEST_COLUMNS:
        return eliminate(G, resistances), (G, resistances, None, None, None)

    def thoroughly(G, resistances):
        _, current = jax.eval_shape(march, G, resistances)
        return eliminate(G, resistances), jnp.zeros(current.shape, current.dtype)

    marched = hold(G, resistances)
    found, current = jax.lax.cond(marched, march, thoroughly, G, resistances)
    return found, (G, resistances, marched, found, current)


@with_exact_products
def _backward(residuals, cotangent):
    G, resistances, marched, found, current = residuals

    def thoroughly(G, resistances, _found, _current, cotangent):
        # Eliminated again: fetching its many parts would take as long.
        return jax.vjp(eliminate, G, resistances)[1](cotangent)

    arguments = (G, resistances, found, current, cotangent)
    if current is None:
        return thoroughly(*arguments)
    return jax.lax.cond(marched & adjoint_holds(G, resistances), adjoint, thoroughly, *arguments)


_solve.defvjp(_forward, _backward)
