"""Chips from a gin file: the bindings of a config that say what a chip is."""

from collections.abc import Mapping
from pathlib import Path

import gin

from experiments import registry
from experiments.parts import make_accelerator, make_chip
from hwmodels.chip import Chip


def read_chip_file(path: Path) -> Mapping[str, Chip]:
    """The chips that a gin file binds, called like the file; `Chip` is SpikeFlow's, `Accelerator` SATA's.

    **Raises:** `ConfigError` for a file that cannot be read, that binds no chip, or something else.
    """
    registry.load_file(path)
    bound = {selector.split(".")[-1] for (_, selector), given in gin.config._CONFIG.items() if given}
    makers = {"Chip": make_chip, "Accelerator": make_accelerator}
    wanted = [name for name in makers if name in bound]
    if not wanted:
        raise registry.ConfigError(
            f"{path} binds no chip; set values of Chip (SpikeFlow) or of Accelerator (SATA), such as "
            "Chip.crossbar_rows = 32."
        )
    chips = {f"{path.stem} {name}" if len(wanted) > 1 else path.stem: makers[name]() for name in wanted}
    registry.require_all_used()
    return chips
