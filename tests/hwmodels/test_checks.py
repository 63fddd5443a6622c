"""Run-time checks: refused at once, at the edge of our programs, and within anyone else's."""

import warnings

import jax
import jax.numpy as jnp
import pytest

from hwmodels.checks import at_edge, error_if, jit_with_checks, say_if

SAID = "the mass {m} must be zero or more"


def root(mass, power=1):
    """With the check where programs are hard to look into: within a loop, under a derivative."""

    def step(total, each):
        return total + jnp.sqrt(error_if(each, jnp.any(each < 0), SAID)) ** power, None

    return jax.lax.scan(step, jnp.zeros(()), mass)[0]


GOOD, BAD = jnp.array([1.0, 4.0]), jnp.array([1.0, -4.0])


def test_the_edge_raises_one_sentence():
    for function, good, bad in ((root, GOOD, BAD), (jax.vmap(root), GOOD[None], jnp.stack([GOOD, BAD]))):
        program = at_edge(function)
        assert jnp.allclose(program(good), function(good))
        with pytest.raises(ValueError, match=r"^the mass \{m\} must be zero or more$"):
            program(bad)


def test_a_derivative_of_the_edge_raises_too():
    assert jnp.allclose(jax.grad(at_edge(root))(GOOD), jnp.array([0.5, 0.25]))
    with pytest.raises(Exception, match="the mass"):
        jax.block_until_ready(jax.grad(at_edge(root))(BAD))


def test_static_arguments_and_keywords():
    program = at_edge(root, static_argnames=("power",))
    assert program(GOOD, power=2) == 5
    assert program(GOOD, 2) == program(mass=GOOD, power=2)


def test_the_edge_within_another_program_is_part_of_it():
    assert jax.jit(at_edge(root))(GOOD) == 3
    with pytest.raises(Exception, match="the mass"):
        jax.block_until_ready(jax.jit(at_edge(root))(BAD))
    with pytest.raises(ValueError, match=r"^the mass"):
        at_edge(lambda mass: at_edge(root)(mass))(BAD)


@pytest.mark.parametrize("edge", [at_edge, jit_with_checks])
def test_known_values_within_another_program_are_part_of_it(edge):
    """Where they are known, but nothing that is computed of them."""
    program = edge(root)
    assert jax.jit(lambda shift: shift + program(GOOD))(1.0) == 4
    assert jax.lax.fori_loop(0, 2, lambda _, total: total + program(GOOD), jnp.zeros(())) == 6
    assert jnp.all(jax.vmap(lambda shift: shift + program(GOOD))(GOOD) == GOOD + 3)
    assert jax.grad(lambda shift: shift * program(GOOD))(1.0) == 3
    with pytest.raises(Exception, match="the mass"):
        jax.block_until_ready(jax.jit(lambda shift: shift + program(BAD))(1.0))


def test_a_program_of_ones_own_raises_too():
    with pytest.raises(Exception, match="the mass"):
        jax.block_until_ready(jax.jit(root)(BAD))


def test_known_values_are_refused_at_once():
    with pytest.raises(ValueError, match=r"^the mass"):
        error_if(BAD, jnp.any(BAD < 0), SAID)


def test_programs_that_hold_checks_are_kept_apart():
    """One that raises by itself, first, must not serve the edge, nor the other way round."""
    program = jit_with_checks(lambda mass: root(mass))
    jax.block_until_ready(jax.jit(program)(GOOD))
    for edge in (program, at_edge(lambda mass: program(mass))):
        with pytest.raises(ValueError, match=r"^the mass"):
            edge(BAD)
    with pytest.raises(Exception, match="the mass"):
        jax.block_until_ready(jax.jit(program)(BAD))


def test_only_the_edge_is_without_a_callback(tmp_path):
    """And so it enters JAX's persistent cache, which takes programs with callbacks since JAX 0.12 or 0.11."""
    assert "callback" in jax.jit(root).lower(GOOD).as_text()
    stored = _stored(lambda: at_edge(lambda mass: 3 * root(mass))(GOOD), tmp_path)
    assert stored
    if jax.__version_info__ < (0, 11):
        assert _stored(lambda: jax.jit(lambda mass: 7 * root(mass))(GOOD), tmp_path) == stored


def _warn(count):
    warnings.warn(f"{count} masses are large", stacklevel=2)


@pytest.mark.parametrize("edge", [at_edge, jit_with_checks])
def test_what_is_said_at_the_edge_is_said_once(edge):
    def weighed(mass):
        count = jnp.sum(mass > 3)
        say_if(count > 0, _warn, count)
        return root(mass)

    program = edge(weighed)
    with pytest.warns(UserWarning, match="1 masses are large") as said:
        assert program(GOOD) == 3
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert program(GOOD / 2) == root(GOOD / 2)
    # What is wrong beside it is refused.
    with pytest.warns(UserWarning, match="1 masses"), pytest.raises(Exception, match="the mass"):
        program(jnp.array([-1.0, 4.0]))


def _stored(run, folder):
    from jaxsnn.compilation import remember_compiled

    before = {
        name: getattr(jax.config, name)
        for name in (
            "jax_compilation_cache_dir",
            "jax_persistent_cache_min_compile_time_secs",
            "jax_persistent_cache_min_entry_size_bytes",
        )
    }
    try:
        assert remember_compiled(folder) == folder
        jax.block_until_ready(run())
        return {path.name for path in folder.iterdir() if "lambda" in path.name}
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        jax.experimental.compilation_cache.compilation_cache.reset_cache()
