"""Training that knows the chip: every step runs the network as programmed crossbars would."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from hwmodels.chip import Analog
from hwmodels.crossbar import Converters, Crossbar, Wires, deploy, effective_conductance
from hwmodels.crossbar.deploy import target_tiles
from hwmodels.crossbar.expansion import Linearised, Reused
from hwmodels.crossbar.linearised import linearised
from hwmodels.crossbar.lumped import Lumped
from hwmodels.crossbar.programming import Solve
from hwmodels.sharding import distributed
from jaxsnn.codesign.folding import scaled_as
from jaxsnn.codesign.program import groups_of, program
from jaxsnn.learning.evaluation import split_parameters
from jaxsnn.learning.quantization import settled
from jaxsnn.learning.transform import Transform
from jaxsnn.network import Network

Between = Literal["reuse", "lumped", "linearised"]
EXPANSIONS: Mapping[str, Any] = {"reuse": Reused, "lumped": Lumped, "linearised": Linearised}


@dataclasses.dataclass(frozen=True)
class NoiseAware(Transform):
    """Deploys the network in the forward pass of every training step, on devices drawn anew each time.

    **Arguments:**

    - `crossbar`: the design.
    - `converters`: of every tile; None for ideal ones, which cost nothing.
    - `every`: steps from one exact solution of the circuits to the next. With 1, values and gradients are
      exact in every step.
    - `between`: what serves the steps of a period if it is longer: an expansion about the conductances meant
      at its start. "reuse" keeps each device's attenuation ([`hwmodels.crossbar.expansion.Reused`][]),
      "lumped" adds how devices load their row and column ([`hwmodels.crossbar.lumped.Lumped`][]),
      "linearised" is the tangent ([`hwmodels.crossbar.expansion.Linearised`][], which takes much more
      memory). The solution itself is not differentiated.
    - `software`: fraction of the steps that run without the chip, each kernel at its mean scale on it
      ([`scaled_as`][]), so that the weights also serve a network in software. The scale needs a solution,
      and no derivative of it. Test images always see the chip, solved exactly.
    - `mesh`: devices among which the tiles are cut, see [`hwmodels.sharding.distributed`][]; None for one.

    **Raises:** `ValueError` for a period below one step, an unknown `between`, and a fraction out of [0, 1)
    or with products that need their inputs (converters or read noise).
    """

    crossbar: Crossbar
    converters: Converters | None = None
    every: int = 1
    between: Between = "reuse"
    software: float = 0.0
    mesh: Mesh | None = None

    def __post_init__(self):
        if self.every < 1:
            raise ValueError(
                f"NoiseAware.every is the steps from one exact solution to the next, at least 1; "
                f"got {self.every}."
            )
        if self.between not in EXPANSIONS:
            raise ValueError(
                f"NoiseAware.between must be one of {', '.join(map(repr, EXPANSIONS))}; got {self.between!r}."
            )
        if not 0 <= self.software < 1:
            raise ValueError(
                "NoiseAware.software is the fraction of steps without the chip, in [0, 1); "
                f"got {self.software}."
            )
        by_tile = self.converters or self.crossbar.device.read_noise or self.crossbar.reads_exactly
        if self.software and by_tile:
            raise ValueError(
                "NoiseAware.software needs a chip that is weights alone; leave out converters, read noise "
                "and cells that are solved exactly."
            )

    def _solution(self, network: Network) -> dict[str, Any]:
        params = split_parameters(settled(network))[1]
        tiles = target_tiles(params, self.crossbar, groups=groups_of(network, params))
        at = self._cut(EXPANSIONS[self.between].at)
        seen = {dtype: linearised(G, self.crossbar) for dtype, G in tiles.items()}
        return {dtype: at(G, self.crossbar.wires) for dtype, G in seen.items()}

    def init(self, network: Network) -> Any:
        """Steps since the last solution, and that solution: none yet."""
        if self.every == 1:
            return ()
        empty = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(self._solution, network)
        )
        return jnp.zeros((), jnp.int32), empty

    def update(self, network: Network, state: Any, key: jax.Array) -> Any:
        """Solves the circuits again where a period begins."""
        if self.every == 1:
            return state
        step, solution = state
        solution = jax.lax.cond(step == 0, lambda: self._solution(network), lambda: solution)
        return (step + 1) % self.every, solution

    def apply(self, network: Network, state: Any, key: jax.Array) -> Network:
        """The network on chips programmed from `key`, or in software at their scale."""
        solve = self._solve(state)
        if not self.software:
            return program(network, Analog(self.crossbar, self.converters, self.converters), key, solve=solve)
        graph, params, rest = split_parameters(settled(network))

        def on_chip(params: Any) -> Any:
            groups = groups_of(network, params)
            return deploy(params, self.crossbar, key, groups=groups, solve=solve)

        def in_software(params: Any) -> Any:
            return scaled_as(params, on_chip(jax.lax.stop_gradient(params)))

        # The devices draw from the streams of the leaves.
        apart = jax.random.bernoulli(jax.random.fold_in(key, 0xFFFFFFFF), self.software)
        return nnx.merge(graph, jax.lax.cond(apart, in_software, on_chip, params), rest, copy=True)

    def evaluation(self) -> "NoiseAware":
        """Every chip solved exactly, and no step in software."""
        return dataclasses.replace(self, every=1, software=0.0)

    def _solve(self, state: Any) -> Solve:
        if self.every == 1:
            return self._cut(effective_conductance)
        expanded = self._cut(lambda batch, wires: batch[0](batch[1], wires))
        return lambda G, wires: expanded((state[1][str(G.dtype)], G), wires)

    def _cut(self, function: Callable[[Any, Wires], Any]) -> Callable[[Any, Wires], Any]:
        return function if self.mesh is None else distributed(function, self.mesh)
