"""The main job: from images to a chip report."""

import jax
from flax import nnx

from experiments import registry
from experiments.figures.accuracy import hardware_accuracy_figure, training_figure
from experiments.figures.crossbar import ir_drop_figure
from experiments.figures.energy import energy_figure
from experiments.hardware_cost import Costs, hardware_costs, to_workload
from experiments.output import Result, Run, Table
from experiments.robustness import Robustness, hardware_accuracy
