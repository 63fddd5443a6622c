r"""A tile from what was measured on it: wires, devices, and what the measurements cannot tell.

Column currents under known voltages determine the tile's matrix at most. It has as many numbers as the tile
has devices, so four resistances more cannot be found from it: for any wires there are devices that give the
same currents. What breaks the tie is one of

- reads with a known resistance added to every sense resistor or driver ([`Measurements.added`][]), or
- the conductances that were meant (`targets`), with the spread of programming around them.

The report says which of the four, and which combinations of them, the data at hand determine.
"""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Float

from hwmodels.crossbar.circuit import Wires
from hwmodels.crossbar.device import Device, Variation
from hwmodels.crossbar.mapping import Crossbar
from hwmodels.crossbar.measurements import Measurements
from hwmodels.crossbar.operating_point import operating_point

NAMES = ("driver", "row", "column", "sense")
# In logarithms: no step is longer, and a combination that is looser than this is not determined.
_LONGEST_STEP = 1.0
_LOOSE = 0.1
# Of what no data touch.
_RIDGE = 1e-4


class DeviceFit(eqx.Module):
    """What measurements say of a tile.

    **Arguments:**

    - `wires`: the four resistances, ohm.
    - `conductances`: of the devices, siemens.
    - `device`: the design's device with the range and the variation that the conductances have; the design's
      own without targets.
    - `wire_errors`: relative standard errors of driver, row, column and sense; zero for those not fitted.
    - `conductance_errors`: relative standard errors of the devices.
    - `combinations`: unit vectors in the logarithms of the fitted resistances, shape (fitted, fitted), a row
      each, and `looseness`, their standard errors, greatest first: the spectrum of the Gauss–Newton matrix
      with the devices eliminated; 1 is what was expected without any data.
    - `fitted`: names of the fitted resistances.
    - `residuals`: (measured − found) / noise, shape (reads, columns).
    - `steps`: taken.
    """

    wires: Wires
    conductances: Float[np.ndarray, "rows columns"]
    device: Device
    wire_errors: Float[np.ndarray, "4"]
    conductance_errors: Float[np.ndarray, "rows columns"]
    combinations: Float[np.ndarray, "fitted fitted"]
    looseness: Float[np.ndarray, " fitted"]
    fitted: tuple[str, ...] = eqx.field(static=True)
    residuals: Float[np.ndarray, "reads columns"]
    steps: int = eqx.field(static=True)

    @property
    def chi_squared(self) -> float:
        """The mean squared residual: near 1 where the model and the noise are those of the data."""
        return float(np.mean(self.residuals**2))

    @property
    def identifiable(self) -> dict[str, bool]:
        """Whether the data determine each fitted resistance to 10 % (one standard error)."""
        return {name: bool(self.wire_errors[NAMES.index(name)] < _LOOSE) for name in self.fitted}

    def not_identifiable(self, resistances: float = 0.02, conductances: float = 0.01) -> dict[str, float]:
        """What the data do not determine to these relative standard errors, by name, and to what they do.

        "conductances" stands for their median error.
        """
        errors = {name: float(self.wire_errors[NAMES.index(name)]) for name in self.fitted}
        loose = {name: error for name, error in errors.items() if not error < resistances}
        median = float(np.median(self.conductance_errors))
        return loose if median < conductances else loose | {"conductances": median}

    def report(self, resistances: float = 0.02, conductances: float = 0.01) -> str:
        """What was found, how well, and what cannot be told to which precision, in sentences.

        **Arguments:** `resistances`, `conductances`: relative standard errors that are asked for, of each
        resistance and of the conductances in the median.
        """
        lines = []
        for name in NAMES:
            value, error = float(getattr(self.wires, name)), self.wire_errors[NAMES.index(name)]
            if name not in self.fitted:
                lines.append(f"{name}: {value:.4g} ohm, given.")
            elif error < 0.5:
                lines.append(f"{name}: {value:.4g} ohm ± {100 * error:.2g} %.")
            else:
                lines.append(f"{name}: {value:.4g} ohm, the design's guess: not determined.")
        lines.append(
            f"conductances: median {1e6 * np.median(self.conductances):.4g} µS, median error "
            f"{100 * np.median(self.conductance_errors):.2g} %."
        )
        loose = self.not_identifiable(resistances, conductances)
        for name, error in loose.items():
            asked = conductances if name == "conductances" else resistances
            lines.append(
                f"Not identifiable to {100 * asked:g} % from these data: {name} (± {100 * error:.2g} %)."
            )
        for combination, error in zip(self.combinations, self.looseness, strict=True):
            if error < _LOOSE:
                continue
            parts = [
                f"{weight:+.2f}·ln {name}"
                for name, weight in zip(self.fitted, combination, strict=True)
                if abs(weight) > 0.1
            ]
            lines.append(f"Not identifiable from these data: {' '.join(parts)} (standard error {error:.2g}).")
        lost = int(np.sum(self.conductance_errors > 0.5))
        if lost:
            lines.append(
                f"Not identifiable from these data: {lost} of {self.conductances.size} conductances."
            )
        if loose:
            lines.append(
                "Add reads, also with a known resistance in series with sense resistors or drivers, or give "
                "the conductances that were meant."
            )
        lines.append(f"mean squared residual {self.chi_squared:.3g} noise², after {self.steps} steps.")
        return "\n".join(lines)


def fit_devices(
    measured: Measurements | str | Path,
    crossbar: Crossbar,
    *,
    targets: Float[np.ndarray, "rows columns"] | None = None,
    noise: float = 0.01,
    floor_ampere: float = 0.0,
    fixed: tuple[str, ...] = (),
    max_steps: int = 60,
) -> DeviceFit:
    r"""Wires, per-device conductances and device parameters from measured column currents.

    Least squares in the logarithms of all resistances and conductances by damped Gauss–Newton steps
    (Levenberg, Marquardt). The Jacobian is exact and needs two solved circuits, by Tellegen's theorem:
    $∂I_{mj}/∂G_{ab} = d_{m,ab}\,y_{j,ab}$ with the voltages across device (a, b) in read m and with sense
    resistor j alone at one volt, and $∂I_{mj}/∂R = -\sum i_m\,ı̂_j$ over all wires of one kind. That is why
    the solver is not a library's: those would differentiate the circuit in every direction.

    With `targets`, each conductance is expected at its target with the device's variation; that spread is
    found anew from the fit. Resistances are expected within a factor of e of the design's, which keeps those
    that the data do not determine where they are and moves a resistance known to 2 % by less than a
    thousandth.

    **Arguments:**

    - `measured`: see [`Measurements`][], or the path of a CSV file.
    - `crossbar`: the design: its wires are the first guess, its device's range and variation are what is
      expected.
    - `targets`: siemens, above zero.
    - `noise`: standard error of a current, relative to it.
    - `floor_ampere`: a standard error that every current has besides.
    - `fixed`: names of the resistances that are known; one of zero or infinity is.
    - `max_steps`: at most.

    **Returns:** a [`DeviceFit`][]; its `report()` says what is not identifiable.

    **Raises:** `ValueError` for numbers of rows or columns that are not the design's, noise of zero, unknown
    names, and targets that do not fit.

    **Example:**

        found = fit_devices("tile.csv", Crossbar(16, 16), targets=meant)
        print(found.report())
    """
    if isinstance(measured, str | Path):
        measured = Measurements.from_csv(measured)
    rows, columns = crossbar.rows, crossbar.columns
    if (measured.voltages.shape[1], measured.currents.shape[1]) != (rows, columns):
        raise ValueError(
            f"Crossbar has {rows} rows and {columns} columns, and the measurements "
            f"{measured.voltages.shape[1]} and {measured.currents.shape[1]}."
        )
    if not 0 < noise < float("inf") or not 0 <= floor_ampere < float("inf"):
        raise ValueError(
            f"noise must be above zero and floor_ampere not below, got {noise} and {floor_ampere}."
        )
    if unknown := set(fixed) - set(NAMES):
        raise ValueError(f"fixed names resistances ({', '.join(NAMES)}), got {', '.join(sorted(unknown))}.")
    if targets is not None:
        targets = np.asarray(targets, np.float64)
        if targets.shape != (rows, columns) or not np.all((targets > 0) & np.isfinite(targets)):
            raise ValueError(
                f"targets are conductances above zero in siemens, shape {(rows, columns)}; got shape "
                f"{targets.shape}."
            )
    problem = _Problem(measured, crossbar, targets, noise, floor_ampere, fixed)
    x, steps = _minimised(problem, problem.start(), max_steps)
    return _described(problem, x, steps)


class _Problem:
    """The least-squares problem in x = logarithms of the fitted resistances, then of the conductances."""

    def __init__(self, measured, crossbar, targets, noise, floor_ampere, fixed):
        self.measured, self.crossbar, self.targets = measured, crossbar, targets
        self.given = np.array([float(getattr(crossbar.wires, name)) for name in NAMES])
        known = (self.given == 0) | np.isinf(self.given) | np.isin(NAMES, fixed)
        self.free = np.flatnonzero(~known)
        self.noise = np.hypot(noise * np.abs(measured.currents), floor_ampere)
        # A current of exactly zero is known no better than the smallest other one.
        least = noise * np.min(np.abs(measured.currents), initial=np.inf, where=measured.currents != 0)
        self.noise = np.maximum(self.noise, least if np.isfinite(least) else 1e-30)
        variation = crossbar.device.variation
        self.spread = float(variation.sigma) if isinstance(variation, Variation) else 0.1
        self.spread = max(self.spread, 1e-3)
        self.loads = np.unique(measured.added, axis=0)

    def start(self):
        if self.targets is not None:
            G = self.targets
        else:
            # What the columns seem to conduct, as if no wire were there, and what they would at least.
            seen, *_ = np.linalg.lstsq(self.measured.voltages, self.measured.currents, rcond=None)
            low, high = (float(limit) for limit in self.crossbar.device.limits(jnp.float32))
            G = np.clip(seen, max(low, 0.02 * high), high)
        return np.concatenate([np.log(self.given[self.free]), np.log(G).ravel()])

    def unpacked(self, x):
        wires = self.given.copy()
        wires[self.free] = np.exp(x[: len(self.free)])
        shape = (self.crossbar.rows, self.crossbar.columns)
        return wires, np.exp(x[len(self.free) :]).reshape(shape)

    def evaluate(self, x, curvature=True):
        """Cost, residuals, gradient and Gauss–Newton matrix."""
        wires, G = self.unpacked(x)
        residuals = np.empty_like(self.measured.currents)
        size = len(x)
        gradient, matrix = np.zeros(size), np.zeros((size, size) if curvature else (0, 0))
        for load in self.loads:
            chosen = np.all(self.measured.added == load, axis=1)
            volts, noise = self.measured.voltages[chosen], self.noise[chosen]
            currents, across, carried, adjoint_across, adjoint_carried = _fields(G, volts, wires + load)
            residuals[chosen] = (currents - self.measured.currents[chosen]) / noise
            if not curvature:
                continue
            slopes = np.concatenate(
                [
                    _of_wires(carried, adjoint_carried)[..., self.free] * wires[self.free],
                    np.einsum("mab,jab,ab->mjab", across, adjoint_across, G).reshape(*currents.shape, -1),
                ],
                axis=-1,
            )
            slopes = (slopes / noise[..., None]).reshape(-1, size)
            gradient += slopes.T @ residuals[chosen].ravel()
            matrix += slopes.T @ slopes
        cost = 0.5 * np.sum(residuals**2)
        off = x[: len(self.free)] - np.log(self.given[self.free])
        cost += 0.5 * np.sum(off**2)
        gradient[: len(self.free)] += off
        if curvature:
            matrix[np.arange(len(self.free)), np.arange(len(self.free))] += 1
        if self.targets is not None:
            # Of a mean of one, so below zero in logarithms.
            off = (x[len(self.free) :] - np.log(self.targets).ravel() + self.spread**2 / 2) / self.spread
            cost += 0.5 * np.sum(off**2)
            gradient[len(self.free) :] += off / self.spread
            if curvature:
                matrix[np.arange(len(self.free), size), np.arange(len(self.free), size)] += self.spread**-2
        return cost, residuals, gradient, matrix


def _fields(G, volts, wires):
    """Currents, and of every read and every sense resistor the voltages across devices and their currents."""
    tile, volts = jnp.asarray(G), jnp.asarray(volts, jnp.asarray(G).dtype)
    driver, row, column, sense = wires
    forward = _solved(tile, volts, Wires(driver, row, column, sense))
    # Seen from the sense resistors a tile is a tile again: columns are rows, and the far corner is near.
    turned = jnp.swapaxes(tile, 0, 1)[::-1, ::-1]
    back = _solved(turned, jnp.eye(len(turned), dtype=tile.dtype), Wires(sense, column, row, driver))
    across, carried = (np.asarray(part, np.float64) for part in (_across(forward), forward.device_currents))
    adjoint = [
        np.swapaxes(np.asarray(part, np.float64), -1, -2)[::-1, ::-1, ::-1]
        for part in (_across(back), back.device_currents)
    ]
    return np.asarray(forward.output_currents, np.float64), across, carried, *adjoint


_solved = jax.jit(operating_point)


def _across(point):
    return point.row_voltages - point.column_voltages


def _of_wires(carried, adjoint):
    """∂I_mj/∂R of the four kinds of wire, from the device currents of reads and of lone sense resistors."""

    def products(a, b):
        return -np.einsum("mab,jab->mj", a, b)

    def beyond(currents):
        return np.cumsum(currents[..., ::-1], axis=-1)[..., ::-1]

    rows, adjoint_rows = beyond(carried), beyond(adjoint)
    columns, adjoint_columns = np.cumsum(carried, axis=-2), np.cumsum(adjoint, axis=-2)
    return np.stack(
        [
            products(rows[..., :1], adjoint_rows[..., :1]),
            products(rows[..., 1:], adjoint_rows[..., 1:]),
            products(columns[..., :-1, :], adjoint_columns[..., :-1, :]),
            products(columns[..., -1:, :], adjoint_columns[..., -1:, :]),
        ],
        axis=-1,
    )


def _minimised(problem, x, max_steps):
    damping = 1e-3
    cost, _, gradient, matrix = problem.evaluate(x)
    for step in range(1, max_steps + 1):
        scale = np.maximum(np.diag(matrix), _RIDGE)
        move = scipy.linalg.solve(matrix + np.diag(damping * scale), -gradient, assume_a="pos")
        move *= min(1.0, _LONGEST_STEP / np.max(np.abs(move)))
        tried, *_ = problem.evaluate(x + move, curvature=False)
        if tried < cost:
            gained = cost - tried
            x = x + move
            cost, _, gradient, matrix = problem.evaluate(x)
            damping = max(damping / 5, 1e-12)
            if gained < 1e-9 * (1 + cost):
                return x, step
        else:
            damping *= 8
            if damping > 1e8:
                return x, step
    return x, max_steps


def _described(problem, x, steps):
    _, residuals, _, matrix = problem.evaluate(x)
    wires, G = problem.unpacked(x)
    count = len(problem.free)
    own, cross = matrix[count:, count:] + _RIDGE * np.eye(len(x) - count), matrix[count:, :count]
    inverse = scipy.linalg.cho_solve(scipy.linalg.cho_factor(own), np.eye(len(own)))
    reduced = matrix[:count, :count] - cross.T @ inverse @ cross
    values, vectors = np.linalg.eigh(reduced) if count else (np.zeros(0), np.zeros((0, 0)))
    # One is what was expected beforehand; less is rounding.
    values = np.maximum(values, 1)
    of_wires = (vectors / values) @ vectors.T
    errors = np.zeros(4)
    errors[problem.free] = np.sqrt(np.diag(of_wires))
    passed = inverse @ cross
    of_devices = np.diag(inverse) + np.einsum("pi,ij,pj->p", passed, of_wires, passed)
    return DeviceFit(
        wires=Wires(*map(float, wires)),
        conductances=G,
        device=_device(problem, G, of_devices),
        wire_errors=errors,
        conductance_errors=np.sqrt(of_devices).reshape(G.shape),
        combinations=vectors.T,
        looseness=values**-0.5,
        fitted=tuple(NAMES[i] for i in problem.free),
        residuals=-residuals,
        steps=steps,
    )


def _device(problem, G, variances):
    """The device that the conductances are of: a straight line through targets, and the spread around it."""
    device = problem.crossbar.device
    if problem.targets is None or np.ptp(problem.targets) == 0:
        return device
    relative = G / problem.targets
    slope, offset = np.polyfit(problem.targets.ravel(), G.ravel(), 1, w=1 / problem.targets.ravel())
    line = (offset + slope * problem.targets) / problem.targets
    # What the fit leaves open is spread too.
    spread = float(np.sqrt(np.mean((relative / line - 1) ** 2) + np.mean(variances)))
    low, high = (float(offset + slope * float(limit)) for limit in device.limits(jnp.float32))
    kind = device.variation.distribution if isinstance(device.variation, Variation) else "gaussian"
    low = max(low, 0.0)
    return eqx.tree_at(
        lambda d: (d.g_min_siemens, d.g_max_siemens, d.variation),
        device,
        (low, max(high, low * 1.001 + 1e-12), Variation(spread, kind)),
        is_leaf=lambda leaf: leaf is None,
    )
