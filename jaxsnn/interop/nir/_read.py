"""From a NIR graph to a network."""

import math
import warnings
from os import PathLike, fspath
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from jaxsnn.encoding import Direct, Encoding
from jaxsnn.interop.nir import _neurons
from jaxsnn.interop.nir._assemble import layers
from jaxsnn.interop.nir._flat import Flat, flat, opened, package
from jaxsnn.interop.nir._nodes import translated
from jaxsnn.network import Network


def from_nir(
    graph: Any,
    *,
    dt: float | Literal["auto"] = 1e-4,
    encoding: Encoding = Direct(),
    dtype=jnp.float32,
    inclusive: bool = False,
) -> Network:
    """A network that gives the spikes which a NIR graph's equations give with Euler's method.

    Every node of NIR's paper is read but `Threshold` and `Delay`; graphs inside graphs are dissolved; edges
    that meet in a node are added. In a circle a neuron hears the spikes of the timestep before (see
    [`jaxsnn.graph.Graph`][]). Factors `r·dt/τ` and `w_in·dt/τ_syn` that are not 1 go into the weights before
    the neurons. Pooling before neurons becomes a larger convolution, and a sum of patches their mean, with
    the next weights times as much.

    **Arguments:**

    - `graph`: a `nir.NIRGraph`, or the path of a file.
    - `dt`: what a timestep stands for, in the unit of the file's time constants, usually seconds. snnTorch
      and SpikingJelly write for 1e-4, sinabs and Spyx for 1, Norse for 0.001. "auto" takes the one with which
      currents are added as they are, if the file's r and w_in tell one.
    - `encoding` and `dtype` of the network that is made.
    - `inclusive`: neurons fire at v ≥ θ: for files of SpikingJelly and sinabs, which do; NIR itself has v >
      θ.

    **Returns:** a network that takes inputs channels last, (…, height, width, channels); [`Network.unroll`][]
    takes them channels first too, where the shape tells which is meant.

    **Raises:** `ValueError` that names the node, or the file, which cannot be read exactly, and the remedy.

    Pedersen et al., "Neuromorphic intermediate representation", Nature Communications 15, 8122 (2024).

    ```python
    network = from_nir("braille.nir", dt=1e-4)
    spikes = network.unroll(inputs)  # (time, batch, 12) to (time, batch, 7)
    ```
    """
    if isinstance(graph, str | PathLike):
        path = fspath(graph)
        try:
            return from_nir(opened(path), dt=dt, encoding=encoding, dtype=dtype, inclusive=inclusive)
        except ValueError as error:
            raise error if path in str(error) else ValueError(f"{path}: {error}") from error
    found = flat(graph)
    step = _neurons.step_of(found) if isinstance(dt, str) and dt == "auto" else _checked(dt)
    if dt != "auto":
        _warn_of_integrators(found, step)
    parts = translated(found, step, inclusive=inclusive)
    network = Network(layers(parts, dtype), encoding)
    network.input_shape = parts.input_shape
    return network


def _checked(dt: Any) -> float:
    if (
        isinstance(dt, bool)
        or not isinstance(dt, int | float | np.number)
        or not (math.isfinite(dt) and dt > 0)
    ):
        raise ValueError(f"dt must be a positive number of seconds or 'auto', got {dt!r}.")
    return float(dt)


def _warn_of_integrators(graph: Flat, dt: float) -> None:
    nir = package()
    for name, node in graph.nodes.items():
        if isinstance(node, nir.IF | nir.I) and _neurons.equal(np.asarray(node.r, np.float64), 1) and dt != 1:
            warnings.warn(
                f"node {name!r} integrates with r = 1, so that dt = {dt:g} makes its currents {dt:g} times "
                "as large; a file of that kind is usually meant for dt = 1.",
                stacklevel=3,
            )
            return
