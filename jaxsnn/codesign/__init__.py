"""Network and chip together: the one room that knows both sides."""

from jaxsnn.codesign.evaluate import evaluate as evaluate
from jaxsnn.codesign.folding import folded as folded
from jaxsnn.codesign.folding import undisturbed as undisturbed
from jaxsnn.codesign.metrics import Metrics as Metrics
from jaxsnn.codesign.metrics import metrics as metrics
from jaxsnn.codesign.noise_aware import NoiseAware as NoiseAware
from jaxsnn.codesign.on_chip import OnChip as OnChip
from jaxsnn.codesign.penalties import EnergyPenalty as EnergyPenalty
from jaxsnn.codesign.penalties import SpikePenalty as SpikePenalty
from jaxsnn.codesign.program import program as program
from jaxsnn.codesign.report import Report as Report
from jaxsnn.codesign.search import find_chip as find_chip
from jaxsnn.codesign.sensitivity import energy_sensitivities as energy_sensitivities
from jaxsnn.codesign.workload import to_workload as to_workload
from jaxsnn.codesign.workload import workload_of as workload_of
