r"""How long a tile takes to settle, and what it delivers when it is read before it has.

Every row node and every column node has a capacitor to ground, and every device one across it. When all
sources step from zero at t = 0, the currents into the sense resistors are $I(t) = G_\mathrm{eff}(t)^\top V$:
the network is linear, so a read at time t is a matrix too, and what devices, wires and time do to it is one
function.
"""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hwmodels.crossbar import _rc
from hwmodels.crossbar._inverse import with_exact_products
from hwmodels.crossbar.circuit import Wires, checked
from hwmodels.ranges import require, require_traced
from hwmodels.rounding import largest
from hwmodels.workload import Scalar

_INF = float("inf")
_FARAD = "Capacitances.{} is a capacitance in farad, zero or more and finite"
_READ = "Settling.read_s is a time in seconds above zero and finite"
# Pairs of nodes of the contour: an error of 1e-9 of the settled current.
_NODES = 16
# Krylov vectors of the slowest mode.
_VECTORS = 48


def _is_farad(value):
    return (value >= 0) & (value < _INF)


def _is_read(value):
    return (value > 0) & (value < _INF)


class Capacitances(eqx.Module):
    """The parasitic capacitors of a tile.

    **Arguments:** in farad each, zero or more.

    - `row_farad`, `column_farad`: from each row node and each column node to ground: one segment of wire and
      what hangs on it.
    - `device_farad`: across each device.

    **Raises:** `ValueError` for a capacitance that is negative, NaN or infinite; traced values, when used.

    Defaults are estimates, not measurements: wires of 0.2 fF/µm (Ho, Mai & Horowitz, "The future of wires",
    Proceedings of the IEEE 89, 2001, table I and figure 3) at a pitch of 0.5 µm, and a plate capacitor of
    40 nm × 40 nm with 5 nm of HfO₂ (relative permittivity 25).
    """

    row_farad: Scalar = 0.1e-15
    column_farad: Scalar = 0.1e-15
    device_farad: Scalar = 0.07e-15

    def __check_init__(self):
        for field in dataclasses.fields(self):
            require(_is_farad, _FARAD.format(field.name) + "; got {}.", getattr(self, field.name))

    def numbers(self, dtype) -> Float[Array, "3"]:
        """Of a row node, a column node and a device; checked also when traced."""
        found = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            number = jnp.asarray(value).astype(dtype)
            found.append(require_traced(number, _is_farad, _FARAD.format(field.name) + ".", value))
        return jnp.stack(found)


class Settling(eqx.Module):
    r"""A read at a time: a `solve=` of [`hwmodels.crossbar.deploy`][], and `Crossbar.settling`.

    `read_s` is the one knob: short reads are fast and wrong, long ones slow and right. Differentiable to it,
    to the capacitances, the wires and the conductances. A 64×64 tile takes some five hundred times as
    long to solve as settled, 0.3 s of one core.

    **Arguments:**

    - `read_s`: time from the step of the sources to the sample, in seconds.
    - `capacitances`: see [`Capacitances`][].

    **Raises:** `ValueError` for a time of zero or less; a traced one, when it is used.
    """

    read_s: Scalar
    capacitances: Capacitances = Capacitances()

    def __check_init__(self):
        require(_is_read, _READ + "; got {}.", self.read_s)

    def __call__(
        self, G: Float[Array, "*batch rows columns"], wires: Wires
    ) -> Float[Array, "*batch rows columns"]:
        return settled_conductance(G, wires, self.capacitances, self.read_s)


def settled_conductance(
    G: Float[Array, "*batch rows columns"], wires: Wires, capacitances: Capacitances, read_s: Scalar
) -> Float[Array, "*batch rows columns"]:
    r"""The matrix that a tile is to its inputs `read_s` seconds after they step from zero.

    The Laplace transform of the step response, $G_\mathrm{eff}(s)/s$, is inverted on a contour around the
    negative axis, where all poles of an RC network lie: 8 complex solutions, error below 1e-8 of
    $G_\mathrm{eff}$ in float64 and 1e-4 in float32.

    **Arguments:** `G`: siemens. `wires`: ohm. `capacitances`: farad. `read_s`: seconds.

    **Returns:** siemens; I(read_s) = G_eff(read_s).T @ V.

    **Raises:** as [`hwmodels.crossbar.effective_conductance`][], [`Capacitances`][] and [`Settling`][].

    **Source:** Trefethen, Weideman & Schmelzer, "Talbot quadratures and rational approximations", BIT 46,
    2006.
    """
    G, resistances = checked(G, wires)
    time = jnp.asarray(read_s).astype(G.dtype)
    time = require_traced(time, _is_read, _READ + ".", read_s)
    tiles = G.reshape(-1, *G.shape[-2:])
    return _inverted(tiles, resistances, capacitances.numbers(G.dtype), time).reshape(G.shape)


@functools.cache
def _contour() -> tuple[np.ndarray, np.ndarray]:
    """z = s·t on the upper half of the contour, and the weights of G_eff(z/t)."""
    angle = np.pi * np.arange(1, _NODES, 2) / _NODES
    a = 0.6407
    z = _NODES * (-0.6122 + 0.5017 * angle / np.tan(a * angle) + 0.2645j * angle)
    slope = _NODES * (0.5017 / np.tan(a * angle) - 0.5017 * a * angle / np.sin(a * angle) ** 2 + 0.2645j)
    return z, 2 / _NODES * np.exp(z) * slope / z


@jax.jit
@with_exact_products
def _inverted(tiles, resistances, capacitances, time):
    dtype = jnp.complex128 if tiles.dtype == jnp.float64 else jnp.complex64
    z, weights = (jnp.asarray(part, dtype) for part in _contour())

    def at_time(G):
        def add(total, node):
            z, weight = node
            found = _rc.sensed(_rc.eliminated(G, resistances, capacitances, z / time.astype(dtype)))
            return total + jnp.imag(weight * found), None

        return jax.lax.scan(jax.checkpoint(add), jnp.zeros_like(G), (z, weights))[0]

    return jax.lax.map(at_time, tiles)


def slowest_time_constant(
    G: Float[Array, "*batch rows columns"], wires: Wires, capacitances: Capacitances
) -> Float[Array, "*batch"]:
    r"""The slowest mode of a tile: the greatest τ of $C\,x = τ\,L\,x$, L the network's conductances, in
    second.

    By the Lanczos process in the inner product of C. Differentiable: $τ$ is stationary in its mode. Where no
    wire has any resistance, nothing settles: τ is zero, without a mode and without a slope.

    **Arguments:** `G`: siemens. `wires`: ohm. `capacitances`: farad.

    **Returns:** τ of each tile, second.

    **Raises:** as [`settled_conductance`][].
    """
    G, resistances = checked(G, wires)
    tiles = G.reshape(-1, *G.shape[-2:])
    return _slowest(tiles, resistances, capacitances.numbers(G.dtype)).reshape(G.shape[:-2])


@jax.jit
@with_exact_products
def _slowest(tiles, resistances, capacitances):
    # In units of their sum: squares of attofarads leave float32.
    unit = jnp.sum(capacitances)
    capacitances = capacitances / jnp.where(unit > 0, unit, 1)

    def slowest(G):
        tile = _rc.eliminated(G, resistances, jnp.zeros_like(capacitances), jnp.zeros((), G.dtype))
        mode = _mode(*jax.lax.stop_gradient((tile, capacitances)))
        charge = _charges(mode, capacitances)
        work = jnp.vdot(charge, _relaxed(tile, charge))
        norm = jnp.vdot(mode, charge)
        return unit * work / jnp.where(norm > 0, norm, 1)

    return jax.lax.map(slowest, tiles)


def _mode(tile, capacitances):
    """The slowest mode of voltages, (2, rows, columns): row nodes and column nodes."""
    shape = (2, *tile.devices.shape)
    count = min(_VECTORS, 2 * tile.devices.size)
    dtype = tile.devices.dtype

    def length(x):
        return jnp.sqrt(jnp.maximum(jnp.vdot(x, _charges(x, capacitances)), 0))

    def unit(x, least):
        # What is left when all modes have been found is rounding.
        norm = jnp.where(length(x) > least, length(x), 0)
        return jnp.where(norm > 0, x / jnp.where(norm > 0, norm, 1), 0), norm

    def step(carry, index):
        basis, current = carry
        basis = basis.at[index].set(current)
        following = _relaxed(tile, _charges(current, capacitances))
        alpha = jnp.vdot(following, _charges(current, capacitances))
        # Twice is enough; without it, converged modes come back.
        for _ in range(2):
            overlaps = jnp.tensordot(basis, _charges(following, capacitances), 3)
            following = following - jnp.tensordot(overlaps, basis, 1)
        following, beta = unit(following, least)
        return (basis, following), (alpha, beta)

    even = jnp.ones(shape, dtype)
    relaxed = _relaxed(tile, _charges(even, capacitances))
    first, size = unit(relaxed, 0)
    least = 1e3 * jnp.finfo(dtype).eps * size / jnp.maximum(length(even), jnp.finfo(dtype).tiny)
    start = (jnp.zeros((count, *shape), dtype), first)
    (basis, _), (alpha, beta) = jax.lax.scan(step, start, jnp.arange(count))
    reduced = jnp.diag(alpha) + jnp.diag(beta[:-1], 1) + jnp.diag(beta[:-1], -1)
    _, vectors = jnp.linalg.eigh(reduced)
    return jnp.tensordot(vectors[:, -1], basis, 1)


def _charges(voltages, capacitances):
    """C·x."""
    row, column, device = capacitances
    across = device * (voltages[0] - voltages[1])
    return jnp.stack([row * voltages[0] + across, column * voltages[1] - across])


def _relaxed(tile, charges):
    """L⁻¹·q."""
    return jnp.stack(_rc.settled_by(tile, charges[0], charges[1]))


def elmore_bound(
    G: Float[Array, "*batch rows columns"], wires: Wires, capacitances: Capacitances
) -> Float[Array, "*batch"]:
    r"""An upper bound of the slowest time constant, in second, from one solution.

    $L^{-1}$ has no negative element, so its spectral radius with capacitors to ground is at most the greatest
    row sum $\max_i \sum_j (L^{-1})_{ij} C_j$, the greatest Elmore delay of the network. A capacitor across a
    device counts twice at both its nodes, which bounds it whatever the mode. Its slope is that of the node
    with the greatest delay, of equal ones the first.

    **Arguments:** `G`: siemens. `wires`: ohm. `capacitances`: farad.

    **Returns:** the bound of each tile, second.

    **Raises:** as [`settled_conductance`][].

    **Source:** Elmore, Journal of Applied Physics 19, 1948; Rubinstein, Penfield & Horowitz, IEEE
    Transactions on CAD 2, 1983.
    """
    G, resistances = checked(G, wires)
    tiles = G.reshape(-1, *G.shape[-2:])
    return _elmore(tiles, resistances, capacitances.numbers(G.dtype)).reshape(G.shape[:-2])


@jax.jit
@with_exact_products
def _elmore(tiles, resistances, capacitances):
    row, column, device = capacitances

    def bound(G):
        tile = _rc.eliminated(G, resistances, jnp.zeros_like(capacitances), jnp.zeros((), G.dtype))
        held = jnp.stack([jnp.broadcast_to(farad + 2 * device, G.shape) for farad in (row, column)])
        return largest(_relaxed(tile, held))

    return jax.lax.map(bound, tiles)


def settling_time(
    G: Float[Array, "*batch rows columns"],
    wires: Wires,
    capacitances: Capacitances,
    tolerance: Scalar = 1e-2,
    *,
    bound: bool = False,
) -> Float[Array, "*batch"]:
    """When the slowest mode has fallen to a fraction `tolerance`, in second: `τ·ln(1/tolerance)`.

    **Arguments:**

    - `G`: siemens. `wires`: ohm. `capacitances`: farad.
    - `tolerance`: above 0 and below 1.
    - `bound`: τ by [`elmore_bound`][] and not by [`slowest_time_constant`][].

    **Returns:** that of each tile, second.

    **Raises:** `ValueError` for another tolerance; else as [`settled_conductance`][].
    """
    message = "settling_time.tolerance is a fraction above 0 and below 1, got {}."
    require(lambda fraction: (fraction > 0) & (fraction < 1), message, tolerance)
    constant = (elmore_bound if bound else slowest_time_constant)(G, wires, capacitances)
    return constant * -jnp.log(jnp.asarray(tolerance).astype(constant.dtype))
