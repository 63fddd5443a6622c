"""The wires of tiles as operators on the cells' currents, fields (rows, columns, vectors).

Row wires lower the voltage of the row nodes to `u = V − Z_row·i`, column wires lift that of the column nodes
to `v = Z_column·i`. A wire is a chain, so `I + load·Z` is solved along it in two sweeps, all terms positive:
zero resistances and open devices need no care.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Field = Float[Array, "rows columns vectors"]


def row_drop(current: Field, resistances: Float[Array, "4"]) -> Field:
    """`Z_row·i`: how far below its source each row node is, in volt."""
    driver, row, _, _ = resistances
    place = jnp.arange(current.shape[1])
    shared = jnp.minimum(place[:, None], place).astype(current.dtype)
    return jnp.einsum("jk,ikb->ijb", driver + row * shared, current)


def column_lift(current: Field, resistances: Float[Array, "4"]) -> Field:
    """`Z_column·i`: how far above ground each column node is, in volt."""
    _, _, column, sense = resistances
    place = jnp.arange(len(current))[::-1]
    shared = jnp.minimum(place[:, None], place).astype(current.dtype)
    return jnp.einsum("ik,kjb->ijb", sense + column * shared, current)


def row_miss(
    volts: Float[Array, "rows 1 vectors"], current: Field, above: Field, resistances: Float[Array, "4"]
) -> Field:
    """`V − Z_row·i − u`: by how much row nodes at u are too low, all digits of what is left."""
    if current.dtype != jnp.float32:
        return volts - row_drop(current, resistances) - above
    driver, row, _, _ = resistances
    high, low = _in_rows((current, jnp.zeros_like(current)), driver, row)
    rest, lost = two_sum(volts, -high)
    rest, more = two_sum(rest, -above)
    return rest + (lost + more - low)


def column_miss(current: Field, below: Field, resistances: Float[Array, "4"]) -> Field:
    """`Z_column·i − v`: by how much column nodes at v are too low, all digits of what is left."""
    if current.dtype != jnp.float32:
        return column_lift(current, resistances) - below
    _, _, column, sense = resistances
    high, low = _in_columns((current, jnp.zeros_like(current)), sense, column)
    rest, lost = two_sum(high, -below)
    return rest + (lost + low)


def column_sum(current: Field, rest: Field) -> Float[Array, "columns vectors"]:
    """The currents at the ends of the columns, each the sum of two, all digits where large ones cancel."""
    none = jnp.zeros_like(current[0])
    (high, low), _ = jax.lax.scan(
        lambda total, here: (_more(total, *here), None), (none, none), (current, rest)
    )
    return high + low


def network_miss(
    goal: Field,
    found: tuple[Field, Field],
    loads: tuple[Field, Field],
    resistances: Float[Array, "4"],
    *,
    transposed: bool,
) -> Field:
    """`goal − (I + A·Z_row + C·Z_column)·x`, or of the transposed matrix, all digits of what is left.

    `found` is x as a number and what it lacks, `loads` are A and C.
    """
    driver, row, column, sense = resistances
    total = two_sum(goal, -found[0])
    total = total[0], total[1] - found[1]
    for load, along in (
        (loads[0], lambda pair: _in_rows(pair, driver, row)),
        (loads[1], lambda pair: _in_columns(pair, sense, column)),
    ):
        high, low = along(_times(load, found)) if transposed else _times(load, along(found))
        total = _more(total, -high, -low)
    return total[0] + total[1]


def _in_rows(current, driver, row):
    """Sums of `Z_row·i`."""
    high, low = _drops(tuple(jnp.swapaxes(part, 0, 1) for part in current), driver, row)
    return jnp.swapaxes(high, 0, 1), jnp.swapaxes(low, 0, 1)


def _in_columns(current, sense, column):
    """Sums of `Z_column·i`."""
    high, low = _drops(tuple(part[::-1] for part in current), sense, column)
    return high[::-1], low[::-1]


def _drops(current, terminal, segment):
    """Along lines of axis 0, which begin at the terminal: the voltage lost up to each node.

    Both are sums of a number and what it lacks.
    """
    first = jnp.zeros_like(current[0][0])
    none = first, first
    ohm = jnp.full(len(current[0]), segment).at[0].set(terminal)

    def gather(beyond, here):
        total = _more(beyond, *here)
        return total, total

    def spread(before, node):
        ohm, through = node
        total = _more(before, *_times(ohm, through))
        return total, total

    _, gathered = jax.lax.scan(gather, none, current, reverse=True)
    return jax.lax.scan(spread, none, (ohm, gathered))[1]


def _times(factor, pair):
    """A product and what rounding took of it (Dekker, Numerische Mathematik 18, 1971)."""
    high, low = pair
    found = factor * high
    (a, b), (c, d) = _halves(factor), _halves(high)
    return found, ((a * c - found) + a * d + b * c) + b * d + factor * low


def _halves(number):
    """A number as the sum of two of half its digits."""
    digits = jnp.finfo(number.dtype).nmant + 1
    large = number * (2.0 ** (digits - digits // 2) + 1)
    high = large - (large - number)
    return high, number - high


def _more(total, high, low):
    """A sum and what rounding took of it, with a further term."""
    rest, lost = total
    found, more = two_sum(rest, high)
    return found, lost + more + low


def two_sum(a, b):
    """The rounded sum and its error (Knuth, The Art of Computer Programming 2, section 4.2.2)."""
    found = a + b
    part = found - a
    return found, (a - (found - part)) + (b - part)


class Lines(NamedTuple):
    """Wires with loads from each node to ground, eliminated.

    - `keep`: the share of a voltage before each segment that reaches its node; the line is axis 0.
    - `ohm`: of each segment, the terminal's first.
    - `rows`: whether these are row wires, which begin at the first column; column wires begin below the last
      row.
    """

    keep: Float[Array, "nodes lines vectors"]
    ohm: Float[Array, "nodes 1 1"]
    rows: bool

    def potential(self, injected: Field) -> Field:
        """The voltages that currents injected into the nodes cause: `Z·(I + load·Z)⁻¹·i`."""
        injected = jnp.swapaxes(injected, 0, 1) if self.rows else injected

        def gather(beyond, node):
            keep, here = node
            here = here + beyond
            return keep * here, here

        def spread(before, node):
            keep, rise = node
            here = keep * (before + rise)
            return here, here

        none = jnp.zeros_like(injected[0])
        _, gathered = jax.lax.scan(gather, none, (self.keep, injected), reverse=self.rows)
        _, found = jax.lax.scan(spread, none, (self.keep, self.ohm * gathered), reverse=not self.rows)
        return jnp.swapaxes(found, 0, 1) if self.rows else found


def lines(load: Field, terminal: Float[Array, ""], segment: Float[Array, ""], *, rows: bool) -> Lines:
    """The row or column wires with these conductances from their nodes to ground."""
    load = jnp.swapaxes(load, 0, 1) if rows else load
    first = 0 if rows else len(load) - 1
    ohm = jnp.full((len(load), 1, 1), segment).at[first].set(terminal)

    def back(beyond, node):
        here, ohm = node
        seen = here + beyond
        keep = 1 / (1 + ohm * seen)
        return seen * keep, keep

    _, keep = jax.lax.scan(back, jnp.zeros_like(load[0]), (load, ohm), reverse=rows)
    return Lines(keep, ohm, rows)
