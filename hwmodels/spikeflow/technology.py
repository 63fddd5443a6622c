"""Technology scaling: what a constant measured at one node becomes at another, by a rule that has a name."""

import math
from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp

from hwmodels.rounding import as_scalar, is_number
from hwmodels.workload import Scalar

Rule = Literal["nominal-voltage", "constant-field", "constant-voltage"]

_NODES_NM = (16.0, 22.0, 32.0, 45.0, 65.0, 90.0, 130.0, 180.0)
# Nominal supply of the Predictive Technology Model (Zhao and Cao, IEEE Trans. Electron Devices 53(11), 2006;
# ptm.asu.edu), node by node; between nodes the supply is interpolated linearly.
_SUPPLY_V = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.8)


class Scaling(NamedTuple):
    """Factors by which energy per operation, delay and area change."""

    energy: Scalar
    delay: Scalar
    area: Scalar


def supply_volt(node_nm: Scalar) -> Scalar:
    """Nominal supply voltage of a node, in volt; linear between the nodes of the table."""
    node = as_scalar(node_nm)
    if not is_number(node):
        return jnp.interp(node, jnp.asarray(_NODES_NM, float), jnp.asarray(_SUPPLY_V, float))
    if not _NODES_NM[0] <= node <= _NODES_NM[-1]:
        raise ValueError(f"node_nm must lie in [{_NODES_NM[0]}, {_NODES_NM[-1]}] nm, got {node_nm}.")
    for low, high, v_low, v_high in zip(_NODES_NM, _NODES_NM[1:], _SUPPLY_V, _SUPPLY_V[1:], strict=False):
        if node <= high:
            return v_low + (v_high - v_low) * (node - low) / (high - low)
    return math.nan


def scaling(from_nm: Scalar, to_nm: Scalar, rule: Rule = "nominal-voltage") -> Scaling:
    r"""Factors from one node to another, with $s$ = `to_nm` / `from_nm`.

    | rule | energy | delay | area | what it assumes |
    | --- | --- | --- | --- | --- |
    | `constant-field` | $s^3$ | $s$ | $s^2$ | voltage shrinks with length (Dennard et al., IEEE JSSC, 1974) |
    | `constant-voltage` | $s$ | $s^2$ | $s^2$ | the voltage stays |
    | `nominal-voltage` | $s\,(V_\text{to}/V_\text{from})^2$ | $s$ | $s^2$ | $CV^2$ at the nominal supplies |

    **Arguments:** `from_nm`, `to_nm`: feature size in nanometre. `rule`: one of the above.

    **Returns:** the three factors.

    **Raises:** `ValueError` for an unknown rule, a node below zero, or one outside the supply table.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}, got {rule!r}.")
    start, end = as_scalar(from_nm), as_scalar(to_nm)
    for name, node in (("from_nm", start), ("to_nm", end)):
        if is_number(node) and not node > 0:
            raise ValueError(f"{name} must be a feature size above zero in nanometre, got {node}.")
    s = end / start
    if rule == "constant-field":
        return Scaling(energy=s**3, delay=s, area=s**2)
    if rule == "constant-voltage":
        return Scaling(energy=s, delay=s**2, area=s**2)
    return Scaling(energy=s * (supply_volt(end) / supply_volt(start)) ** 2, delay=s, area=s**2)
