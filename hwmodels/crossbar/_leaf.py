"""Two neighbouring columns of a strip as one block, in closed form.

A column wire with its devices is a ladder: seen from a node, everything above is one admittance, everything
below one impedance, and both follow from recurrences over the rows. All terms are positive, so nothing
cancels, whatever the conductances and the resistances.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def pairs_of_columns(
    G: Float[Array, "k 2 blocks"], row: Float[Array, ""], column: Float[Array, ""]
) -> Float[Array, "ends ends blocks"]:
    """The forms `H` of blocks of k×2 devices, their ends in the order: k left, 2 top, 2 bottom, k right.

    The blocks lie along the last axis, where vector units reach.
    """
    first, second = G[:, 0], G[:, 1]
    # The segment before the second column lies in series with its devices.
    held_1, top_1, bottom_1, corner_1 = _ladders(first, column)
    held_2, top_2, bottom_2, corner_2 = _ladders(second / (1 + row * second), column)
    # Only the second column sees what enters at the right.
    right = row * held_2 - jnp.eye(len(G), dtype=G.dtype)[..., None]
    ends = jnp.stack([top_1, top_2, bottom_1, bottom_2])
    none = jnp.zeros_like(top_1)
    ends_right = jnp.stack([none, row * top_2, none, row * bottom_2])
    apart = jnp.eye(2, dtype=G.dtype)[:, None, :, None]
    corner = jnp.stack([corner_1, corner_2], axis=1)[:, :, :, None] * apart
    return jnp.concatenate(
        [
            jnp.concatenate([held_1 + held_2, jnp.swapaxes(ends, 0, 1), right], axis=1),
            jnp.concatenate([ends, corner.reshape(4, 4, -1), ends_right], axis=1),
            jnp.concatenate([right, jnp.swapaxes(ends_right, 0, 1), row * right], axis=1),
        ],
        axis=0,
    )


def _ladders(conductance, wire):
    """Columns (k, columns) with the row ends and the bottom at given voltages, and a current into the top.

    **Returns:** the currents of the devices for the voltages of the row ends (k, k, columns), what these
    voltages do at the top and at the bottom (k, columns), and the form of both column ends, (2, 2, columns).
    """
    k = len(conductance)
    index = jnp.arange(k)[:, None]

    def down(carry, inputs):
        # `reach[i]`: the part of a current into node i, above, that arrives here.
        above, reach = carry
        device, here = inputs
        reach = jnp.where(index == here, 1, reach)
        seen = above + device
        shrink = 1 / (1 + wire * seen)
        return (seen * shrink, reach * shrink), (above, reach)

    def up(below, device):
        return wire + below / (1 + device * below), below

    none = jnp.zeros_like(conductance[0])
    start = (none, jnp.zeros_like(conductance))
    _, (above, reach) = jax.lax.scan(down, start, (conductance, jnp.arange(k)))
    _, below = jax.lax.scan(up, none, conductance, reverse=True)
    seen = above + conductance
    part = 1 / (1 + below * seen)
    # [j, i]: between node j and node i at or above it.
    impedance = (below * part)[:, None] * reach
    apart = (index > index.T)[..., None]
    lower = jnp.where(apart, conductance[:, None] * conductance * impedance, 0)
    own = conductance * (1 + below * above) * part
    held = jnp.eye(k, dtype=own.dtype)[..., None] * own - (lower + jnp.swapaxes(lower, 0, 1))
    through = -reach[-1, 0]
    corner = jnp.stack([jnp.stack([-impedance[0, 0], through]), jnp.stack([through, seen[-1]])])
    return held, -conductance * impedance[:, 0], -conductance * reach[-1], corner
