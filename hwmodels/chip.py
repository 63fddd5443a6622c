"""What every chip answers: what its arithmetic makes of a network, and what a workload costs on it.

A chip is a pytree with three things, from which accuracy and cost are both derived:

- `label`: how tables call it.
- `arithmetic()`: [`Analog`][], crossbars behind converters, or [`Digital`][], operands of so many bits.
- `cost(workload, conventions)`: energy, latency and area with their breakdowns, a [`Cost`][].

It may have `facts`, texts by name ("node", "size", "bits"), which tables show in columns of their own.

[`hwmodels.spikeflow.Chip`][] and [`hwmodels.sata.Accelerator`][] are two; any other class with these is a
third and needs no registration.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import equinox as eqx

from hwmodels.crossbar import Converters, Crossbar
from hwmodels.workload import Scalar, Workload


class Analog(eqx.Module):
    """Kernels become conductances of crossbars, and products are currents.

    **Arguments:**

    - `crossbar`: the array design.
    - `converters`: of tiles whose inputs are spikes; None for ideal ones.
    - `encoder`: of tiles whose inputs are an image's values; None for ideal ones.
    """

    crossbar: Crossbar
    converters: Converters | None = None
    encoder: Converters | None = None

    @property
    def random(self) -> bool:
        """Whether two chips of this design differ."""
        device = self.crossbar.device
        sources: list[Any] = [device.variation, device.faults, device.drift, device.read_noise]
        sources += [each.adc for each in (self.converters, self.encoder) if each is not None]
        return any(source is not None for source in sources)


class Digital(eqx.Module):
    """Products are exact sums of operands of so many bits; None for operands as they are.

    **Arguments:**

    - `weight_bits`: of a weight, symmetric and uniform; one scale a layer.
    - `image_bits`: of a pixel.
    - `accumulator_bits`: of a layer's sum, in whole steps of its weights; it saturates.
    - `threshold_bits`: the threshold θ is the greatest number that they hold, so that potentials count in
      units of $θ/(2^b − 1)$.
    - `membrane_bits`: of a potential between timesteps, signed, in these units; it saturates.
    - `activation_bits`: of what a neuron without spikes sends on; one scale an image.
    """

    weight_bits: Scalar | None = None
    image_bits: Scalar | None = None
    accumulator_bits: Scalar | None = None
    threshold_bits: Scalar | None = None
    membrane_bits: Scalar | None = None
    activation_bits: Scalar | None = None

    random = False


Arithmetic = Analog | Digital


@runtime_checkable
class Cost(Protocol):
    """What one inference costs on a chip; every cost model's result has these."""

    @property
    def energy_j(self) -> Any:
        """Joule."""

    @property
    def latency_s(self) -> Any:
        """Second, from the input to the last timestep's result."""

    @property
    def area_mm2(self) -> Any:
        """Square millimetre."""

    @property
    def energy_by_component_j(self) -> Mapping[str, Any]:
        """Joule by component."""

    @property
    def energy_by_layer_j(self) -> Mapping[str, Any]:
        """Joule by layer."""

    @property
    def latency_by_layer_s(self) -> Mapping[str, Any]:
        """Second that each layer adds."""

    @property
    def area_by_component_mm2(self) -> Mapping[str, Any]:
        """Square millimetre by component."""


@runtime_checkable
class Chip(Protocol):
    """What every chip answers."""

    @property
    def label(self) -> str:
        """How tables call it: kind, node, size, bits."""

    def arithmetic(self) -> Arithmetic:
        """What the chip's arithmetic makes of a network."""

    def cost(self, workload: Workload, conventions: Any = "corrected") -> Cost:
        """What one inference of a workload costs."""


def arithmetic(design: Chip | Arithmetic | Crossbar) -> Arithmetic:
    """The arithmetic of a chip, or of a bare array design with ideal converters.

    **Raises:** `TypeError` for anything else.
    """
    if isinstance(design, Crossbar):
        return Analog(design)
    if isinstance(design, Analog | Digital):
        return design
    if hasattr(design, "arithmetic") and not isinstance(design, type):
        return design.arithmetic()
    raise TypeError(
        "a network is programmed onto a chip (such as spikeflow.Chip() or sata.Accelerator()) or onto a "
        f"Crossbar, not onto {design!r}."
    )


def require_chip(name: str, chip: Any) -> None:
    """**Raises:** `TypeError`, naming the chip, where something lacks what every chip answers, and what its
    `arithmetic()` raises."""
    missing = [part for part in ("label", "arithmetic", "cost") if not hasattr(chip, part)]
    if missing or isinstance(chip, type):
        raise TypeError(
            f"chips[{name!r}] must answer `label`, `arithmetic()` and `cost(workload, conventions)` as "
            f"spikeflow.Chip() does; {chip!r} " + ("is a class." if not missing else f"lacks {missing[0]}.")
        )
    if not isinstance(chip.label, str):
        raise TypeError(f"chips[{name!r}].label must be text, as tables call the chip; got {chip.label!r}.")
    chip.arithmetic()  # What cannot be programmed says so before there is any work to lose.


def require_answers(name: str, chip: Chip, workload: Workload, conventions: Any = "corrected") -> None:
    """**Raises:** `TypeError` and `ValueError`, naming the chip and the attribute, for an arithmetic that is
    none, and for a cost that [`require_cost`][] refuses."""
    made = chip.arithmetic()
    if not isinstance(made, Analog | Digital):
        raise TypeError(
            f"chips[{name!r}].arithmetic() must be an Analog or a Digital of hwmodels.chip, got {made!r}."
        )
    require_cost(name, chip.cost(workload, conventions))


_BREAKDOWNS = {
    "energy_j": ("energy_by_component_j", "energy_by_layer_j"),
    "latency_s": ("latency_by_layer_s",),
    "area_mm2": ("area_by_component_mm2",),
}
_ROUNDING = 1e-4
"""Relative: of sums in float32 of many parts."""


def require_cost(name: str, cost: Any) -> None:
    """**Raises:** `TypeError` for a cost that lacks an attribute of [`Cost`][] or has one of another kind;
    `ValueError` for totals that are not finite and above zero, for parts that are not finite or are negative,
    and for parts that do not add up to their total. Errors name the chip and the attribute."""
    for total, breakdowns in _BREAKDOWNS.items():
        value = _cost_number(name, total, _cost_part(name, cost, total))
        if not 0 < value < math.inf:
            raise ValueError(f"{_said(name, total)} must be finite and above zero, got {value:g}.")
        for breakdown in breakdowns:
            parts = _cost_part(name, cost, breakdown)
            if not isinstance(parts, Mapping):
                raise TypeError(f"{_said(name, breakdown)} must map names to numbers, got {parts!r}.")
            numbers = {
                part: _cost_number(name, f"{breakdown}[{part!r}]", each) for part, each in parts.items()
            }
            for part, each in numbers.items():
                if not 0 <= each < math.inf:
                    said = _said(name, f"{breakdown}[{part!r}]")
                    raise ValueError(f"{said} must be finite and zero or more, got {each:g}.")
            added = sum(numbers.values())
            if not math.isclose(added, value, rel_tol=_ROUNDING):
                raise ValueError(
                    f"{_said(name, breakdown)} adds up to {added:g}, and {total} is {value:g}; a breakdown "
                    "must hold all of its total."
                )


def _said(name: str, attribute: str) -> str:
    return f"chips[{name!r}].cost(workload, conventions).{attribute}"


def _cost_part(name: str, cost: Any, attribute: str) -> Any:
    if not hasattr(cost, attribute):
        raise TypeError(
            f"{_said(name, attribute)} is missing; a cost has "
            f"{', '.join(each for total, parts in _BREAKDOWNS.items() for each in (total, *parts))}."
        )
    return getattr(cost, attribute)


def _cost_number(name: str, attribute: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{_said(name, attribute)} must be a number, got {value!r}.") from None
