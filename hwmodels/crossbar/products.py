"""Parameters of a network in, the products of its layers on programmed crossbars out."""

from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from hwmodels.crossbar.circuit import effective_conductance
from hwmodels.crossbar.converter import Converters
from hwmodels.crossbar.deploy import Groups, program_kernels
from hwmodels.crossbar.mapping import Crossbar
from hwmodels.crossbar.programming import Solve
from hwmodels.crossbar.tile_product import TileProduct

# Far from the indices of kernels, whose streams are drawn from the same key.
_CONVERTERS = 2**31 - 1


def tile_products(
    params: Any,
    crossbar: Crossbar,
    key: PRNGKeyArray,
    *,
    converters: Converters | None = None,
    read_key: PRNGKeyArray | None = None,
    groups: Groups = (),
    solve: Solve = effective_conductance,
) -> dict[str, TileProduct]:
    """Programs every kernel of a parameter pytree and returns the products of its layers.

    **Arguments:**

    - `params`, `crossbar`, `key`, `groups`, `solve`: as for [`hwmodels.crossbar.deploy`][], and with the same
      draws.
    - `converters`: of all tiles; None for ideal ones.
    - `read_key`: of the read noise, if the device or the converters have any; each kernel gets its own
      stream.

    **Returns:** a [`TileProduct`][] for each kernel, by its path as `jax.tree_util.keystr` writes it.

    **Raises:** as `deploy`.
    """
    chips = program_kernels(params, crossbar, key, groups=groups, solve=solve)
    noise = crossbar.device.read_noise
    return {
        name: TileProduct(
            chip,
            converters,
            noise,
            None if read_key is None else jax.random.fold_in(read_key, index),
            # The converters are as much of this chip as its cells.
            converter_key=jax.random.fold_in(jax.random.fold_in(key, _CONVERTERS), index),
        )
        for index, (name, chip) in enumerate(chips.items())
    }
