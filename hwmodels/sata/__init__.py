"""SATA: a sparsity-aware systolic array for spiking networks, counted and costed."""

from hwmodels.early_exit import EarlyExitCost as EarlyExitCost
from hwmodels.sata.accelerator import Accelerator as Accelerator
from hwmodels.sata.array import Array as Array
from hwmodels.sata.array import Buffers as Buffers
from hwmodels.sata.conventions import CORRECTIONS as CORRECTIONS
from hwmodels.sata.early_exit import early_exit_cost as early_exit_cost
from hwmodels.sata.inference import InferenceCost as InferenceCost
from hwmodels.sata.inference import correction_sizes as correction_sizes
from hwmodels.sata.inference import inference_energy as inference_energy
from hwmodels.sata.memory import Sram as Sram
from hwmodels.sata.memory import sram as sram
from hwmodels.sata.technology import Precision as Precision
from hwmodels.sata.traffic import CycleStatistics as CycleStatistics
from hwmodels.sata.traffic import cycle_statistics as cycle_statistics
from hwmodels.sata.training import TrainingCost as TrainingCost
from hwmodels.sata.training import dense_training_energy as dense_training_energy
from hwmodels.sata.training import training_energy as training_energy
from hwmodels.sata.twin import dense_twin as dense_twin
from hwmodels.sata.workloads import PUBLISHED_WORKS as PUBLISHED_WORKS
from hwmodels.sata.workloads import published_workload as published_workload
from hwmodels.sata.workloads import vgg9 as vgg9
