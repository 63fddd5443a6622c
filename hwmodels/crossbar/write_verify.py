r"""Programming by pulses and reads: what it leaves, and what it costs.

Each round reads every cell that is not done; a cell within the tolerance of its target is done, and every
other gets one pulse. [`WriteVerify`][] is a `Device.variation` like any other, and the same draws that a chip
holds are those that are priced.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from hwmodels.crossbar.laws import Polynomial, StateLaw
from hwmodels.ranges import require, require_integer, require_traced
from hwmodels.rounding import clipped
from hwmodels.workload import Scalar

_INF = float("inf")
_AMOUNTS = (
    "tolerance_siemens",
    "low_siemens",
    "high_siemens",
    "start_sigma",
    "read_sigma_siemens",
    "write_v",
    "write_s",
    "read_v",
    "read_s",
)


def _is_amount(value):
    return (value >= 0) & (value < _INF)


def _require_sigma(owner, sigma):
    require(_is_amount, f"{owner}.sigma is a relative spread of zero or more, got {{}}.", sigma)


def _sigma(pulses, G):
    return jnp.asarray(pulses.sigma).astype(G.dtype)


def _rms(errors, written):
    return jnp.sqrt(jnp.sum(written * errors**2) / jnp.maximum(jnp.sum(written), 1))


class Incremental(eqx.Module):
    r"""Equal pulses: each moves a cell by a step of its state, up or down, $G ± s(G)\,(1 + σ\,ε)$.

    **Arguments:**

    - `up`, `down`: the mean step of one pulse, laws in siemens, positive both.
    - `sigma`: σ, the spread from pulse to pulse relative to the step, zero or more.

    **Raises:** `ValueError` for a negative spread.
    """

    up: StateLaw
    down: StateLaw
    sigma: Scalar = 0.3

    def __check_init__(self):
        _require_sigma("Incremental", self.sigma)

    def __call__(
        self, G: Float[Array, "*shape"], error: Float[Array, "*shape"], key: PRNGKeyArray
    ) -> Float[Array, "*shape"]:
        """The conductance after one pulse towards a target that is `error` siemens above what was read."""
        step = jnp.where(error > 0, self.up(G), -self.down(G))
        return G + step * (1 + _sigma(self, G) * jax.random.normal(key, G.shape, G.dtype))


class Adaptive(eqx.Module):
    r"""Pulses whose height follows the error that was read: $G + η\,e\,(1 + σ\,ε)$.

    **Arguments:**

    - `gain`: η, the share of the error that a pulse is meant to remove, above 0 and below 2.
    - `sigma`: σ, the spread of what it does, relative, zero or more.

    **Raises:** `ValueError` for another gain, and for a negative spread.

    **Source:** Papandreou et al., "Programming algorithms for multilevel phase-change memory", ISCAS 2011, as
    used by Joshi et al., Nature Communications 11, 2473 (2020).
    """

    gain: Scalar = 0.7
    sigma: Scalar = 0.3

    def __check_init__(self):
        message = "Adaptive.gain is a share of the error above 0 and below 2, got {}."
        require(lambda gain: (gain > 0) & (gain < 2), message, self.gain)
        _require_sigma("Adaptive", self.sigma)

    def __call__(
        self, G: Float[Array, "*shape"], error: Float[Array, "*shape"], key: PRNGKeyArray
    ) -> Float[Array, "*shape"]:
        """As [`Incremental.__call__`][]."""
        gain = jnp.asarray(self.gain).astype(G.dtype)
        return G + gain * error * (1 + _sigma(self, G) * jax.random.normal(key, G.shape, G.dtype))


class Programmed(eqx.Module):
    """Cells after write–verify, and what writing them took.

    **Arguments:**

    - `conductances`: what the cells hold, siemens.
    - `rounds`: pulses that each cell got.
    - `reads`: how often each cell was verified.
    - `done`: whether a cell was verified within the tolerance.
    - `errors`: rms distance of the cells from their targets before each round and after the last, siemens.
    - `energy_j`: of all pulses and reads together, joule.
    """

    conductances: Float[Array, "*shape"]
    rounds: Float[Array, "*shape"]
    reads: Float[Array, "*shape"]
    done: Bool[Array, "*shape"]
    errors: Float[Array, " rounds_and_start"]
    energy_j: Float[Array, ""]


class WriteVerify(eqx.Module):
    r"""Write–verify: rounds of a read and a pulse until a cell is within `tolerance_siemens` of its target.

    A pulse costs $V_w^2\,G\,t_w$ and a read $V_r^2\,G\,t_r$, what the cell itself turns into heat; drivers
    and converters are not in it. Cells of one row are written together and rows one after the other, so a
    tile takes $Σ_\mathrm{rows} (t_w \max_\mathrm{columns} \mathrm{pulses} + t_r \max_\mathrm{columns}
    \mathrm{reads})$.

    What a cell holds is differentiable to its target and to the pulses' numbers as far as the pulses are:
    [`Adaptive`][] ones follow the target; [`Incremental`][] ones stop anywhere within the tolerance, and
    there the derivative to the target is 1 (straight-through). Energy is differentiable to voltages and
    times. Which round is a cell's last has no slope.

    **Arguments:**

    - `tolerance_siemens`: of the verified conductance, zero or more.
    - `max_rounds`: pulses after which a cell is left as it is, 1 to 1000.
    - `pulses`: what a pulse does.
    - `start`: where cells begin: "low" at `low_siemens`, or "target" at a first guess of spread
      `start_sigma`·G around the target (blind programming first).
    - `low_siemens`, `high_siemens`: what no pulse passes.
    - `read_sigma_siemens`: noise of a verifying read.
    - `write_v`, `write_s`, `read_v`, `read_s`: height and length of pulses and reads.

    **Raises:** `ValueError` for a number out of its range, named; `TypeError` for other pulses.

    Defaults: acceptance of ±1 µS on cells of 1 to 40 µS, as Wan et al., Nature 608, 504–512 (2022), extended
    data figure 3, program; the pulse model's numbers are assumptions, and a measured curve of conductance
    against pulse number replaces them, see [`hwmodels.crossbar.device_from_pulses`][].
    """

    tolerance_siemens: Scalar = 1e-6
    max_rounds: int = eqx.field(static=True, default=30)
    pulses: Incremental | Adaptive = Incremental(Polynomial((2e-6,)), Polynomial((2e-6,)))
    start: Literal["low", "target"] = eqx.field(static=True, default="low")
    low_siemens: Scalar = 1e-6
    high_siemens: Scalar = 40e-6
    start_sigma: Scalar = 0.2
    read_sigma_siemens: Scalar = 0.2e-6
    write_v: Scalar = 1.5
    write_s: Scalar = 1e-6
    read_v: Scalar = 0.1
    read_s: Scalar = 1e-6

    def __check_init__(self):
        require_integer("WriteVerify.max_rounds", self.max_rounds, 1, 1000)
        if not isinstance(self.pulses, Incremental | Adaptive):
            raise TypeError(f"WriteVerify.pulses must be Incremental or Adaptive, got {self.pulses!r}.")
        if self.start not in ("low", "target"):
            raise ValueError(f'WriteVerify.start must be "low" or "target", got {self.start!r}.')
        for name in _AMOUNTS:
            message = f"WriteVerify.{name} must be zero or more and finite, got {{}}."
            require(_is_amount, message, getattr(self, name))
        message = "WriteVerify needs low_siemens below high_siemens, got {} and {}."
        require(lambda low, high: low < high, message, self.low_siemens, self.high_siemens)

    def __call__(self, G: Float[Array, "*shape"], key: PRNGKeyArray) -> Float[Array, "*shape"]:
        """What cells hold after an attempt to program `G`, siemens; the form of `Device.variation`."""
        return self.write(G, key).conductances

    def write(
        self, G: Float[Array, "*shape"], key: PRNGKeyArray, used: Float[Array, "*shape"] | None = None
    ) -> Programmed:
        """As a call, with all that it took.

        **Arguments:** `used`: 1 for cells to be written, 0 for others, which cost nothing; None for all.

        **Raises:** an error, also under `jit`, for a traced number that is out of its range.
        """
        numbers = {name: self._checked(name, G.dtype) for name in _AMOUNTS}
        low, high, tolerance = numbers["low_siemens"], numbers["high_siemens"], numbers["tolerance_siemens"]
        pulse_j = numbers["write_v"] ** 2 * numbers["write_s"]
        read_j = numbers["read_v"] ** 2 * numbers["read_s"]
        if self.start == "low":
            held = jnp.broadcast_to(low, G.shape)
        else:
            spread = numbers["start_sigma"] * jax.random.normal(key, G.shape, G.dtype)
            # Incremental pulses forget it: within the tolerance the slope to the target is 1, and not 1 more.
            forgotten = isinstance(self.pulses, Incremental)
            held = clipped((jax.lax.stop_gradient(G) if forgotten else G) * (1 + spread), low, high)
        written = jnp.ones_like(G) if used is None else jnp.broadcast_to(used, G.shape)
        goal = clipped(G, low, high)

        def verify(held, done, key):
            noise = jax.random.normal(key, held.shape, held.dtype)
            read = held + numbers["read_sigma_siemens"] * noise
            return read, done | (jnp.abs(goal - read) <= tolerance)

        def one_round(state, index):
            held, done, rounds, reads, energy = state
            of_read, of_pulse = jax.random.split(jax.random.fold_in(key, index + 1))
            error = _rms(held - goal, written)
            # A read is paid for by every cell that was not done before it.
            energy = energy + read_j * jnp.sum(jnp.where(done, 0, held))
            reads = reads + jnp.where(done, 0.0, 1.0)
            read, done = verify(held, done, of_read)
            moved = clipped(self.pulses(held, goal - read, of_pulse), low, high)
            energy = energy + pulse_j * jnp.sum(jnp.where(done, 0, held))
            return (
                jnp.where(done, held, moved),
                done,
                rounds + jnp.where(done, 0.0, 1.0),
                reads,
                energy,
            ), error

        zeros = jnp.zeros_like(G)
        start = (held, written == 0, zeros, zeros, jnp.zeros((), G.dtype))
        (held, done, rounds, reads, energy), errors = jax.lax.scan(
            one_round, start, jnp.arange(self.max_rounds)
        )
        energy = energy + read_j * jnp.sum(jnp.where(done, 0, held))
        reads = reads + jnp.where(done, 0.0, 1.0)
        _, done = verify(held, done, jax.random.fold_in(key, 0))
        errors = jnp.concatenate([errors, _rms(held - goal, written)[None]])
        if isinstance(self.pulses, Incremental):
            held = held + jnp.where(done, goal - jax.lax.stop_gradient(goal), 0)
        return Programmed(held, rounds, reads, done & (written > 0), errors, energy)

    def time_s(self, programmed: Programmed) -> Float[Array, "*tiles"]:
        """How long writing each tile takes, in second; the last axes of the cells are rows and columns."""
        dtype = programmed.rounds.dtype
        write, read = self._checked("write_s", dtype), self._checked("read_s", dtype)
        pulses, reads = programmed.rounds.max(-1), programmed.reads.max(-1)
        return jnp.sum(write * pulses + read * reads, axis=-1)

    def _checked(self, name, dtype):
        value = getattr(self, name)
        number = jnp.asarray(value).astype(dtype)
        return require_traced(
            number, _is_amount, f"WriteVerify.{name} must be zero or more and finite.", value
        )
