"""SpikeFlow, an in-memory-computing chip for spiking networks: energy, latency and area of inference."""

from hwmodels.spikeflow.chip import Chip as Chip
from hwmodels.spikeflow.components import RRAM as RRAM
from hwmodels.spikeflow.components import SRAM as SRAM
from hwmodels.spikeflow.components import Adc as Adc
from hwmodels.spikeflow.components import Cell as Cell
from hwmodels.spikeflow.components import Components as Components
from hwmodels.spikeflow.conventions import CORRECTED as CORRECTED
from hwmodels.spikeflow.conventions import PUBLISHED as PUBLISHED
from hwmodels.spikeflow.conventions import Conventions as Conventions
from hwmodels.spikeflow.cost import Cost as Cost
from hwmodels.spikeflow.cost import evaluate as evaluate
from hwmodels.spikeflow.energy import COMPONENTS as COMPONENTS
from hwmodels.spikeflow.noc import Mesh as Mesh
from hwmodels.spikeflow.placement import LayerPlacement as LayerPlacement
from hwmodels.spikeflow.placement import Placement as Placement
from hwmodels.spikeflow.placement import place as place
