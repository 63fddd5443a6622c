"""Elimination of the network row by row, in the resistance form."""

import jax
import jax.numpy as jnp

from hwmodels.crossbar._inverse import inverse


def transfer(G, resistances):
    """Row voltages to sense currents, for finite resistances (driver, row, column, sense)."""
    driver, row, column, sense = resistances
    rows, columns = G.shape[-2:]
    position = jnp.arange(columns)
    line = driver + row * jnp.minimum(position[:, None], position[None, :]).astype(G.dtype)
    identity = jnp.eye(columns, dtype=G.dtype)
    # (I + D·R)·i = D·(V − v): the row as seen from its column nodes.
    row_admittance = inverse(identity + G[..., :, None] * line) * G[..., None, :]
    row_admittance = jnp.moveaxis(row_admittance, -3, 0)
    drive = row_admittance.sum(-1)

    def add_row(carry, inputs):
        admittance, transfer = carry
        row, drive, index = inputs
        joined = inverse(identity + column * admittance) @ jnp.concatenate([admittance, transfer], -1)
        admittance = joined[..., :columns] + row
        transfer = joined[..., columns:] + drive[..., :, None] * (jnp.arange(rows) == index).astype(G.dtype)
        return (admittance, transfer), None

    start = (jnp.zeros_like(row_admittance[0]), jnp.zeros((*G.shape[:-2], columns, rows), G.dtype))
    (admittance, transfer), _ = jax.lax.scan(add_row, start, (row_admittance, drive, jnp.arange(rows)))
    return jnp.swapaxes(inverse(identity + sense * admittance) @ transfer, -1, -2)
