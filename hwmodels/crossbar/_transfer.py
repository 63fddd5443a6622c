"""Many tiles, in chunks, each by the method that suits it, with one derivative for both."""

from functools import partial

import jax
import jax.numpy as jnp

from hwmodels.checks import is_traced
from hwmodels.crossbar._chunks import in_chunks
from hwmodels.crossbar._elimination import eliminate, eliminate_adjoint
from hwmodels.crossbar._inverse import with_exact_products
from hwmodels.crossbar._linear_map import linear_map
from hwmodels.crossbar._march import adjoint, adjoint_holds, hold, march
from hwmodels.crossbar._row import recurrences

# Narrower tiles are eliminated in no time.
_FEWEST_COLUMNS = 24


@jax.custom_jvp
def transfer(G, resistances):
    """Row voltages to sense currents: G_eff of tiles (tiles, rows, columns).

    `resistances` are finite: driver, row, column, sense. Where the values are known and every tile can be
    marched, the elimination is not even compiled.
    """
    return _solved(G, resistances, _all(_marched, G, resistances))[0]


@transfer.defjvp
def _tangent(circuit, tangents):
    found, saved = _solved(*circuit, _all(_marched, *circuit))
    back = _marched_adjoint if _all(_marched_back, *circuit) else _any_adjoint
    return found, linear_map(_along, back, (*circuit, found, *saved), tangents, found)


def _all(test, G, resistances):
    """Whether it is known that the test holds for all tiles."""
    known = not is_traced(G) and not is_traced(resistances)
    return known and G.size > 0 and G.shape[-1] >= _FEWEST_COLUMNS and bool(test(G, resistances))


_marched = jax.jit(hold)


@jax.jit
def _marched_back(G, resistances):
    return hold(G, resistances) & jax.vmap(adjoint_holds, (0, None))(G, resistances).all()


# Under `jit` here, for callers that are not: the loops would be compiled anew in each call.
@partial(jax.jit, static_argnums=2)
@with_exact_products
def _solved(G, resistances, marched):
    def chunk(G):
        line = recurrences(G, *resistances[:2])
        if marched:
            holds = True
            found, current = march(G, resistances, line)
        elif G.shape[-1] < _FEWEST_COLUMNS:
            holds = False
            found, current = eliminate(G, resistances, line)
        else:
            holds = hold(G, resistances)
            found, current = jax.lax.cond(holds, march, eliminate, G, resistances, line)
        line = jax.tree.map(lambda part: jnp.moveaxis(part, -1, 0), line)
        return found, (current, line, jnp.full(len(G), holds))

    return in_chunks(chunk, (G,))


@jax.jit
@with_exact_products
def _along(saved, tangents):
    """The derivative of the solver itself."""
    G, resistances, *_ = saved
    return jax.jvp(lambda *circuit: _solved(*circuit, False)[0], (G, resistances), tangents)[1]


@with_exact_products
def _adjoint(marched, saved, cotangent):
    G, resistances, *rest = saved

    def chunk(G, found, current, line, holds, cotangent):
        line = jax.tree.map(lambda part: jnp.moveaxis(part, 0, -1), line)
        arguments = (G, resistances, line, found, current, cotangent)
        if marched:
            by_G, by_resistances = adjoint(*arguments)
        elif G.shape[-1] < _FEWEST_COLUMNS:
            by_G, by_resistances = eliminate_adjoint(*arguments)
        else:
            holds = holds.all() & adjoint_holds(G, resistances)
            by_G, by_resistances = jax.lax.cond(holds, adjoint, eliminate_adjoint, *arguments)
        # Summed over the chunks, each with an axis of tiles.
        return by_G, jnp.zeros((len(G), 4), G.dtype).at[0].set(by_resistances)

    by_G, by_resistances = in_chunks(chunk, (G, *rest), (cotangent,))
    return by_G, by_resistances.sum(0)


# One object each: JAX keeps what it compiled for a function by its identity.
_marched_adjoint = jax.jit(partial(_adjoint, True))
_any_adjoint = jax.jit(partial(_adjoint, False))
