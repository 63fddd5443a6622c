"""How much each convention changes, one switch at a time."""

from typing import Any

from hwmodels.spikeflow.chip import Chip
from hwmodels.spikeflow.conventions import CORRECTED, PUBLISHED, Conventions
from hwmodels.spikeflow.cost import evaluate
from hwmodels.workload import Workload

QUANTITIES = ("energy_j", "latency_s", "area_mm2")


def convention_effects(workload: Workload, chip: Chip | None = None) -> list[dict[str, Any]]:
    """The size of every difference between the published and the corrected conventions.

    **Arguments:** `workload`, `chip`: as for [`evaluate`][].

    **Returns:** one row per switch: its name, and for energy, latency and area the relative change when that
    switch alone is turned on in the published conventions (`..._alone`), and when it alone is turned off in
    the corrected ones (`..._without`). The last row, `all`, is corrected relative to published.
    """
    published = evaluate(workload, chip, PUBLISHED)
    corrected = evaluate(workload, chip, CORRECTED)
    rows = []
    for name in Conventions.names():
        alone = evaluate(workload, chip, PUBLISHED.replace(**{name: True}))
        without = evaluate(workload, chip, CORRECTED.replace(**{name: False}))
        row: dict[str, Any] = {"convention": name}
        for quantity in QUANTITIES:
            row[f"{quantity}_alone"] = getattr(alone, quantity) / getattr(published, quantity) - 1
            row[f"{quantity}_without"] = getattr(without, quantity) / getattr(corrected, quantity) - 1
        rows.append(row)
    total: dict[str, Any] = {"convention": "all"}
    for quantity in QUANTITIES:
        total[f"{quantity}_alone"] = getattr(corrected, quantity) / getattr(published, quantity) - 1
        total[f"{quantity}_without"] = getattr(published, quantity) / getattr(corrected, quantity) - 1
    return [*rows, total]
