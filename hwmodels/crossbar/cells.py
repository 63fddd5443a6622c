"""What a cell conducts: laws of the current from its row node to its column node.

Conductances G are those at small signal, of the resistor of a 1T1R cell; voltages in volt, currents in
ampere.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hwmodels.ranges import is_concrete, require

Parameter = float | int | Float[Array | np.ndarray, "*#shape"]
"""One for all devices, or an array (..., rows, columns) that broadcasts against their conductances."""

# Halvings of an interval until it has no number inside, and room for Newton's steps between them.
_MOST_STEPS = 200


class Slopes(NamedTuple):
    """Cells at given node voltages: i, ∂i/∂(row node's voltage) and −∂i/∂(column node's voltage)."""

    current: Array
    above: Array
    below: Array


class Cell(eqx.Module):
    """A law `i(G, u, v)` of the current from a row node at u to a column node at v, both against ground.

    It must rise with u and fall with v, so that a tile has one solution, be differentiable, and carry nothing
    for G = 0. Parameters are one for all devices or arrays of shape (..., rows, columns).
    """

    @abstractmethod
    def between(
        self, G: Float[Array, "*shape"], above: Float[Array, "*shape"], below: Float[Array, "*shape"]
    ) -> Float[Array, "*shape"]:
        """The currents, in ampere, of cells between row nodes and column nodes."""

    @abstractmethod
    def slopes(
        self, G: Float[Array, "*shape"], above: Float[Array, "*shape"], below: Float[Array, "*shape"]
    ) -> Slopes:
        """The currents and their derivatives to both voltages."""

    def in_range(self) -> Any:
        """Whether all parameters are in their range; False or NaN makes solutions NaN."""
        return True


class TwoTerminal(Cell):
    """A law `i(G, v)` of the voltage across the cell alone; it rises with v and passes through the origin."""

    @abstractmethod
    def current(self, G: Float[Array, "*shape"], v: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The current in ampere for the voltage `v` across the cell."""

    def between(self, G, above, below):
        """The currents, in ampere, of cells between row nodes and column nodes."""
        return self.current(G, above - below)

    def slopes(self, G, above, below):
        """The currents and their derivatives to both voltages."""
        drop = above - below
        current, slope = jax.jvp(lambda v: self.current(G, v), (drop,), (jnp.ones_like(drop),))
        return Slopes(current, slope, slope)


class Linear(TwoTerminal):
    """A resistor: `i = G·v`."""

    def current(self, G, v):
        """The current in ampere for the voltage `v` across the cell."""
        return G * v


class Sinh(TwoTerminal):
    """`i = G·v0·sinh(v/v0)`: hopping or tunnelling, Ohmic for |v| ≪ v0.

    **Arguments:** `v0`: volt, above zero.

    **Raises:** `ValueError` for a `v0` that is not above zero.
    """

    v0: Parameter = 0.25

    def __check_init__(self):
        require(
            np.greater, "Sinh.v0 is the voltage scale of the law and must be above {1}, got {0}.", self.v0, 0
        )

    def in_range(self):
        """Whether `v0` is above zero."""
        return jnp.all(jnp.asarray(self.v0) > 0)

    def current(self, G, v):
        """The current in ampere for the voltage `v` across the cell."""
        return G * self.v0 * jnp.sinh(v / self.v0)


class Cubic(TwoTerminal):
    """`i = G·(v + beta·v³)`.

    **Arguments:** `beta`: per square volt, zero or more: below zero the law would not rise everywhere.

    **Raises:** `ValueError` for a negative `beta`.
    """

    beta: Parameter = 0.5

    def __check_init__(self):
        message = (
            "Cubic.beta must be {1} or more: below, the law falls at high voltage and a tile may have many "
            "solutions; got {0}."
        )
        require(np.greater_equal, message, self.beta, 0)

    def in_range(self):
        """Whether `beta` is zero or more."""
        return jnp.all(jnp.asarray(self.beta) >= 0)

    def current(self, G, v):
        """The current in ampere for the voltage `v` across the cell."""
        return G * (v + self.beta * v**3)


class Law(TwoTerminal):
    """Any law given as a scalar function.

        Law(lambda G, v, p: G * p["v0"] * jnp.arctan(v / p["v0"]), {"v0": 0.2})

    **Arguments:**

    - `function`: `(G, v, parameters) -> i`, of scalars in siemens and volt to ampere, made of `jax.numpy`;
      without parameters `(G, v) -> i`. It must rise with v and pass through the origin.
    - `parameters`: a pytree of parameters, to which solutions are differentiable.

    **Raises:** `ValueError` where it is used, for a law that falls or misses the origin.
    """

    function: Callable[..., Any] = eqx.field(static=True)
    parameters: Any = None

    def current(self, G, v):
        """The current in ampere for the voltage `v` across the cell."""
        leaves, tree = jax.tree.flatten(self.parameters)
        leaves = [jnp.asarray(leaf).astype(v.dtype) for leaf in leaves]

        def scalar(G, v, *leaves):
            arguments = (jax.tree.unflatten(tree, leaves),) if leaves else ()
            return jnp.asarray(self.function(G, v, *arguments)).astype(v.dtype)

        return jnp.vectorize(scalar)(G, v, *leaves)


class Series(TwoTerminal):
    """A law with an access resistance in series: `i = law(G, v − ohm·i)`; `i = G·v/(1 + ohm·G)` by default.

    The voltage across the law is found in each cell by Newton's method between bounds.

    **Arguments:** `ohm`: zero or more. `law`: any two-terminal cell; default a resistor G.

    **Raises:** `ValueError` for a negative resistance, and for a `law` that is no two-terminal cell.
    """

    ohm: Parameter = 1e3
    law: TwoTerminal = Linear()

    def __check_init__(self):
        require(np.greater_equal, "Series.ohm is a resistance and must be {1} or more, got {0}.", self.ohm, 0)
        if not isinstance(self.law, TwoTerminal):
            raise ValueError(f"Series.law must be a two-terminal cell, such as Sinh(0.25); got {self.law!r}.")

    def in_range(self):
        """Whether `ohm` is zero or more, and the parameters of the law are in their range."""
        return jnp.all(jnp.asarray(self.ohm) >= 0) & self.law.in_range()

    def current(self, G, v):
        """The current in ampere for the voltage `v` across the cell."""
        if isinstance(self.law, Linear):
            return G * v / (1 + self.ohm * G)
        law = jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(v.dtype), self.law)
        return _in_series(law, G, jnp.asarray(self.ohm).astype(v.dtype), v)


@jax.custom_jvp
def _in_series(law, G, ohm, v):
    return law.current(G, _inner_voltage(law, G, ohm, v))


@_in_series.defjvp
def _in_series_tangent(primals, tangents):
    """With e the voltage across the law: `di = f_v·de + df`, `de = dv − ohm·di − i·dohm`."""
    law, G, ohm, v = primals
    inner = jax.lax.stop_gradient(_inner_voltage(law, G, ohm, v))
    of_law, of_G, of_ohm, of_v = tangents
    current, slope = jax.jvp(lambda e: law.current(G, e), (inner,), (jnp.ones_like(inner),))
    _, direct = jax.jvp(lambda law, G: law.current(G, inner), (law, G), (of_law, of_G))
    return current, (direct + slope * (of_v - current * of_ohm)) / (1 + ohm * slope)


def _inner_voltage(law, G, ohm, v):
    """e with `e + ohm·law(G, e) = v`: it lies between zero and v."""

    def unsolved(state):
        step, _, _, _, moved = state
        return (step < _MOST_STEPS) & jnp.any(moved)

    def iterate(state):
        step, low, high, inner, _ = state
        current, slope = jax.jvp(lambda e: law.current(G, e), (inner,), (jnp.ones_like(inner),))
        excess = inner + ohm * current - v
        too_far = excess > 0
        low, high = jnp.where(too_far, low, inner), jnp.where(too_far, inner, high)
        newton = inner - excess / (1 + ohm * slope)
        middle = (low + high) / 2
        # Every other step halves, lest Newton's creep along an exponential.
        use = (newton >= low) & (newton <= high) & (step % 3 < 2)
        found = jnp.where(use, newton, middle)
        found = jnp.where(excess == 0, inner, found)
        tiny = 2 * jnp.finfo(v.dtype).eps * jnp.abs(v)
        moved = (jnp.abs(found - inner) > tiny) & (high - low > tiny)
        return step + 1, low, high, found, moved

    zero = jnp.zeros_like(v)
    start = (0, jnp.minimum(v, zero), jnp.maximum(v, zero), v / 2, jnp.ones(v.shape, bool))
    return jax.lax.while_loop(unsolved, iterate, start)[3]


class Transistor(Cell):
    """A 1T1R cell: the resistor G, then an NMOS on the column side, its gate at `vg` and bulk at ground.

    Level 1 of SPICE without channel-length modulation, body effect and junction leakage. Drain and source are
    alike, so with w the voltage of the node between resistor and transistor

        i = G·(u − w) = ψ(v) − ψ(w),   ψ(x) = kp/2 · w_over_l · max(vg − vto − x, 0)²

    holds in triode and in saturation, for either direction of the current; w is the root of a quadratic.

    **Arguments:**

    - `kp`: transconductance parameter, A/V², above zero.
    - `w_over_l`: width over length, above zero.
    - `vto`: threshold voltage, volt.
    - `vg`: gate voltage against ground, volt, above `vto`.

    **Raises:** `ValueError` for `kp` or `w_over_l` not above zero, and for a gate that is not above
    threshold.

    Source: Shichman & Hodges, "Modeling and simulation of insulated-gate field-effect transistor switching
    circuits", IEEE Journal of Solid-State Circuits 3, 1968; ngspice manual, section 11.2 (MOS level 1).
    """

    kp: Parameter = 2e-4
    w_over_l: Parameter = 4.0
    vto: Parameter = 0.4
    vg: Parameter = 1.8

    def __check_init__(self):
        for name, what in (("kp", "transconductance in A/V²"), ("w_over_l", "ratio of width to length")):
            message = f"Transistor.{name} is a {what} and must be above {{1}}, got {{0}}."
            require(np.greater, message, getattr(self, name), 0)
        message = (
            "Transistor.vg must be above the threshold vto, or no cell conducts; got vg={0} V and vto={1} V."
        )
        require(np.greater, message, self.vg, self.vto)

    def in_range(self):
        """Whether `kp` and `w_over_l` are above zero and the gate is above threshold."""
        positive = jnp.all(jnp.asarray(self.kp) > 0) & jnp.all(jnp.asarray(self.w_over_l) > 0)
        return positive & jnp.all(jnp.asarray(self.vg) > jnp.asarray(self.vto))

    def between(self, G, above, below):
        """The currents, in ampere, of cells between row nodes and column nodes."""
        return self._solved(G, above, below)[0]

    def slopes(self, G, above, below):
        """The currents and their derivatives to both voltages."""
        current, K, overdrive, inner, triode = self._solved(G, above, below)
        source = K * jnp.maximum(overdrive - below, 0)
        drain = jnp.where(triode, K * inner, 0)
        whole = G + drain
        share = jnp.where(whole > 0, G / jnp.where(whole > 0, whole, 1), 0)
        return Slopes(current, share * drain, share * source)

    def _solved(self, G, above, below):
        """Currents, K, the overdrive vg − vto, the part of it left between resistor and NMOS, and triode."""
        K, overdrive = self.kp * self.w_over_l, self.vg - self.vto
        at_row = overdrive - above
        at_column = jnp.maximum(overdrive - below, 0)
        saturated_current = K / 2 * at_column**2
        # Of the transistor's row end: zero where the resistor lifts it to where the channel pinches off.
        reach = saturated_current + G * at_row
        triode = reach > 0
        root = jnp.sqrt(jnp.where(triode, G**2 + 2 * K * reach, 1))
        slope = G + K * at_row
        squares = jnp.where(below < overdrive, (above - below) * (at_column + at_row), -(at_row**2))
        # Both are the voltage across the resistor, each where nothing cancels.
        falling = slope > 0
        over = jnp.where(falling, K * squares / jnp.where(falling, slope + root, 1), (root - slope) / K)
        current = jnp.where(triode, G * over, saturated_current)
        return current, K, overdrive, jnp.maximum(at_row + over, 0), triode


def as_cell(cell: Any) -> Cell:
    """A cell from what users give: None is linear, a function `(G, v) -> i` a law."""
    if cell is None:
        return Linear()
    if isinstance(cell, Cell):
        return cell
    if callable(cell) and not isinstance(cell, type):
        return Law(cell)
    raise ValueError(
        f"cell must be None, a cell such as Sinh(v0=0.25), or a function (G, v) -> current; got {cell!r}."
    )


def check_law(cell: Cell, G: Array, greatest_volt: Array, name: str = "cell") -> None:
    """Raises `ValueError` for a user's law that falls between ± the voltage, or misses the origin.

    Looked at for the least and the greatest conductance, on 201 voltages; nothing is checked when traced.
    """
    laws = [cell.law] if isinstance(cell, Series) else [cell]
    if not isinstance(laws[0], Law) or not is_concrete(
        G, greatest_volt, *jax.tree.leaves(laws[0].parameters)
    ):
        return
    law = laws[0]
    if any(jnp.ndim(leaf) for leaf in jax.tree.leaves(law.parameters)):
        return
    used = G[G > 0]
    if not used.size:
        return
    volts = jnp.linspace(-greatest_volt, greatest_volt, 201).astype(G.dtype)[:, None]
    some = jnp.stack([used.min(), used.max()])[None]
    some, volts = jnp.broadcast_arrays(some, volts)
    current, slope = jax.jvp(lambda v: law.current(some, v), (volts,), (jnp.ones_like(volts),))
    if np.any(np.asarray(slope) < 0):
        at = float(volts[np.unravel_index(np.argmin(slope), slope.shape)])
        raise ValueError(
            f"{name} must be a law whose current rises with the voltage, or a tile may have many solutions; "
            f"it falls at {at:.3g} V."
        )
    if np.any(np.abs(np.asarray(current)[100]) > 1e-6 * np.max(np.abs(np.asarray(current)))):
        raise ValueError(
            f"{name} must be a law without current at zero volt; got {float(current[100, 0]):.3g} A."
        )
