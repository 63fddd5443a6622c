"""Networks whose weights or neurons note what they are given, for whoever asks afterwards."""

from typing import Any

from flax import nnx

from jaxsnn.graph import Graph
from jaxsnn.network import Network


def silent_at_rest(listening: Network, network: Network) -> None:
    """Lets the graphs of a network that listens find their rest on the same network that does not.

    A graph with circles finds the shapes of its rest by a trace of its own, also where nothing is compiled:
    what is noted there is no timestep, and may not leave that trace.

    **Arguments:** `listening`: changed in place. `network`: of the same modules, none of which notes
    anything.
    """
    modules: dict[Any, Any] = dict(nnx.iter_graph(listening))
    for path, graph in nnx.iter_graph(network):
        if isinstance(graph, Graph):
            modules[path].at_rest = nnx.static(graph.at_rest)
