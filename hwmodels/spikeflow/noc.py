"""The mesh between tiles: where tiles lie, and how many hops their spikes travel."""

import equinox as eqx

from hwmodels.workload import Scalar


class Mesh(eqx.Module):
    """The inter-tile network.

    **Arguments:**

    - `hop_bit_j`: energy of moving one bit over one router and one link, in joule. Zero until a sourced
      figure is given.
    """

    hop_bit_j: Scalar = 0.0


def mean_hops(placement) -> tuple[Scalar, ...]:
    """Mean hops of each layer's input bits."""
    return (0.0,) * len(placement.layers)
