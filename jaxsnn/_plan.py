"""The order in which a graph of weights and neurons is computed, and which spikes are a timestep old."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

INPUT = -1
"""Stands for the graph's input among the steps that a step reads."""


class Step(NamedTuple):
    """A node to compute: the steps of this timestep and the neurons of the one before that it adds up."""

    name: str
    now: tuple[int, ...]
    before: tuple[str, ...]


def plan(names: Sequence[str], neurons: set[str], edges: Sequence[tuple[str, str]]) -> tuple[Step, ...]:
    """Steps in order; the last one is the output.

    A neuron hears another one's spikes of the timestep before if that one is computed after it or along with
    it. Neurons are computed in the order of their circles; inside a circle, those first which the rest of the
    graph reaches first.

    **Arguments:** `names` of nodes; `neurons`: those of them that keep a state; `edges`: (from, to), with
    "input" and "output".

    **Raises:** `ValueError` for unknown nodes, circles without a neuron, and neurons that nothing reaches.
    """
    known = {*names, "input", "output"}
    for edge in edges:
        for name in edge:
            if name not in known:
                raise ValueError(f"the edge {edge} joins a node {name!r} that there is not.")
    into: dict[str, list[str]] = {name: [] for name in known}
    for source, target in edges:
        if source not in into[target]:
            into[target].append(source)
    sources = _sources(into, neurons)
    levels = _levels({name: sources[name] for name in neurons}, into)
    steps: list[Step] = []
    made: dict[tuple[str, frozenset[str]], int] = {}

    def add(name: str, late: frozenset[str]) -> int:
        """The step of a node for a reader that hears the neurons `late` of the timestep before."""
        late = late & sources[name] if name not in neurons else frozenset()
        if (name, late) in made:
            return made[name, late]
        now, before = [], []
        hears = frozenset(s for s in sources[name] if s in neurons and levels[s] >= levels[name])
        for source in into[name]:
            old = hears if name in neurons else late
            if source == "input":
                now.append(INPUT)
            elif source in neurons and source in old:
                before.append(source)
            else:
                now.append(add(source, old))
        steps.append(Step(name, tuple(now), tuple(before)))
        made[name, late] = len(steps) - 1
        return made[name, late]

    levels["output"] = len(known)
    for name in names:
        if name not in neurons:
            levels[name] = len(known)
    for name in sorted(neurons & _reaching("output", into), key=lambda name: levels[name]):
        add(name, frozenset())
    add("output", frozenset())
    return tuple(steps)


def _sources(into: Mapping[str, list[str]], neurons: set[str]) -> dict[str, frozenset[str]]:
    """The neurons, and "input", that a node hears through nodes without a state."""
    found: dict[str, frozenset[str]] = {}
    path: list[str] = []

    def of(name: str) -> frozenset[str]:
        if name in found:
            return found[name]
        if name in path:
            circle = " → ".join([*path[path.index(name) :], name])
            raise ValueError(f"the circle {circle} has no neurons; put neurons into it.")
        path.append(name)
        heard: set[str] = set()
        for source in into[name]:
            heard |= {source} if source in neurons or source == "input" else of(source)
        path.pop()
        found[name] = frozenset(heard)
        return found[name]

    for name in into:
        of(name)
    return found


def _reaching(target: str, into: Mapping[str, list[str]]) -> set[str]:
    seen, todo = {target}, [target]
    while todo:
        for source in into[todo.pop()]:
            if source not in seen:
                seen.add(source)
                todo.append(source)
    return seen


def _levels(sources: Mapping[str, frozenset[str]], into: Mapping[str, list[str]]) -> dict[str, int]:
    """When neurons are computed; equal for those that hear one another of the timestep before."""
    levels = {"input": 0}
    wanted = _reaching("output", into)
    above = {name: _ancestors(name, sources) for name in sources}
    left = {name for name in sources if name in wanted}
    while left:
        level = max(levels.values()) + 1
        ready = {n for n in left if all(s in levels for s in sources[n])}
        if not ready:
            # Circles that hear nothing of neurons still to come, but of their own.
            first = {n for n in left if all(s in levels or n in above[s] for s in above[n])}
            ready = {n for n in first if any(s in levels for s in sources[n])}
            if not ready:
                raise ValueError(f"the input does not reach the neurons {min(left)!r}; join them by an edge.")
        levels |= dict.fromkeys(ready, level)
        left -= ready
    return levels


def _ancestors(name: str, sources: Mapping[str, frozenset[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [name]
    while todo:
        for source in sources.get(todo.pop(), ()):
            if source not in seen:
                seen.add(source)
                todo.append(source)
    return seen
