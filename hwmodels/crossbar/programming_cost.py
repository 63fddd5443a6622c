"""What writing a network into its cells costs, by the same draws that its chip holds."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from hwmodels.crossbar.deploy import Groups, biases_of_batch, groups_of_batch, kernel_batches
from hwmodels.crossbar.encoding import encode
from hwmodels.crossbar.mapping import Crossbar
from hwmodels.crossbar.write_verify import WriteVerify
from hwmodels.rounding import largest


class ProgrammingCost(eqx.Module):
    """The cost of writing kernels once.

    **Arguments:**

    - `energy_j`: of all pulses and verifying reads, joule.
    - `time_s`: all tiles one after the other, second.
    - `parallel_time_s`: all tiles at once, second: that of the slowest.
    - `cells`, `pulses`, `reads`: counts.
    - `failed`: cells that were not verified within the tolerance after the last round.
    - `weight_errors`: rms distance of cells from their targets before each round and after the last, as a
      fraction of `G_max − G_min`; shape (rounds + 1,).
    """

    energy_j: Float[Array, ""]
    time_s: Float[Array, ""]
    parallel_time_s: Float[Array, ""]
    cells: Float[Array, ""]
    pulses: Float[Array, ""]
    reads: Float[Array, ""]
    failed: Float[Array, ""]
    weight_errors: Float[Array, " rounds_and_start"]


def programming_cost(
    params: Any, crossbar: Crossbar, key: PRNGKeyArray, *, groups: Groups = ()
) -> ProgrammingCost:
    """The energy and the time of programming every kernel of a parameter pytree by write–verify.

    The draws are those of [`hwmodels.crossbar.deploy`][] with the same arguments: what is priced is what the
    chip then holds. Differentiable to the voltages and times of [`hwmodels.crossbar.WriteVerify`][].

    **Arguments:** as for [`hwmodels.crossbar.deploy`][].

    **Returns:** a [`ProgrammingCost`][] of all kernels together.

    **Raises:** `ValueError` for a device that is not programmed by write–verify, and as `deploy`.

    **Example:**

        device = Device(1e-6, 40e-6, WriteVerify(tolerance_siemens=1e-6))
        programming_cost(params, Crossbar(device=device), key).energy_j
    """
    method = crossbar.device.variation
    if not isinstance(method, WriteVerify):
        raise ValueError(
            "programming_cost prices pulses and reads: Device.variation must be a WriteVerify, "
            f"got {method!r}."
        )
    low, high = crossbar.device.limits(jnp.float32)
    found = [
        _cost(method, kernel, bias, crossbar, parts, jax.random.fold_in(key, index), high - low)
        for batch in kernel_batches(params)
        for (index, kernel), parts, bias in zip(
            batch.items(),
            groups_of_batch(params, batch, groups),
            biases_of_batch(params, batch, crossbar),
            strict=True,
        )
    ]
    total = jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *found)
    cells = total.cells
    squares = sum(cost.cells * cost.weight_errors**2 for cost in found)
    slowest = largest(jnp.stack([cost.parallel_time_s for cost in found]))
    return eqx.tree_at(
        lambda cost: (cost.parallel_time_s, cost.weight_errors),
        total,
        (slowest, jnp.sqrt(squares / jnp.maximum(cells, 1))),
    )


@eqx.filter_jit
def _cost(method, kernel, bias, crossbar, groups, key, span):
    encoded = encode(kernel, crossbar, groups, bias)
    used = jnp.broadcast_to(encoded.used, encoded.targets.shape)
    written = method.write(encoded.targets, key, used)
    times = method.time_s(written)
    single = jnp.float32
    return ProgrammingCost(
        energy_j=written.energy_j.astype(single),
        time_s=times.sum().astype(single),
        parallel_time_s=largest(times).astype(single),
        cells=used.sum().astype(single),
        pulses=written.rounds.sum().astype(single),
        reads=written.reads.sum().astype(single),
        failed=used.sum().astype(single) - written.done.sum().astype(single),
        weight_errors=written.errors.astype(single) / span,
    )
