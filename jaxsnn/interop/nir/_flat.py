"""A NIR graph without graphs inside: one input, one output, nodes by name, and what enters each."""

import dataclasses
from os import PathLike
from typing import Any

import numpy as np

INPUT, OUTPUT = "input", "output"


def package() -> Any:
    """The nir package.

    **Raises:** `ValueError` where it is not installed.
    """
    try:
        import nir
    except ImportError as error:
        raise ValueError("NIR needs the nir package: pip install 'spikechip[interop]'.") from error
    return nir


def opened(path: str | PathLike) -> Any:
    """The graph in a file, without nir's own check of shapes, which refuses files that are sound.

    **Raises:** `ValueError` that names the file where it is no NIR or damaged.
    """
    nir = package()
    try:
        return nir.read(path, type_check=False)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is damaged or holds no NIR graph ({type(error).__name__}: {error}); write it with "
            "nir.write."
        ) from error


@dataclasses.dataclass
class Flat:
    """Nodes by name without Input and Output, edges with "input" and "output", and an input's shape."""

    nodes: dict[str, Any]
    edges: list[tuple[str, str]]
    shape: tuple[int, ...]

    def into(self, name: str) -> list[str]:
        return [source for source, target in self.edges if target == name]

    def out_of(self, name: str) -> list[str]:
        return [target for source, target in self.edges if source == name]


def flat(graph: Any) -> Flat:
    """A graph with its subgraphs dissolved and its own input and output under one name each.

    **Raises:** `ValueError` that names the nodes, for several inputs or outputs, or none.
    """
    nir = package()
    if not isinstance(graph, nir.NIRGraph):
        raise ValueError(f"from_nir takes a NIR graph or the path of one, got a {type(graph).__name__}.")
    nodes, edges = _dissolved(nir, graph, "")
    entered, left = {target for _, target in edges}, {source for source, _ in edges}
    inputs = [name for name, node in nodes.items() if isinstance(node, nir.Input)]
    inputs = inputs or [name for name in nodes if name not in entered]
    outputs = [name for name, node in nodes.items() if isinstance(node, nir.Output)]
    outputs = outputs or [name for name in nodes if name not in left]
    for kind, names in (("inputs", inputs), ("outputs", outputs)):
        if len(names) != 1:
            listed = f" ({', '.join(map(repr, names))})" if names else ""
            raise ValueError(
                f"the graph has {len(names)} {kind}{listed} and must have one; cut it into parts."
            )
    start, end = nodes[inputs[0]], nodes[outputs[0]]
    shape = (getattr(start, "input_type", None) or {}).get("input")
    if shape is None:
        raise ValueError(
            f"node {inputs[0]!r}: it does not say the shape of an input; give the Input node one."
        )
    renamed: dict[str, str] = {}
    if isinstance(start, nir.Input):
        renamed[inputs[0]] = INPUT
    else:
        edges.append((INPUT, inputs[0]))
    if isinstance(end, nir.Output):
        renamed[outputs[0]] = OUTPUT
    else:
        edges.append((outputs[0], OUTPUT))
    taken = {INPUT, OUTPUT}
    for name in nodes:
        if name not in renamed:
            new = name
            while new in taken:
                new += "_"
            renamed[name] = new
            taken.add(new)
    kept = {renamed[n]: node for n, node in nodes.items() if renamed[n] not in (INPUT, OUTPUT)}
    joined = [(renamed.get(a, a), renamed.get(b, b)) for a, b in edges]
    return Flat(kept, list(dict.fromkeys(joined)), tuple(int(side) for side in np.ravel(shape)))


def _dissolved(nir: Any, graph: Any, prefix: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    nodes: dict[str, Any] = {}
    edges = [(prefix + str(a), prefix + str(b)) for a, b in graph.edges]
    known = {prefix + str(name) for name in graph.nodes}
    for edge in edges:
        for end in edge:
            if end not in known:
                raise ValueError(
                    f"the edge {edge[0]!r} → {edge[1]!r} joins a node {end!r} that the graph lacks."
                )
    for name, node in graph.nodes.items():
        full = prefix + str(name)
        if not isinstance(node, nir.NIRGraph):
            nodes[full] = node
            continue
        inner, inside = _dissolved(nir, node, f"{full}.")
        doors = {}
        for kind, ends in ((nir.Input, "inputs"), (nir.Output, "outputs")):
            found = [f"{full}.{n}" for n, part in node.nodes.items() if isinstance(part, kind)]
            if len(found) != 1:
                raise ValueError(
                    f"node {full!r}: a graph inside a graph must have one of {ends}, not {len(found)}."
                )
            doors[ends] = found[0]
            del inner[found[0]]
        nodes |= inner
        edges += inside
        edges = _bridged(edges, full, doors["inputs"], doors["outputs"])
    return nodes, edges


def _bridged(edges: list[tuple[str, str]], name: str, entry: str, leave: str) -> list[tuple[str, str]]:
    """Edges past a subgraph's node and its Input and Output."""
    first = [b for a, b in edges if a == entry]
    last = [a for a, b in edges if b == leave]
    straight = entry in last
    first = [b for b in first if b != leave]
    last = [a for a in last if a != entry]
    into = [a for a, b in edges if b == name]
    out_of = [b for a, b in edges if a == name]
    rest = [e for e in edges if name not in e and entry not in e and leave not in e]
    selves = name in into
    bridged = [(a, b) for a in into if a != name for b in first] + [
        (a, b) for a in last for b in out_of if b != name
    ]
    if selves:
        bridged += [(a, b) for a in last for b in first]
    if straight:
        bridged += [(a, b) for a in into for b in out_of]
    return rest + bridged
