"""A search problem as one hashable value, and the two ways to measure a design: traced, and exactly."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from hwmodels.rounding import largest
from hwmodels.search.constraints import Constraint
from hwmodels.search.parameters import Number, Parameter


@dataclass(frozen=True)
class Problem:
    """Minimise `objective(build(**values))` under constraints; hashable, so that it compiles once.

    **Arguments:** as for [`minimise`][]; `fixed`: values of the enumerated parameters, by name.
    """

    objective: Callable[[Any], Any]
    build: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...]
    fixed: tuple[tuple[str, Any], ...] = ()

    def values(self, numbers: Sequence[Any]) -> dict[str, Any]:
        """Values of all parameters, by name."""
        names = (parameter.name for parameter in self.parameters)
        return dict(zip(names, numbers, strict=True)) | dict(self.fixed)

    def measure(self, numbers: Sequence[Any]) -> list[Any]:
        """The objective, then every constrained quantity."""
        design = self.build(**self.values(numbers))
        return [self.objective(design), *(c.quantity(design) for c in self.constraints)]

    def exactly(self, numbers: Sequence[Number]) -> list[float]:
        """The measures of a design that is made of Python numbers."""
        return [float(value) for value in self.measure(numbers)]

    def traced(self, numbers: Float[Array, " parameters"]) -> Float[Array, " measures"]:
        """The measures of a design that is made of traced numbers."""
        measured = [jnp.asarray(value, numbers.dtype) for value in self.measure(list(numbers))]
        for name, value in zip(("the objective", *(c.name for c in self.constraints)), measured, strict=True):
            if value.shape:
                raise ValueError(f"{name} must be one number, got an array of shape {value.shape}.")
        return jnp.stack(measured)

    def excess(self, measures: Sequence[Any]) -> list[Any]:
        """What misses each bound, as fractions; see [`Constraint.excesses`][]."""
        pairs = zip(self.constraints, measures[1:], strict=True)
        return [excess for constraint, value in pairs for excess in constraint.excesses(value)]


class Descent(NamedTuple):
    """What gradient descent saw, step by step: one design of each restart; only `taken` steps hold any."""

    numbers: Float[Array, "steps restarts parameters"]
    measures: Float[Array, "steps restarts measures"]
    gradients: Float[Array, "steps restarts parameters"]
    taken: Int[Array, ""]


@partial(jax.jit, static_argnames=("problem", "steps", "optimizer"))
def descend(
    problem: Problem,
    start: Float[Array, "restarts parameters"],
    *,
    steps: int,
    optimizer: optax.GradientTransformation,
) -> Descent:
    """Projected gradient descent in [0, 1] per parameter, all restarts at once.

    A step goes down the objective where the design keeps its constraints, and down the worst violation where
    it does not (the switching subgradient method of Polyak, 1967). Directions have unit length before the
    optimiser sees them, so neither needs a weight, and a learning rate is a fraction of a parameter's range.
    All stop after a step in which a measure or a slope of one of them is NaN or infinite.
    """

    def merit(position: Array) -> tuple[Array, tuple[Array, Array]]:
        numbers = jnp.stack(
            [parameter.at(u) for parameter, u in zip(problem.parameters, position, strict=True)]
        )
        measures = problem.traced(numbers)
        value = measures[0]
        if problem.constraints:
            worst = largest(jnp.stack(problem.excess(list(measures))))
            value = jnp.where(worst > 0, worst, value)
        return value, (numbers, measures)

    def step(position: Array, memory: Any) -> tuple[Array, Any, tuple[Array, Array, Array]]:
        gradient, (numbers, measures) = jax.grad(merit, has_aux=True)(position)
        # Scaled first: the square of 1e-30 is zero in float32.
        steepest = jnp.max(jnp.abs(gradient))
        direction = gradient / jnp.where(steepest > 0, steepest, 1)
        direction = direction / jnp.maximum(jnp.linalg.norm(direction), 1)
        with jax.numpy_dtype_promotion("standard"):  # optax divides integers by floats
            update, memory = optimizer.update(direction, memory, position)
        moved = jnp.clip(optax.apply_updates(position, update), 0, 1)
        return moved, memory, (numbers, measures, gradient)

    def onward(state: tuple[Array, Any, Descent, Array]) -> tuple[Array, Any, Descent, Array]:
        position, memory, descent, _ = state
        position, memory, seen = jax.vmap(step)(position, memory)
        taken = descent.taken
        numbers, measures, gradients = (
            path.at[taken].set(now) for path, now in zip(descent[:3], seen, strict=True)
        )
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(now)) for now in seen]))
        return position, memory, Descent(numbers, measures, gradients, taken + 1), finite

    memory = jax.vmap(optimizer.init)(start)
    shapes = jax.eval_shape(jax.vmap(step), start, memory)[2]
    numbers, measures, gradients = (jnp.zeros((steps, *shape.shape), shape.dtype) for shape in shapes)
    empty = Descent(numbers, measures, gradients, jnp.asarray(0))
    begin = start, memory, empty, jnp.asarray(True)
    return jax.lax.while_loop(lambda state: (state[2].taken < steps) & state[3], onward, begin)[2]


@partial(jax.jit, static_argnames="problem")
def measure_all(
    problem: Problem, numbers: Float[Array, "designs parameters"]
) -> Float[Array, "designs measures"]:
    """The measures of many designs."""
    return jax.vmap(problem.traced)(numbers)
