"""Technology scaling: what a constant measured at one node becomes at another, by a rule that has a name."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp

from hwmodels.ranges import Range, require_ranges
from hwmodels.rounding import as_scalar, is_number
from hwmodels.workload import Scalar

Rule = Literal["nominal-voltage", "constant-field", "constant-voltage", "stillmaker-baas"]

NODES_NM = (7.0, 10.0, 14.0, 16.0, 20.0, 32.0, 45.0, 65.0, 90.0, 130.0, 180.0)

# Nominal supplies of the Predictive Technology Model: planar down to 32 nm (Zhao and Cao, IEEE Trans.
# Electron Devices 53(11), 2006), FinFET below (Sinha et al., DAC 2012).
_SUPPLY_V = (0.7, 0.75, 0.8, 0.85, 0.9, 0.9, 1.0, 1.1, 1.2, 1.3, 1.8)

# Stillmaker and Baas, "Scaling equations for the accurate prediction of CMOS device performance from 180 nm
# to 7 nm", Integration 58, 2017: area relative to 65 nm, and the high-performance polynomials in the
# supply, highest power first, of delay (third order) and of energy (second order).
_AREA = (0.039, 0.068, 0.12, 0.13, 0.14, 0.31, 0.66, 1.0, 1.9, 4.3, 12.0)
_DELAY = (
    (-28.58, 76.6, -70.26, 24.69),
    (-34.95, 93.65, -85.99, 30.4),
    (-40.66, 109.2, -100.6, 35.92),
    (0.0, 24.8, -47.52, 28.87),
    (0.0, 34.63, -66.37, 41.15),
    (-1047.0, 2982.0, -2797.0, 873.5),
    (-501.6, 1567.0, -1619.0, 566.1),
    (-53.3, 230.4, -333.9, 178.6),
    (-60.34, 262.5, -384.2, 210.9),
    (-76.65, 334.9, -493.4, 275.8),
    (0.0, 97.09, -356.7, 406.5),
)
_ENERGY = (
    (0.1776, -0.09097, 0.02447),
    (0.2068, -0.09311, 0.02375),
    (0.2363, -0.09675, 0.02239),
    (0.2958, -0.1241, 0.03024),
    (0.373, -0.1582, 0.04104),
    (0.8367, -0.4341, 0.1701),
    (1.018, -0.3107, 0.1539),
    (3.755, -4.398, 1.975),
    (4.762, -4.781, 2.092),
    (7.171, -6.709, 2.904),
    (0.0, 24.64, -17.98),
)


class Scaling(NamedTuple):
    """Factors by which energy per operation, delay and area change."""

    energy: Scalar
    delay: Scalar
    area: Scalar


def scaling(from_nm: Scalar, to_nm: Scalar, rule: str = "nominal-voltage") -> Scaling:
    r"""Factors from one node to another, with $s$ = `to_nm` / `from_nm`.

    | rule | energy | delay | area | what it assumes |
    | --- | --- | --- | --- | --- |
    | `constant-field` | $s^3$ | $s$ | $s^2$ | voltage shrinks with length (Dennard et al., IEEE JSSC, 1974) |
    | `constant-voltage` | $s$ | $s^2$ | $s^2$ | the voltage stays |
    | `nominal-voltage` | $s\,(V_\text{to}/V_\text{from})^2$ | $s$ | $s^2$ | $CV^2$ at the nominal supplies |
    | `stillmaker-baas` | table | table | table | circuit simulation at the nominal supplies (2017) |

    Between the nodes of the tables the factors are interpolated on logarithmic axes. The printed
    polynomials of Stillmaker and Baas make 20 nm a little slower than 32 nm at the nominal supplies.

    **Arguments:** `from_nm`, `to_nm`: feature size in nanometre. `rule`: one of the above.

    **Returns:** the three factors.

    **Raises:** `ValueError` for an unknown rule, or for a node outside 7 to 180 nm.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}, got {rule!r}.")
    first, last = NODES_NM[0], NODES_NM[-1]
    for name, node in (("from_nm", from_nm), ("to_nm", to_nm)):
        require_ranges(Range(f"{name} must lie in [{first:g}, {last:g}] nm.", node, first, last))
    start, end = as_scalar(from_nm), as_scalar(to_nm)
    s = end / start
    if rule == "constant-field":
        return Scaling(energy=s**3, delay=s, area=s**2)
    if rule == "constant-voltage":
        return Scaling(energy=s, delay=s**2, area=s**2)
    if rule == "nominal-voltage":
        return Scaling(energy=s * _ratio(_SUPPLY_V, start, end) ** 2, delay=s, area=s**2)
    delay = [_polynomial(c, v) for c, v in zip(_DELAY, _SUPPLY_V, strict=True)]
    energy = [_polynomial(c, v) for c, v in zip(_ENERGY, _SUPPLY_V, strict=True)]
    return Scaling(
        energy=_ratio(energy, start, end), delay=_ratio(delay, start, end), area=_ratio(_AREA, start, end)
    )


def _polynomial(coefficients: Sequence[float], x: float) -> float:
    value = 0.0
    for coefficient in coefficients:
        value = value * x + coefficient
    return value


def _ratio(table: Sequence[float], start: Scalar, end: Scalar) -> Scalar:
    return _at(table, end) / _at(table, start)


def _at(table: Sequence[float], node: Scalar) -> Scalar:
    nodes, values = [math.log(n) for n in NODES_NM], [math.log(v) for v in table]
    if not is_number(node):
        return jnp.exp(jnp.interp(jnp.log(node), jnp.asarray(nodes), jnp.asarray(values)))
    x = math.log(node)
    index = max(i for i in range(len(nodes) - 1) if nodes[i] <= x)
    share = (x - nodes[index]) / (nodes[index + 1] - nodes[index])
    return math.exp(values[index] + share * (values[index + 1] - values[index]))
