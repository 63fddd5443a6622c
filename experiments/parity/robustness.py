"""The rows of "Examining the Robustness of SNNs on Non-ideal Memristive Crossbars"."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import nnx

from experiments.parity.ledger import Ledger, said
from experiments.parity.measure import Bench, Subject, poisson
from experiments.parity.readings import READINGS, Reading, as_read
from hwmodels.crossbar import Crossbar, Device, Wires
from jaxsnn.codesign.folding import scale
from jaxsnn.codesign.robustness import relative_drop
from jaxsnn.encoding import Direct

Numbers = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Robustness:
    """What is measured; see [`measure`][].

    **Arguments:**

    - `table_1`: subjects by the names of [`TABLE_I`][experiments.parity.targets.TABLE_I]; what is left out is
      not run.
    - `table_2`: subjects of "ann", "surrogate" and "bntt".
    - `figure_3`: subjects of "surrogate" and "conversion" by their timesteps.
    - `figure_4`: the BNTT subject, and `adapted` numbers of training images.
    - `sizes`: of table II's crossbars.
    - `shown`: the reading of tables and figures that stands beside the exact circuit, by its label.
    - `study_images`, `study_chips`: for the table of readings and the ablation.
    """

    table_1: dict[str, Subject]
    table_2: dict[str, Subject]
    figure_3: dict[str, tuple[Subject, ...]]
    figure_4: Subject | None
    adapted: tuple[int, ...]
    shown: str
    study_images: int
    study_chips: int = 1
    sizes: tuple[int, ...] = (32, 64)

    def __post_init__(self):
        if self.shown not in READINGS:
            raise ValueError(f"Robustness.shown must be one of {', '.join(READINGS)}; got {self.shown!r}.")

    @property
    def readings(self) -> dict[str, Reading]:
        return {"ideal": READINGS["ideal"], self.shown: READINGS[self.shown]}


def crossbar(size: int) -> Crossbar:
    """The paper's: 20 to 200 kΩ, σ/µ = 10 %, its wires."""
    return Crossbar(rows=size, columns=size)


def measure(bench: Bench, ledger: Ledger, plan: Robustness) -> dict[str, Numbers | None]:
    """All rows, by name: finished ones from the ledger."""
    found: dict[str, Numbers | None] = {}

    def row(name: str, subject: Subject, compute: Any, **facts: Any) -> None:
        found[name] = ledger.row(name, bench.inputs(subject) | said(facts), compute)

    for name, subject in plan.table_1.items():
        row(f"table_1_{name}", subject, _drop(bench, subject, 64, plan.readings), readings=plan.readings)
    for method, subject in plan.table_2.items():
        for size in plan.sizes:
            name = f"table_2_{method}_{size}"
            row(name, subject, _drop(bench, subject, size, plan.readings), readings=plan.readings, size=size)
    for method, subjects in plan.figure_3.items():
        for subject in subjects:
            name = f"figure_3_{method}_{bench.timesteps(subject)}"
            if twins := [table for table, other in plan.table_1.items() if other == subject]:
                found[name] = found[f"table_1_{twins[0]}"]
                continue
            row(name, subject, _drop(bench, subject, 64, plan.readings), readings=plan.readings)
    if plan.figure_4 is not None:
        subject = plan.figure_4
        row("figure_4", subject, _adaptation(bench, plan), readings=plan.readings, adapted=plan.adapted)
    study = {"images": plan.study_images, "chips": plan.study_chips}
    for name, subject in plan.table_1.items():
        row(f"readings_{name}_64", subject, _study(bench, subject, 64, plan), readings=READINGS, **study)
    for method, subject in plan.table_2.items():
        row(f"readings_{method}_32", subject, _study(bench, subject, 32, plan), readings=READINGS, **study)
    for name, subject in plan.table_1.items():
        if not subject.converted:
            row(f"ablation_{name}", subject, _ablation(bench, subject, plan), **study)
    return found


def _drop(bench: Bench, subject: Subject, size: int, readings: Mapping[str, Reading]) -> Any:
    def compute() -> dict[str, Any]:
        images = bench.setting.hardware_images
        return {
            "ours": bench.ours(subject),
            "software": bench.software(subject).accuracy,
            "software_on_hardware_images": bench.software(subject, images).accuracy,
            "hardware": bench.on_chips(subject, crossbar(size), readings),
        }

    return compute


def _adaptation(bench: Bench, plan: Robustness) -> Any:
    subject = plan.figure_4
    assert subject is not None

    def compute() -> dict[str, Any]:
        return {
            "software_on_hardware_images": bench.software(subject, bench.setting.hardware_images).accuracy,
            "images": [0, *plan.adapted],
            "hardware": [
                bench.on_chips(subject, crossbar(64), plan.readings, adapted=count)
                for count in (0, *plan.adapted)
            ],
        }

    return compute


def _study(bench: Bench, subject: Subject, size: int, plan: Robustness) -> Any:
    """One row of the readings against the table's rows."""
    tried = {
        name: reading
        for name, reading in READINGS.items()
        if subject.converted or reading.thresholds == "software"
    }
    chips, images = bench.setting.chips[: plan.study_chips], plan.study_images

    def compute() -> dict[str, Any]:
        return {
            "software": bench.software(subject, images).accuracy,
            "hardware": bench.on_chips(subject, crossbar(size), tried, chips=chips, images=images),
        }

    return compute


def _ablation(bench: Bench, subject: Subject, plan: Robustness) -> Any:
    """One effect at a time, on the same devices."""
    images, key = plan.study_images, bench.setting.chips[0]
    ideal, design = READINGS["ideal"], crossbar(64)

    def compute() -> dict[str, float]:
        network = bench.network(subject)
        wires = dataclasses.replace(design, device=Device(variation=None))
        devices = dataclasses.replace(design, wires=Wires(0.0, 0.0, 0.0, 0.0))
        through, whole = as_read(network, wires, key, ideal), as_read(network, design, key, ideal)
        single = as_read(network, design, key, READINGS["ideal, single devices"])
        cases = {
            "software": network,
            "attenuation alone": _scaled(network, through, inverse=False),
            "pattern of the wires alone": _scaled(network, through, inverse=True),
            "variation alone": as_read(network, devices, key, ideal),
            "wires alone": through,
            "wires and variation": whole,
            "wires and variation, without attenuation": _scaled(network, whole, inverse=True),
            "one device a weight": single,
        }
        if bench.library.recipes[subject.recipe].method != "ann":
            direct = isinstance(network.encoding, Direct)
            other = poisson(bench.library.dataset(subject.recipe)) if direct else Direct()
            for name, each in (("software", network), ("wires and variation", whole)):
                swapped = nnx.clone(each)
                swapped.encoding = other
                cases[f"{name}, {type(other).__name__} encoding"] = swapped
        return {name: bench.test(each, subject, images).accuracy for name, each in cases.items()}

    return compute


def _scaled(network: Any, on_chip: Any, *, inverse: bool) -> Any:
    """The network's kernels with each layer's attenuation and nothing else; or the chip's without it."""
    result = nnx.clone(on_chip if inverse else network)
    own, seen, out = (_kernels(each) for each in (network, on_chip, result))
    for kernel, read, target in zip(own, seen, out, strict=True):
        factor = scale(kernel[...], read[...])
        target[...] = target[...] / factor if inverse else target[...] * factor
    return result


def _kernels(network: Any) -> Sequence[Any]:
    state = nnx.state(network, nnx.PathContains("kernel"))
    return [variable for _, variable in nnx.to_flat_state(state)]


def drop(software: float, hardware: Sequence[float]) -> float:
    """Δ of the mean over chips, a fraction."""
    return relative_drop(software, float(np.mean(hardware)))
