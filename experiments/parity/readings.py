"""How the conductances that inputs see become weights again: what the robustness paper leaves open.

Its figure 2 says "extract the non-ideal weights". With the paper's resistances a 64×64 tile lets a fifth of
the ideal current through, so the answer depends on what the non-ideal conductances are measured against.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwmodels.crossbar import Crossbar, Variation, effective_conductance
from hwmodels.crossbar.mapping import Layout, layout
from jaxsnn.network import Network

Against = Literal[
    "ideal",
    "kernel mean",
    "tile mean",
    "column mean",
    "kernel max",
    "tile max",
    "column max",
    "kernel range",
    "tile range",
]
Mapped = Literal["pair", "single"]
Varied = Literal["programming", "read"]

_AXES = {"kernel": (0, 1, 2, 3, 4, 5), "tile": (-2, -1), "column": (-2,)}


@dataclass(frozen=True)
class Reading:
    """One reading of the method.

    **Arguments:**

    - `against`: what the seen conductances G' are measured against. "ideal": the range of the devices, so
      that attenuation stays in the weights. "kernel", "tile" or "column" "mean": their sum is brought to the
      sum of the conductances meant; "max": their greatest to the greatest meant; "range": their least
      and their greatest to those meant.
    - `mapped`: "pair" puts positive and negative weights on two crossbars, "single" both on one, −w_max at
      G_min and w_max at G_max.
    - `variation`: drawn at "programming", before the circuit is solved, or on what is "read" from it.
    - `thresholds`: of converted networks: those of the ideal weights ("software"), or found anew for the
      weights that were read ("chip").
    """

    against: Against = "ideal"
    mapped: Mapped = "pair"
    variation: Varied = "programming"
    thresholds: Literal["software", "chip"] = "software"

    @property
    def label(self) -> str:
        parts: list[str] = [self.against]
        if self.mapped == "single":
            parts.append("single devices")
        if self.variation == "read":
            parts.append("variation after the wires")
        if self.thresholds == "chip":
            parts.append("thresholds found on the chip")
        return ", ".join(parts)


class Tiles(NamedTuple):
    """The tiles of one kernel: conductances meant and seen, siemens, (planes, groups, down, across, rows,
    columns); 1 where a cell is in use; and how they become the kernel again."""

    meant: jax.Array
    seen: jax.Array
    used: jax.Array
    plan: Layout
    largest: jax.Array


def on_tiles(
    network: Network,
    crossbar: Crossbar,
    key: jax.Array,
    *,
    mapped: Mapped = "pair",
    variation: Varied = "programming",
) -> list[Tiles]:
    """Every kernel on tiles, all circuits solved together; what readings with the same two choices share.

    The same key draws the same devices whatever else is chosen. Signs and calibration of the `crossbar` are
    the reading's to say.

    **Raises:** `TypeError` and `ValueError` for devices that differ by more than a `Variation`.
    """
    device, spread = crossbar.device, crossbar.device.variation
    if not isinstance(spread, Variation | None):
        raise TypeError(f"readings know devices with a Variation or none, got {type(spread).__name__}.")
    for name in ("drift", "faults", "read_noise"):
        if getattr(device, name) is not None:
            raise ValueError(f"readings know devices with a variation alone; leave out Device.{name}.")
    written = []
    for index, kernel in enumerate(jax.tree.leaves(_split(network)[1])):
        plan, largest = layout(kernel.shape, crossbar), jnp.max(jnp.abs(kernel))
        x = plan.cut(kernel / jnp.where(largest > 0, largest, 1))
        used = plan.cut(jnp.ones_like(kernel))
        levels = jnp.maximum(jnp.stack([x, -x]), 0) if mapped == "pair" else ((1 + x) / 2)[None]
        meant = device.target(levels) * used
        written.append((meant, used, plan, largest, jax.random.fold_in(key, index)))

    def varied(conductances: jax.Array, used: jax.Array, key: jax.Array) -> jax.Array:
        return conductances if spread is None else spread(conductances, key) * used

    before = variation == "programming"
    held = [varied(meant, used, one) if before else meant for meant, used, _, _, one in written]
    flat = [tiles.reshape(-1, crossbar.rows, crossbar.columns) for tiles in held]
    cuts = np.cumsum([len(tiles) for tiles in flat])[:-1]
    solved = jnp.split(effective_conductance(jnp.concatenate(flat), crossbar.wires), cuts)
    return [
        Tiles(meant, seen if before else varied(seen, used, one), used, plan, largest)
        for (meant, used, plan, largest, one), seen in zip(
            written, [s.reshape(h.shape) for s, h in zip(solved, held, strict=True)], strict=True
        )
    ]


def read(network: Network, tiles: list[Tiles], crossbar: Crossbar, reading: Reading) -> Network:
    """The network with the weights that a reading makes of its tiles."""
    graphdef, kernels, rest = _split(network)
    found = [_weights(one, crossbar, reading) for one in tiles]
    tree = jax.tree.structure(kernels)
    return nnx.merge(graphdef, jax.tree.unflatten(tree, found), rest, copy=True)


def as_read(network: Network, crossbar: Crossbar, key: jax.Array, reading: Reading) -> Network:
    """[`on_tiles`][], then [`read`][]."""
    tiles = on_tiles(network, crossbar, key, mapped=reading.mapped, variation=reading.variation)
    return read(network, tiles, crossbar, reading)


def _split(network: Network) -> Any:
    return nnx.split(network, nnx.PathContains("kernel"), ...)


def _weights(tiles: Tiles, crossbar: Crossbar, reading: Reading) -> jax.Array:
    low, high = crossbar.device.limits(tiles.seen.dtype)
    level = (_against(reading.against, tiles) - low * tiles.used) / (high - low)
    signed = level[0] - level[1] if reading.mapped == "pair" else 2 * level[0] - tiles.used
    return tiles.plan.join(signed) * tiles.largest


def _against(against: Against, tiles: Tiles) -> jax.Array:
    """The seen conductances, scaled."""
    meant, seen = tiles.meant, tiles.seen
    if against == "ideal":
        return seen
    scope, measure = against.split()
    axes = _AXES[scope]
    if measure == "range":
        low, high = _range(meant, tiles.used, axes)
        seen_low, seen_high = _range(seen, tiles.used, axes)
        width = jnp.where(seen_high > seen_low, seen_high - seen_low, 1)
        return (low + (seen - seen_low) * (high - low) / width) * tiles.used
    total = jnp.sum if measure == "mean" else jnp.max
    aim, found = total(meant, axes, keepdims=True), total(seen, axes, keepdims=True)
    return seen * aim / jnp.where(found > 0, found, 1)


def _range(values: jax.Array, used: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """The least and the greatest of the cells in use; zeros where there are none."""
    least = jnp.min(jnp.where(used > 0, values, jnp.inf), axes, keepdims=True)
    greatest = jnp.max(jnp.where(used > 0, values, -jnp.inf), axes, keepdims=True)
    return jnp.where(jnp.isfinite(least), least, 0), jnp.where(jnp.isfinite(greatest), greatest, 0)


_CANDIDATES = (
    Reading(),
    Reading("kernel mean"),
    Reading("tile mean"),
    Reading("column mean"),
    Reading("kernel max"),
    Reading("tile max"),
    Reading("column max"),
    Reading("kernel range"),
    Reading("tile range"),
    Reading(variation="read"),
    Reading("kernel max", variation="read"),
    Reading(mapped="single"),
    Reading("tile mean", mapped="single"),
    Reading("tile range", mapped="single"),
    Reading(thresholds="chip"),
    Reading("kernel max", thresholds="chip"),
)
READINGS = {reading.label: reading for reading in _CANDIDATES}
"""The readings that are tried, by their labels; those with thresholds found on the chip for conversion."""
