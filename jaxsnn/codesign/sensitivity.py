"""The elasticities of energy and of weight errors, part by part."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from hwmodels.crossbar import Crossbar, deploy
from hwmodels.sensitivity import contributions, named
from hwmodels.workload import Workload
from jaxsnn.layers import synapses
from jaxsnn.learning.quantization import settled
from jaxsnn.network import Network


@dataclasses.dataclass(frozen=True)
class Sensitivities:
    """Elasticities of one cost: by how many percent it changes for one percent of a parameter.

    - `total`: by parameter, the greatest magnitudes first; zeros are left out.
    - `parts`: for each part of the cost (components, or layers), what it contributes to each of them.
    """

    total: dict[str, float]
    parts: dict[str, dict[str, float]]

    def among(self, chosen: Callable[[str], bool]) -> "Sensitivities":
        """Those to some of the parameters."""
        return Sensitivities(
            {name: value for name, value in self.total.items() if chosen(name)},
            {
                part: {name: value for name, value in values.items() if chosen(name)}
                for part, values in self.parts.items()
            },
        )

    def greatest(self, count: int) -> "Sensitivities":
        """Those to the parameters that matter most, without the parts that have none of them."""
        names = list(self.total)[:count]
        kept = self.among(names.__contains__)
        least = 1e-3 * max(map(abs, kept.total.values()), default=0.0)
        return Sensitivities(
            kept.total,
            {
                part: values
                for part, values in kept.parts.items()
                if max(map(abs, values.values()), default=0.0) > least
            },
        )


def energy_sensitivities(
    cost: Callable[[Workload, Any], Any], workload: Workload, chip: Any
) -> dict[str, Sensitivities]:
    """How the energy of one inference depends on every number of a chip, on the rates and on T.

    **Arguments:**

    - `cost`: of a workload on a chip, with `energy_by_component_j` and `energy_by_layer_j`, in joule.
    - `workload`, `chip`: what it is given.

    **Returns:** the same elasticities split "component" by component and "layer" by layer.
    """
    tree = {
        "chip": chip,
        "rate": {layer.name: layer.input_rate for layer in workload.layers},
        "timesteps": workload.timesteps,
    }

    def costs(tree: dict[str, Any]) -> Any:
        layers = tuple(
            dataclasses.replace(layer, input_rate=tree["rate"][layer.name]) for layer in workload.layers
        )
        return cost(Workload(layers, tree["timesteps"]), tree["chip"])

    def split(kind: str) -> Sensitivities:
        return _sensitivities(contributions(lambda tree: getattr(costs(tree), f"energy_by_{kind}_j"), tree))

    return {kind: split(kind) for kind in ("component", "layer")}


def _sensitivities(found: Mapping[str, Any]) -> Sensitivities:
    parts = {part: named(tree) for part, tree in found.items()}
    total = {name: sum(values[name] for values in parts.values()) for name in next(iter(parts.values()))}
    order = sorted((name for name, value in total.items() if value), key=lambda name: -abs(total[name]))
    return Sensitivities(
        {name: total[name] for name in order},
        {part: {name: values[name] for name in order} for part, values in parts.items()},
    )


def kernels_of(network: Network) -> dict[str, jax.Array]:
    """The kernels that a chip is asked to hold, by layer: those of a quantised network are quantised."""
    return {name: synapse.kernel[...] for name, synapse in synapses(settled(network)).items()}


def groups_of_kernels(network: Network) -> tuple[tuple[str, int], ...]:
    """The groups of its grouped convolutions, by layer."""
    groups = ((name, getattr(synapse, "groups", 1)) for name, synapse in synapses(network).items())
    return tuple((name, count) for name, count in groups if count > 1)


def weight_errors(
    kernels: Mapping[str, jax.Array],
    crossbar: Crossbar,
    key: jax.Array,
    groups: Sequence[tuple[str, int]] = (),
) -> dict[str, Any]:
    """Each layer's mean error of a weight on the chip, `Σ|w_chip − w| / Σ|w|`.

    **Arguments:** `kernels`, `groups`: as [`kernels_of`][] and [`groups_of_kernels`][] make them. `crossbar`,
    `key`: as for [`hwmodels.crossbar.deploy`][].

    **Returns:** fractions by layer; the sum of errors itself where all weights are zero.
    """
    paths = {name: f"[{name!r}]['kernel']" for name in kernels}
    chip = deploy(
        {name: {"kernel": kernel} for name, kernel in kernels.items()},
        crossbar,
        key,
        groups=[(paths[name], count) for name, count in groups],
    )
    errors = {}
    for name, kernel in kernels.items():
        size = jnp.sum(jnp.abs(kernel))
        errors[name] = jnp.sum(jnp.abs(chip[name]["kernel"] - kernel)) / jnp.where(size > 0, size, 1)
    return errors


def weight_error_sensitivities(
    kernels: Mapping[str, jax.Array],
    crossbar: Crossbar,
    key: jax.Array,
    groups: Sequence[tuple[str, int]] = (),
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Each layer's weight error, and its elasticities to the numbers of the crossbar's wires and devices.

    The elasticities of a layer without error are 0.

    **Arguments:** as for [`weight_errors`][].

    **Raises:** `ValueError` where no layer has an error.
    """
    held = jax.jit(weight_errors, static_argnames="groups")(kernels, crossbar, key, groups=tuple(groups))
    errors = {name: float(error) for name, error in held.items()}
    found = contributions(lambda crossbar: weight_errors(kernels, crossbar, key, groups), crossbar)
    total = sum(errors.values())
    return errors, {
        layer: {
            name: share * total / errors[layer] if errors[layer] else 0.0
            for name, share in named(tree).items()
        }
        for layer, tree in found.items()
    }
