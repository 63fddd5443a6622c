"""Copies of early layers, so that no layer holds up the pipeline."""

import heapq

from hwmodels.rounding import as_scalar, ceil_divide, is_number
from hwmodels.spikeflow.chip import Chip
from hwmodels.spikeflow.conventions import CORRECTED, Conventions
from hwmodels.spikeflow.energy import evaluations, output_positions, serial_cycles
from hwmodels.spikeflow.placement import place
from hwmodels.workload import Workload


def balance(
    workload: Workload, chip: Chip, pes: int, conventions: Conventions = CORRECTED
) -> tuple[int, ...]:
    """How often to place each layer, given a number of PEs: the slowest layer is copied for as long as its
    next copy fits.

    Copies share the positions of their layer's output map, so a layer with d copies takes 1/d of the time and
    d times the PEs; its energy stays. Greedy is optimal for the period, because only the slowest layer sets
    it.

    **Arguments:**

    - `workload`, `chip`: as for [`evaluate`][]; both must be concrete.
    - `pes`: PEs that the chip may have, at least those of one copy of each layer.
    - `conventions`: as for [`evaluate`][].

    **Returns:** copies of each layer, for `evaluate(..., duplicates=...)`.

    **Raises:** `ValueError` when the network does not fit once.
    """
    placement = place(workload, chip, conventions)
    need = placement.pes
    if not is_number(need):
        raise ValueError("balance places on the host: chip and workload must be concrete, got a traced size.")
    if not need <= pes:
        raise ValueError(f"pes must be at least {need}, what one copy of every layer takes, got {pes}.")
    positions = [output_positions(layer, conventions) for layer in workload.layers]
    timesteps = as_scalar(workload.timesteps)
    cycles = [
        serial_cycles(layer, chip) * evaluations(layer, timesteps, conventions) for layer in workload.layers
    ]
    sizes = [layer.working_pes for layer in placement.layers]
    copies = [1] * len(cycles)
    free = pes - need

    def load(index: int) -> tuple[int | float, int]:
        # Negative, because a heap yields its smallest.
        return -ceil_divide(positions[index], copies[index]) * cycles[index], index

    queue = [load(index) for index in range(len(cycles))]
    heapq.heapify(queue)
    while queue:
        _, slowest = heapq.heappop(queue)
        # The slowest layer cannot be helped any further, so nothing else would shorten the period.
        if sizes[slowest] > free or copies[slowest] >= positions[slowest]:
            break
        copies[slowest] += 1
        free -= sizes[slowest]
        heapq.heappush(queue, load(slowest))
    return tuple(copies)
