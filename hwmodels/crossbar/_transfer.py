"""Many tiles, in chunks, each by the method that suits it, with one derivative for both."""

import jax

from hwmodels.crossbar._chunks import in_chunks
from hwmodels.crossbar._elimination import eliminate, eliminate_adjoint
from hwmodels.crossbar._inverse import with_exact_products
from hwmodels.crossbar._march import adjoint, adjoint_holds, hold, march
from hwmodels.crossbar._row import recurrences

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
    line = recurrences(G, *resistances[:2])
    if G.shape[-1] < _FEWEST_COLUMNS:
        marched = None
        found, current = eliminate(G, resistances, line)
    else:
        marched = hold(G, resistances)
        found, current = jax.lax.cond(marched, march, eliminate, G, resistances, line)
    return found, (G, resistances, line, marched, found, current)


@with_exact_products
def _backward(residuals, cotangent):
    G, resistances, line, marched, found, current = residuals
    arguments = (G, resistances, line, found, current, cotangent)
    if marched is None:
        return eliminate_adjoint(*arguments)
    return jax.lax.cond(marched & adjoint_holds(G, resistances), adjoint, eliminate_adjoint, *arguments)


_solve.defvjp(_forward, _backward)
