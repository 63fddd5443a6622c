"""Spiking neural networks as Flax NNX modules, and chips to put them on.

Install it as `spikechip`. Names are imported when they are asked for, so that `import jaxsnn` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxsnn._namesake import refuse_namesake

refuse_namesake()

__version__ = "0.2.0"

if TYPE_CHECKING:
    from jaxsnn.attention import SpikingAttention as SpikingAttention
    from jaxsnn.composite import Residual as Residual
    from jaxsnn.composite import SharedMembrane as SharedMembrane
    from jaxsnn.data.dataset import Dataset as Dataset
    from jaxsnn.data.datasets import load as load
    from jaxsnn.encoding import Direct as Direct
    from jaxsnn.encoding import Frames as Frames
    from jaxsnn.encoding import Poisson as Poisson
    from jaxsnn.graph import Graph as Graph
    from jaxsnn.layers import Block as Block
    from jaxsnn.layers import Conv as Conv
    from jaxsnn.layers import Linear as Linear
    from jaxsnn.layers import Neurons as Neurons
    from jaxsnn.learning.bit_widths import LearntBits as LearntBits
    from jaxsnn.learning.bit_widths import with_learnt_bits as with_learnt_bits
    from jaxsnn.learning.checkpoint import load_checkpoint as load_checkpoint
    from jaxsnn.learning.config import TrainConfig as TrainConfig
    from jaxsnn.learning.conversion import convert as convert
    from jaxsnn.learning.conversion import fold_normalization as fold_normalization
    from jaxsnn.learning.pruning import lottery_ticket as lottery_ticket
    from jaxsnn.learning.quantization import to_mint as to_mint
    from jaxsnn.learning.training import TrainResult as TrainResult
    from jaxsnn.learning.training import fit as fit
    from jaxsnn.learning.transform import Transform as Transform
    from jaxsnn.learning.transform import apply_transform as apply_transform
    from jaxsnn.models.digits import digits_convnet as digits_convnet
    from jaxsnn.models.events import event_convnet as event_convnet
    from jaxsnn.models.mlp import mlp as mlp
    from jaxsnn.models.pretrained import zoo as zoo
    from jaxsnn.models.pretrained import zoo_facts as zoo_facts
    from jaxsnn.models.resnet import resnet as resnet
    from jaxsnn.models.spikformer import spikformer as spikformer
    from jaxsnn.models.vgg import vgg as vgg
    from jaxsnn.network import Network as Network
    from jaxsnn.neuron import IF as IF
    from jaxsnn.neuron import LIF as LIF
    from jaxsnn.neuron import AdaptiveLIF as AdaptiveLIF
    from jaxsnn.neuron import CubaLIF as CubaLIF
    from jaxsnn.neuron import CubaReadout as CubaReadout
    from jaxsnn.neuron import DelayedLIF as DelayedLIF
    from jaxsnn.neuron import Integration as Integration
    from jaxsnn.neuron import MultiSpikeIF as MultiSpikeIF
    from jaxsnn.neuron import Neuron as Neuron
    from jaxsnn.neuron import ParametricCubaLIF as ParametricCubaLIF
    from jaxsnn.neuron import ParametricLIF as ParametricLIF
    from jaxsnn.neuron import Readout as Readout
    from jaxsnn.neuron import ReLU as ReLU
    from jaxsnn.neuron import Reset as Reset
    from jaxsnn.neuron import SharedLIF as SharedLIF
    from jaxsnn.normalization import BNTT as BNTT
    from jaxsnn.normalization import BatchNorm as BatchNorm
    from jaxsnn.normalization import TdBN as TdBN
    from jaxsnn.normalization import adapt_statistics as adapt_statistics
    from jaxsnn.recurrence import Recurrent as Recurrent
    from jaxsnn.signal import LayerRecord as LayerRecord
    from jaxsnn.surrogate import Arctan as Arctan
    from jaxsnn.surrogate import FastSigmoid as FastSigmoid
    from jaxsnn.surrogate import Rectangular as Rectangular
    from jaxsnn.surrogate import Surrogate as Surrogate
    from jaxsnn.surrogate import Triangular as Triangular

_HOMES = {
    # data
    "data.dataset": ("Dataset",),
    "data.datasets": ("load",),
    # networks
    "network": ("Network",),
    "layers": ("Block", "Conv", "Linear", "Neurons"),
    "composite": ("Residual", "SharedMembrane"),
    "attention": ("SpikingAttention",),
    "recurrence": ("Recurrent",),
    "graph": ("Graph",),
    "models.digits": ("digits_convnet",),
    "models.events": ("event_convnet",),
    "models.mlp": ("mlp",),
    "models.resnet": ("resnet",),
    "models.spikformer": ("spikformer",),
    "models.vgg": ("vgg",),
    "models.pretrained": ("zoo", "zoo_facts"),
    "signal": ("LayerRecord",),
    # neurons and what surrounds them
    "neuron": (
        "IF",
        "LIF",
        "AdaptiveLIF",
        "CubaLIF",
        "CubaReadout",
        "DelayedLIF",
        "Integration",
        "MultiSpikeIF",
        "Neuron",
        "ParametricCubaLIF",
        "ParametricLIF",
        "ReLU",
        "Readout",
        "Reset",
        "SharedLIF",
    ),
    "surrogate": ("Arctan", "FastSigmoid", "Rectangular", "Surrogate", "Triangular"),
    "encoding": ("Direct", "Frames", "Poisson"),
    "normalization": ("BNTT", "BatchNorm", "TdBN", "adapt_statistics"),
    # learning
    "learning.config": ("TrainConfig",),
    "learning.training": ("TrainResult", "fit"),
    "learning.transform": ("Transform", "apply_transform"),
    "learning.checkpoint": ("load_checkpoint",),
    "learning.bit_widths": ("LearntBits", "with_learnt_bits"),
    "learning.conversion": ("convert", "fold_normalization"),
    "learning.pruning": ("lottery_ticket",),
    "learning.quantization": ("to_mint",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_ROOMS = ("codesign", "data", "interop", "learning", "models")

__all__ = ["__version__", *_HOME_OF, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        found = getattr(import_module(f"jaxsnn.{_HOME_OF[name]}"), name)
    elif name in _ROOMS:
        found = import_module(f"jaxsnn.{name}")
    else:
        raise AttributeError(f"module 'jaxsnn' has no attribute {name!r}; it has {', '.join(__all__)}.")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
