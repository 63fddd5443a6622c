"""The energy that papers estimate from operations, timesteps and sparsity alone."""

import equinox as eqx

from hwmodels.workload import Scalar, Workload


class Operations(eqx.Module):
    """Energy of single operations, from the 28 nm tables of SATA at a 4 ns clock.

    **Arguments:** all in joule.

    - `accumulate_j`: INT8 adder (0.01689 mW) and INT8 register (0.01249 mW) over one clock: the E_AC of
      Table II, "Are SNNs Truly Energy-efficient?".
    - `add_j`, `multiply_j`: INT8 adder and INT8 multiplier (0.0821 mW) alone, by which the TDBN row counts.
    """

    accumulate_j: Scalar = (0.01689e-3 + 0.01249e-3) * 4e-9
    add_j: Scalar = 0.01689e-3 * 4e-9
    multiply_j: Scalar = 0.0821e-3 * 4e-9


def flop_energy(
    macs: Scalar, timesteps: Scalar, sparsity: Scalar, operations: Operations | None = None
) -> Scalar:
    """The estimate of Table II's footnote: `E = FLOPs · timesteps · (1 − sparsity) · E_AC`.

    **Arguments:**

    - `macs`: dense multiply-accumulates of one timestep.
    - `timesteps`: T.
    - `sparsity`: fraction of zero inputs (or weights), in [0, 1].
    - `operations`: the energy of one accumulation; default 28 nm INT8.

    **Returns:** joule per inference.

    **Source:** "Are SNNs Truly Energy-efficient? A Hardware Perspective", Table II, footnote 2.
    """
    operations = Operations() if operations is None else operations
    return macs * timesteps * (1 - sparsity) * operations.accumulate_j


def operation_energy(
    additions: Scalar, multiplications: Scalar, operations: Operations | None = None
) -> Scalar:
    """The estimate of the TDBN row, which counts its operations itself: `E = adds · E_add + mults · E_mult`.

    **Arguments:** `additions`, `multiplications`: counts of one inference, all timesteps together.
    `operations`: the joules of one of each; those of 28 nm by default.

    **Returns:** joule per inference.
    """
    operations = Operations() if operations is None else operations
    return additions * operations.add_j + multiplications * operations.multiply_j


def estimated_energy(workload: Workload, operations: Operations | None = None) -> Scalar:
    """[`flop_energy`][] of every layer at its own input rate and weight sparsity, added up.

    **Arguments:** `workload`: of one inference. `operations`: the joules of an accumulation; those of 28 nm
    by default.

    **Returns:** joule per inference.
    """
    return sum(
        flop_energy(
            layer.macs, workload.timesteps, 1 - layer.input_rate * (1 - layer.weight_sparsity), operations
        )
        for layer in workload.layers
    )
