"""How much each correction changes, one switch at a time."""

from typing import Any

from hwmodels.spikeflow.chip import Chip
from hwmodels.spikeflow.conventions import CORRECTED, PUBLISHED, Conventions
from hwmodels.spikeflow.cost import Cost, evaluate
from hwmodels.workload import Workload

QUANTITIES = {"energy": "energy_j", "latency": "latency_s", "area": "area_mm2"}


def correction_sizes(workload: Workload, chip: Chip | None = None) -> dict[str, dict[str, Any]]:
    """Change of energy, latency and area when one correction at a time is applied to the published count.

    **Arguments:** as for [`evaluate`][].

    **Returns:** by name of the correction, and then `energy_alone`, `latency_alone`, `area_alone`: the change
    as a fraction of the published count; `energy_without`, `latency_without`, `area_without`: the change, as
    a fraction of the corrected count, when all corrections but this one are applied. Under the name `all`,
    corrected relative to published and the reverse.
    """
    published = evaluate(workload, chip, PUBLISHED)
    corrected = evaluate(workload, chip, CORRECTED)
    sizes = {
        name: _changes(
            (published, evaluate(workload, chip, PUBLISHED.replace(**{name: True}))),
            (corrected, evaluate(workload, chip, CORRECTED.replace(**{name: False}))),
        )
        for name in Conventions.names()
    }
    return {**sizes, "all": _changes((published, corrected), (corrected, published))}


def _changes(alone: tuple[Cost, Cost], without: tuple[Cost, Cost]) -> dict[str, Any]:
    return {
        f"{short}_{which}": getattr(after, quantity) / getattr(before, quantity) - 1
        for short, quantity in QUANTITIES.items()
        for which, (before, after) in (("alone", alone), ("without", without))
    }
