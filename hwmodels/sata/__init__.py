"""SATA: a sparsity-aware systolic array for spiking networks, counted and costed."""

from hwmodels.sata.array import Array as Array
from hwmodels.sata.array import Buffers as Buffers
from hwmodels.sata.traffic import CycleStatistics as CycleStatistics
from hwmodels.sata.traffic import cycle_statistics as cycle_statistics
