"""The claims that carry the two papers, each with the numbers it is judged by."""

import itertools
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from experiments.parity.robustness import drop
from experiments.parity.tables import exiting_early, improvements, loss, spread
from experiments.parity.targets import WORKS
from hwmodels import sata
from hwmodels.sata import studies
from hwmodels.sata.workloads import vgg9
from hwmodels.spikeflow.studies import neuron_area_share
from jaxsnn.codesign.table import Table

_SAME = 0.05
"""Losses that are nearer to each other are one, however little chips differ."""

Rows = Mapping[str, Mapping[str, Any] | None]


class Claim(NamedTuple):
    """What a paper says; whether it holds here (None: not run); by which numbers."""

    says: str
    holds: bool | None
    evidence: str


class _NotRunError(LookupError):
    """A row that the claim needs is missing."""


def claims(rows: Rows, shown: str) -> list[Claim]:
    """Every claim, under one reading of the method."""

    def measured(name: str) -> Mapping[str, Any]:
        row = rows.get(name)
        if row is None:
            raise _NotRunError(name)
        return row

    def delta(name: str) -> float:
        return loss(measured(name), shown)

    def same(one: str, other: str) -> bool:
        """Whether the two losses are no further from each other than chips are."""
        apart = math.hypot(*(spread(measured(name), shown) for name in (one, other)))
        return abs(delta(one) - delta(other)) <= max(_SAME, apart)

    def more(one: str, other: str) -> bool:
        return delta(one) > delta(other) and not same(one, other)

    def little() -> tuple[bool, str]:
        found = _present(rows, ("mnist_ann", "cifar_ann", "mnist_conversion", "cifar_conversion"))
        losses = {name: delta(f"table_1_{name}") for name in found}
        return max(losses.values()) < 0.1, _listed(losses)

    def surrogate() -> tuple[bool, str]:
        # On MNIST the paper has them lose next to nothing either.
        names = ("cifar_ann", "cifar_surrogate")
        ann, snn = (f"table_1_{name}" for name in names)
        much = more(snn, ann) and delta(snn) > delta(ann) + 0.1
        return much, _listed({name: delta(f"table_1_{name}") for name in names})

    def collapse() -> tuple[bool, str]:
        losses = {name: delta(f"table_1_{name}") for name in _present(rows, ("mnist_bntt", "cifar_bntt"))}
        return min(losses.values()) > 0.5, _listed(losses)

    def course(method: str) -> list[str]:
        names = [name for name in rows if name.startswith(f"figure_3_{method}_") and rows[name] is not None]
        if len(names) < 2:
            raise _NotRunError(method)
        return names

    def along(names: list[str]) -> str:
        return _listed({name.removeprefix("figure_3_"): delta(name) for name in names})

    def timesteps() -> tuple[bool, str]:
        found = course("surrogate")
        return more(found[-1], found[0]), along(found)

    def flat() -> tuple[bool, str]:
        found = course("conversion")
        return all(same(one, other) for one, other in itertools.combinations(found, 2)), along(found)

    def smaller() -> tuple[bool, str]:
        names = {
            (method, size): f"table_2_{method}_{size}" for method in ("ann", "surrogate") for size in (32, 64)
        }
        hurts = more(names["ann", 32], names["ann", 64])
        helps = more(names["surrogate", 64], names["surrogate", 32])
        said = {f"{method}, {size}×{size}": delta(name) for (method, size), name in names.items()}
        # A verdict that rests on one of two networks says so.
        alone = helps and delta(names["ann", 32]) >= delta(names["ann", 64])
        return helps and not hurts, _listed(said) + (": by the surrogate row alone" if alone else "")

    def adaptation() -> tuple[bool, str]:
        row = measured("figure_4")
        software = row["software_on_hardware_images"]
        before, after = (drop(software, row["hardware"][at][shown]) for at in (0, -1))
        return after < before, _listed({"none": before, f"{row['images'][-1]} images": after})

    def early() -> tuple[bool, str]:
        found = exiting_early(rows)
        if not found:
            raise _NotRunError("dt_snn")
        holds, texts = True, []
        for data, row in found.items():
            full, chosen = row["accuracy_by_timesteps"], row["chosen"]
            if chosen is None:
                holds = False
                texts.append(f"{data}: no threshold keeps the {full[-1]:.2%} of all timesteps")
                continue
            _, mean, accuracy = chosen
            holds = holds and mean <= len(full) / 2
            texts.append(
                f"{data} {accuracy:.2%} of {full[-1]:.2%} at {mean:.2f} mean timesteps of {len(full)}"
            )
        return holds, ", ".join(texts)

    judged: list[tuple[str, Callable[[], tuple[bool, str]]]] = [
        ("ANNs and converted networks lose little", little),
        ("networks trained by surrogate gradients lose much more", surrogate),
        ("BNTT collapses", collapse),
        ("more timesteps hurt surrogate-trained networks", timesteps),
        ("conversion does not depend on the timesteps", flat),
        ("smaller crossbars help", smaller),
        ("BN adaptation recovers", adaptation),
        ("estimates overstate the gains", _overstated),
        ("data movement dominates SATA", _movement),
        ("the LIF module's area matters on SpikeSim (above 11 %)", _area),
        ("DT-SNN keeps accuracy (0.3 points) with half the timesteps", early),
    ]
    return [_judged(says, judge) for says, judge in judged]


# Of the build alone, whatever was trained.
@cache
def _overstated() -> tuple[bool, str]:
    ours = improvements("corrected")
    pairs = {name: (work.estimated, ours[name]) for name, work in WORKS.items()}
    text = ", ".join(f"{name} {estimate:g}× → {real:.1f}×" for name, (estimate, real) in pairs.items())
    return all(estimate > real for estimate, real in pairs.values()), text


@cache
def _movement() -> tuple[bool, str]:
    cost = sata.inference_energy(vgg9())
    share = studies.movement_j(cost) / float(cost.total_j)
    return share > 0.5, f"{share:.1%} of SATA's energy, VGG9 on CIFAR-10, T = 4"


@cache
def _area() -> tuple[bool, str]:
    shares = {row["network"]: row["corrected"] for row in neuron_area_share()}
    return min(shares.values()) > 0.11, _listed(shares)


def claims_table(found: Mapping[str, list[Claim]]) -> Table:
    """One row a claim, judged under each reading by its label."""
    words = {True: "holds", False: "does not hold", None: "not run"}
    cells = []
    for judged in zip(*found.values(), strict=True):
        evidence = [claim.evidence for claim in judged]
        if len(set(evidence)) == 1:
            evidence[1:] = ["the same"] * (len(evidence) - 1)
        cells.append([judged[0].says, *(words[claim.holds] for claim in judged), *evidence])
    columns = ["claim", *found, *(f"evidence, {reading}" for reading in found)]
    return Table(
        "What carries the papers",
        columns,
        cells,
        note='Losses are Δ; "ideal" is the exact circuit, weights against the ideal range of conductance. '
        "Two losses differ where they are further apart than chips are (the standard deviation of the "
        f"difference), and than {_SAME:.0%}.",
    )


def _judged(says: str, judge: Callable[[], tuple[bool, str]]) -> Claim:
    try:
        return Claim(says, *judge())
    except _NotRunError as missing:
        return Claim(says, None, f"needs {missing}")


def _present(rows: Rows, names: tuple[str, ...]) -> list[str]:
    found = [name for name in names if rows.get(f"table_1_{name}") is not None]
    if not found:
        raise _NotRunError(f"table_1_{names[0]}")
    return found


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.1%}" for name, value in values.items())
