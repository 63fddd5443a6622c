"""Which weights of a network see its input."""

from jaxsnn.graph import Graph
from jaxsnn.layers import Conv, Linear
from jaxsnn.network import Network
from jaxsnn.operations import Operation

Synapse = Conv | Linear


def entry_synapses(network: Network) -> list[Synapse]:
    """The weights that see the network's input, be it through operations without weights."""
    waiting = [network.layers[0]]
    found: list[Synapse] = []
    while waiting:
        layer = waiting.pop()
        if isinstance(layer, Graph):
            found += _entries(layer)
        elif hasattr(layer, "synapse"):
            found.append(layer.synapse)
        elif hasattr(layer, "blocks"):
            waiting.append(layer.blocks[0])
        else:
            inner = (getattr(layer, name, None) for name in ("first", "projection", "block"))
            waiting += [part for part in inner if part is not None]
    return found


def _entries(graph: Graph) -> list[Synapse]:
    nodes = dict(zip(graph.names, graph.modules, strict=True))
    seen, found = {-1}, []  # -1 stands for the input.
    for index, step in enumerate(graph.steps[:-1]):
        if seen.isdisjoint(step.now):
            continue
        node = nodes[step.name]
        if isinstance(node, Operation):
            seen.add(index)
        elif isinstance(node, Synapse):
            found.append(node)
    return found
