"""What the two papers print, as fractions and joules.

"Examining the Robustness of SNNs on Non-ideal Memristive Crossbars" (tables I and II, figures 3 and 4) and
"Are SNNs Truly Energy-efficient? A Hardware Perspective" (table II, figures 4 to 6).
"""

from typing import NamedTuple


class Drop(NamedTuple):
    """A row of the robustness paper: Δ = (software − hardware) / software."""

    method: str
    network: str
    data: str
    timesteps: int | None
    rows: int
    software: float
    hardware: float
    drop: float

    @property
    def label(self) -> str:
        steps = "" if self.timesteps is None else f", T = {self.timesteps}"
        return f"{self.method}, {self.network}/{self.data}{steps}"


TABLE_I = {
    "mnist_ann": Drop("ANN", "VGG5", "MNIST", None, 64, 0.9934, 0.9920, 0.0014),
    "cifar_ann": Drop("ANN", "VGG9", "CIFAR-10", None, 64, 0.9190, 0.8629, 0.0610),
    "mnist_conversion": Drop("conversion", "VGG5", "MNIST", 50, 64, 0.9926, 0.9907, 0.0019),
    "cifar_conversion": Drop("conversion", "VGG9", "CIFAR-10", 500, 64, 0.9102, 0.8640, 0.0507),
    "mnist_surrogate": Drop("surrogate", "VGG5", "MNIST", 25, 64, 0.9932, 0.9852, 0.0080),
    "cifar_surrogate": Drop("surrogate", "VGG9", "CIFAR-10", 30, 64, 0.8670, 0.1494, 0.8276),
    "mnist_bntt": Drop("BNTT", "VGG5", "MNIST", 10, 64, 0.9945, 0.1135, 0.8858),
    "cifar_bntt": Drop("BNTT", "VGG9", "CIFAR-10", 20, 64, 0.9043, 0.1001, 0.8893),
}

TABLE_II = {
    ("ann", 32): Drop("ANN", "VGG9", "CIFAR-10", None, 32, 0.9190, 0.9046, 0.0156),
    ("ann", 64): Drop("ANN", "VGG9", "CIFAR-10", None, 64, 0.9190, 0.8629, 0.0610),
    ("surrogate", 32): Drop("surrogate", "VGG9", "CIFAR-10", 20, 32, 0.8433, 0.6249, 0.2589),
    ("surrogate", 64): Drop("surrogate", "VGG9", "CIFAR-10", 20, 64, 0.8433, 0.1421, 0.8314),
    ("bntt", 32): Drop("BNTT", "VGG9", "CIFAR-10", 20, 32, 0.9043, 0.1001, 0.8893),
    ("bntt", 64): Drop("BNTT", "VGG9", "CIFAR-10", 20, 64, 0.9043, 0.1001, 0.8893),
}


class Work(NamedTuple):
    """A row of the perspective's table II; improvements over the work's own baseline."""

    accuracy: float
    sparsity: float
    timesteps: int
    estimated: float
    sata: float
    spikesim: float


WORKS = {
    "S-BP": Work(0.893, 0.900, 50, 10, 4.5, 5.2),
    "BNTT": Work(0.903, 0.905, 20, 20, 2.8, 4),
    "Direct": Work(0.905, 0.900, 10, 20, 2.3, 4),
    "TSSL": Work(0.914, 0.901, 5, 80, 4.9, 16),
    "LTH": Work(0.932, 0.975, 5, 15, 1.3, 2),
    "TDBN": Work(0.929, 0.850, 4, 83, 6.8, 25),
}

ENCODING_GAIN = 0.4013
ADAPTED_LOSS = 0.0122
"""Figure 6b: what the encoding adds to the accuracy on chips, and the loss left after BN adaptation."""

DT_SNN_TIMESTEPS, DT_SNN_SAVING = 1.46, 0.80
"""VGG16 on CIFAR-10 (arXiv 2305.17346): mean timesteps of 4, and the EDP saved."""

MINT_MEMORY_SAVED = 0.938
MINT_ACCURACY = 0.906
"""2-bit VGG16 on CIFAR-10 (arXiv 2305.09850)."""
