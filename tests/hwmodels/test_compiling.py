"""Which of XLA's options a program gets."""

import functools

import jax
import pytest

from hwmodels.compiling import LEAN, QUICK, on_cpu


def chosen(options):
    """What `on_cpu` gives a compiler."""
    return on_cpu(lambda compiler_options: lambda: compiler_options, options)()()


@pytest.fixture
def no_flags(monkeypatch, as_users_compile):
    monkeypatch.delenv("XLA_FLAGS", raising=False)


def test_options_are_given_on_a_processor(no_flags):
    assert chosen(QUICK) == QUICK
    assert chosen({}) is None


def test_options_of_the_user_come_first(no_flags, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=3 --xla_cpu_use_fusion_emitters=true")
    assert chosen(QUICK) is None
    assert chosen(LEAN) is None


def test_where_jax_is_told_to_optimise_less_it_does(no_flags):
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        assert chosen(QUICK) is None
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def test_other_devices_get_none(no_flags, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chosen(QUICK) is None


def test_an_option_that_xla_lacks_is_left_out(no_flags):
    assert chosen({"xla_never_heard_of": True} | QUICK) == QUICK


def test_a_program_is_compiled_once_and_runs(no_flags):
    program = on_cpu(functools.partial(jax.jit, lambda x: x + 1), QUICK)
    assert program() is program()
    assert program()(1) == 2
