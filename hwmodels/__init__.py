"""Hardware that runs spiking networks, as Equinox pytrees and pure functions.

Names are imported when they are asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwmodels import crossbar as crossbar
    from hwmodels import sata as sata
    from hwmodels import search as search
    from hwmodels import spikeflow as spikeflow
    from hwmodels.chip import Analog as Analog
    from hwmodels.chip import Chip as Chip
    from hwmodels.chip import Cost as Cost
    from hwmodels.chip import Digital as Digital
    from hwmodels.flops import estimated_energy as estimated_energy
    from hwmodels.sensitivity import elasticities as elasticities
    from hwmodels.workload import Layer as Layer
    from hwmodels.workload import Workload as Workload

_HOMES = {
    # what is asked of a chip, and what it answers
    "workload": ("Layer", "Workload"),
    "chip": ("Analog", "Chip", "Cost", "Digital"),
    "flops": ("estimated_energy",),
    "sensitivity": ("elasticities",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_ROOMS = ("crossbar", "sata", "search", "spikeflow")

__all__ = [*_HOME_OF, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        found = getattr(import_module(f"hwmodels.{_HOME_OF[name]}"), name)
    elif name in _ROOMS:
        found = import_module(f"hwmodels.{name}")
    else:
        raise AttributeError(f"module 'hwmodels' has no attribute {name!r}; it has {', '.join(__all__)}.")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
