"""Networks that branch, join and run in circles, as one layer."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jaxsnn._plan import INPUT, Step, plan
from jaxsnn.layers import Conv, Linear, Pooling, draws, layer_record, run_neuron
from jaxsnn.neuron import Neuron
from jaxsnn.operations import Operation, Pool
from jaxsnn.signal import LayerRecord, Signal

Heard = tuple[Array, Array | None]
"""Values of neurons in the timestep before, and their activity."""


class Graph(nnx.Module):
    """Weights, operations and neurons joined by edges; what enters a node over several edges is added.

    Where edges run in a circle, neurons give others the spikes of the timestep before: those that the input
    reaches first run first, and neurons that it reaches at the same time hear one another's spikes of the
    step before. A graph without circles runs layer by layer, one with them step by step.

    **Arguments:**

    - `nodes`: a [`jaxsnn.layers.Conv`][], [`jaxsnn.layers.Linear`][], a neuron or an
      [`jaxsnn.operations.Operation`][] by name.
    - `edges`: (from, to), with "input" and "output" for the graph's own.
    - `bias_at_start`: whether a bias of weights that hear nothing but spikes of the step before acts in the
      first timestep; see [`jaxsnn.recurrence.Recurrent`][].

    **Raises:** `ValueError` for edges to unknown nodes, for a circle without a neuron, and for neurons that
    the input does not reach.
    """

    def __init__(
        self, nodes: Mapping[str, Any], edges: Sequence[tuple[str, str]], *, bias_at_start: bool = True
    ):
        neurons = {name for name, node in nodes.items() if isinstance(node, Neuron)}
        self.steps: tuple[Step, ...] = plan(tuple(nodes), neurons, edges)
        self.names = tuple(dict.fromkeys(step.name for step in self.steps[:-1]))
        self.modules = nnx.List([nodes[name] for name in self.names])
        self.heard = tuple(sorted({name for step in self.steps for name in step.before}))
        self.waiting = () if bias_at_start else self._late(neurons)

    def _late(self, neurons: set[str]) -> tuple[int, ...]:
        """The steps that nothing but spikes of the timestep before reaches."""
        late: list[int] = []
        for index, step in enumerate(self.steps[:-1]):
            if step.name not in neurons and (step.now or step.before) and all(i in late for i in step.now):
                late.append(index)
        return tuple(late)

    @property
    def name(self) -> str:
        return self.names[-1]

    def named_synapses(self) -> dict[str, Conv | Linear]:
        modules = zip(self.names, self.modules, strict=True)
        return {name: module for name, module in modules if isinstance(module, Conv | Linear)}

    @property
    def accumulates(self) -> bool:
        last = self.steps[-1].now
        return len(last) == 1 and last[0] != INPUT and getattr(self._node(last[0]), "accumulates", False)

    def _node(self, step: int) -> Any:
        return self.modules[self.names.index(self.steps[step].name)]

    def __call__(
        self, signal: Signal, state: Any, *, start: int | Array, training: bool = False
    ) -> tuple[Signal, Any, tuple[LayerRecord, ...]]:
        states, before = (None, None) if state is None else state
        if not self.heard:
            out, states, _, records = self._run(signal, states, {}, start)
            return out, (states, None), records
        if state is None:
            states, before = self.at_rest(signal)

        def step(carry, now):
            states, before = carry
            time, moving = now
            values, activity = (signal.values, signal.activity) if moving is None else moving
            one = dataclasses.replace(signal, values=values, activity=activity, steps=1)
            out, states, before, records = self._run(one, states, before, start + time)
            return (states, before), (out, records)

        moving = None
        if not signal.constant:
            moving = jax.tree.map(lambda x: x[:, None], (signal.values, signal.activity))
        xs = jnp.arange(signal.steps, dtype=jnp.int32), moving
        convolves = any(isinstance(module, Conv) for module in self.modules)
        unroll = signal.steps if convolves else min(signal.steps, 16)
        (states, before), (out, records) = jax.lax.scan(
            step, (states, before), xs, length=signal.steps, unroll=max(unroll, 1)
        )
        values, activity = jax.tree.map(lambda x: x[:, 0], (out.values, out.activity))
        joined = dataclasses.replace(
            out, values=values, activity=activity, steps=signal.steps, key=signal.key
        )
        return joined, (states, before), jax.tree.map(lambda rates: rates.mean(axis=0), records)

    def at_rest(self, signal: Signal) -> tuple[dict[str, Any], dict[str, Heard]]:
        """The neurons at rest and silent, in the shapes that a timestep of the input gives them."""
        shapes: dict[str, Any] = {}
        first = signal.at(0)

        def heard(first):
            _, _, before, _ = self._run(first, None, {}, 0, shapes)
            return before

        before = jax.eval_shape(heard, first)
        for name in self.heard:
            if name not in before:
                raise ValueError(
                    f"the neurons {name!r} hear nothing but spikes of the timestep before; join them to the "
                    "input."
                )
        modules = dict(zip(self.names, self.modules, strict=True))
        states = {name: modules[name].initial_state(*shape) for name, shape in shapes.items()}
        return states, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), before)

    def _run(
        self,
        signal: Signal,
        states: Any,
        before: Mapping[str, Heard],
        start: int | Array,
        shapes: Any = None,
    ) -> tuple[Signal, Any, dict[str, Heard], tuple[LayerRecord, ...]]:
        """A stretch of time through all nodes; edges whose earlier spikes are unknown are left out.

        `shapes` collects what neurons get, to put them at rest.
        """
        values: list[Signal | None] = []
        after: dict[str, Any] = {}
        for index, step in enumerate(self.steps):
            parts = [signal if index == INPUT else values[index] for index in step.now]
            parts += [self._heard(name, signal, before) for name in step.before]
            present = [part for part in parts if part is not None]
            if not present:
                values.append(None)
                continue
            try:
                joined = _joined(present)
                if step is self.steps[-1]:
                    values.append(joined)
                    continue
                node = self.modules[self.names.index(step.name)]
                if isinstance(node, Neuron):
                    if shapes is not None:
                        shapes[step.name] = joined.values.shape[1:], joined.values.dtype
                    state = None if states is None else states[step.name]
                    fired, after[step.name] = run_neuron(node, joined, state, self._origin(step.name, signal))
                    values.append(fired)
                elif isinstance(node, Operation):
                    values.append(node.of(joined))
                else:
                    if joined.constant and draws(node):
                        joined = joined.repeated()
                    currents = node(joined.values, start=start, key=joined.key)
                    if index in self.waiting and node.bias is not None:
                        currents = jnp.where(start > 0, currents, 0)
                    values.append(joined.with_values(currents))
            except ValueError as error:
                raise ValueError(f"layer {step.name!r}: {error}") from error
        heard = {
            step.name: (value.values, value.activity)
            for step, value in zip(self.steps, values, strict=True)
            if value is not None and step.name in self.heard
        }
        out = values[-1]
        assert out is not None
        return out, after, heard, self._records(signal, values, before)

    def _heard(self, name: str, signal: Signal, before: Mapping[str, Heard]) -> Signal | None:
        """What neurons gave in the timestep before, or None where nothing is known of it."""
        if name not in before:
            return None
        values, activity = before[name]
        origin = self._origin(name, signal)
        return dataclasses.replace(
            signal, values=values, activity=activity, analog=False, origin=origin, pool=1
        )

    def _origin(self, neurons: str, signal: Signal) -> str:
        """The weights by whose name the records know neurons."""
        index = next(i for i, step in enumerate(self.steps) if step.name == neurons)
        weights = self._weights_of(index)
        return self.steps[weights[0]].name if weights else signal.origin

    def _records(self, signal: Signal, values: list[Signal | None], before: Mapping[str, Heard]):
        records: list[LayerRecord] = []
        for index, step in enumerate(self.steps[:-1]):
            node = self._node(index)
            if not isinstance(node, Conv | Linear):
                continue
            seen = [signal if i == INPUT else values[i] for i in step.now]
            seen += [self._heard(name, signal, before) for name in step.before]
            present = [part for part in seen if part is not None]
            target, current = self._driven(index), values[index]
            out = None if target is None else values[target]
            if not present or current is None:
                continue
            neuron = None if target is None else self._node(target)
            first = target is not None and self._weights_of(target)[0] == index
            records.append(
                layer_record(
                    step.name if all(r.name != step.name for r in records) else f"{step.name}_again",
                    node,
                    _joined(present),
                    current if out is None else out,
                    spiking=bool(first and neuron is not None and neuron.spiking),
                    **(self._pooling(index, target) if first else {}),
                    shortcut=self._shortcut(index, target, signal, values) if first else None,
                    recurrent=bool(step.before) and not step.now,
                )
            )
        return tuple(records)

    def _shortcut(self, weights: int, target: int | None, signal: Signal, values: list[Any]) -> str | None:
        """Where that comes from which is added to the currents of weights before neurons, or None."""
        for index in () if target is None else self.steps[target].now:
            if index == INPUT:
                return signal.origin
            through_weights = index == weights or self._leads_to(weights, index)
            if not through_weights and values[index] is not None:
                node = self._node(index)
                return self.steps[index].name if isinstance(node, Conv | Linear) else values[index].origin
        return None

    def _leads_to(self, start: int, end: int) -> bool:
        """Whether a node's output reaches another one through operations alone."""
        if not isinstance(self._node(end), Operation):
            return False
        return any(i == start or (i != INPUT and self._leads_to(start, i)) for i in self.steps[end].now)

    def _driven(self, index: int) -> int | None:
        """The neurons that get the currents of a node, through operations."""
        for later, step in enumerate(self.steps[:-1]):
            if index in step.now:
                node = self._node(later)
                if isinstance(node, Neuron):
                    return later
                found = self._driven(later) if isinstance(node, Operation) else None
                if found is not None:
                    return found
        return None

    def _weights_of(self, target: int) -> list[int]:
        """The weights whose currents neurons get; those of the input before recurrent ones."""
        weights = [
            index
            for index in range(len(self.steps) - 1)
            if isinstance(self._node(index), Conv | Linear) and self._driven(index) == target
        ]
        return sorted(weights, key=lambda index: bool(self.steps[index].before))

    def _pooling(self, index: int, target: int | None) -> dict[str, Any]:
        """The pooling of a record: before the neurons that weights drive, or after them."""
        before = self._plain_pool(index)
        pool = self._plain_pool(target) if before is None else before
        if pool is None:
            return {}
        kind: Pooling = "max" if pool.kind == "max" else "average"
        first = before is not None and target is not None
        return {"pool": pool.kernel[0], "pooling": kind, "pool_first": first}

    def _plain_pool(self, index: int | None) -> Pool | None:
        """The pool that alone follows a node."""
        following = [self._node(i) for i, step in enumerate(self.steps[:-1]) if index in step.now]
        pool = following[0] if len(following) == 1 else None
        return pool if isinstance(pool, Pool) and pool.plain else None


def _joined(parts: Sequence[Signal]) -> Signal:
    """The sum of signals; what is constant in time stays so only among its like."""
    first = parts[0]
    if len(parts) == 1:
        return first
    shapes = {part.values.shape[2:] for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"signals of different shapes {sorted(shapes)} are to be added.")
    values = sum((part.values for part in parts[1:]), start=first.values)
    active = [part.activity for part in parts]
    activity = None
    known = [a for a in active if a is not None]
    if len(known) == len(active):
        silent: Any = 1
        for a in known:
            silent = silent * (1 - a)
        activity = 1 - silent
    analog = any(part.analog for part in parts)
    return dataclasses.replace(first, values=values, activity=activity, analog=analog)
