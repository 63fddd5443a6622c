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
from jaxsnn.interop.nir._writers import Writer, as_run, habits, recognised
from jaxsnn.network import Network


def from_nir(
    graph: Any,
    *,
    dt: float | Literal["auto"] | None = None,
    encoding: Encoding = Direct(),
    dtype=jnp.float32,
    writer: Writer | None = None,
    inclusive: bool | None = None,
) -> Network:
    """A network that gives the spikes which a NIR graph's equations give with Euler's method.

    Every node of NIR's paper is read but `Threshold` and `Delay`; graphs inside graphs are dissolved; edges
    that meet in a node are added. In a circle a neuron hears the spikes of the timestep before (see
    [`jaxsnn.graph.Graph`][]). Factors `r·dt/τ` and `w_in·dt/τ_syn` that are not 1 go into the weights before
    the neurons. Pooling before neurons becomes a larger convolution, and a sum of patches their mean, with
    the next weights times as much.

    **Arguments:**

    - `graph`: a `nir.NIRGraph`, or the path of a file.
    - `dt`: what a timestep stands for, in the unit of the file's time constants, usually seconds; by default
      the writer's, or 1e-4. snnTorch and SpikingJelly write for 1e-4, sinabs and Spyx for 1, Norse for 0.001
      (Norse 1.1.0 for 1e-6). "auto" takes the one with which currents are added as they are, if the file's r
      and w_in tell one.
    - `encoding` and `dtype` of the network that is made.
    - `writer`: the framework that wrote the file, "snntorch", "spikingjelly", "norse" (1.1.0) or "sinabs",
      for what files do not say: the step, whether neurons fire at v ≥ θ, whether the bias of weights in a
      loop acts in the first timestep (in snnTorch; Norse and SpikingJelly start without), and sinabs's leak
      exp(−1/τ). Files of SpikingJelly's Sequentials are known by their names.
    - `inclusive`: whether neurons fire at v ≥ θ, as SpikingJelly and sinabs have it, where NIR has v > θ; by
      default as the writer does.

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
            return from_nir(
                opened(path), dt=dt, encoding=encoding, dtype=dtype, writer=writer, inclusive=inclusive
            )
        except ValueError as error:
            raise error if path in str(error) else ValueError(f"{path}: {error}") from error
    found = flat(graph)
    writer = recognised(graph) if writer is None else writer
    known = habits(writer)
    if isinstance(dt, str) and dt == "auto":
        step = _neurons.step_of(found)
    else:
        step = known.dt if dt is None else _checked(dt)
        if writer != "norse":
            _warn_of_integrators(found, step)
    found = as_run(found, writer, step)
    parts = translated(found, step, inclusive=known.inclusive if inclusive is None else inclusive)
    network = Network(layers(parts, dtype, bias_at_start=known.bias_at_start), encoding)
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
