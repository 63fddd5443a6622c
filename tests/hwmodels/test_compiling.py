"""Which of XLA's options a program gets."""

import functools

import jax
import pytest

from hwmodels.compiling import quickly

LEVEL = "xla_backend_optimization_level"


def chosen():
    """What `quickly` gives a compiler."""
    return quickly(lambda compiler_options: lambda: compiler_options)()()


@pytest.fixture(autouse=True)
def no_flags(monkeypatch, as_users_compile):
    monkeypatch.delenv("XLA_FLAGS", raising=False)


def test_the_level_is_given_on_a_processor_alone(monkeypatch):
    assert chosen() == {LEVEL: 1}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chosen() is None


def test_what_the_user_chose_comes_first(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--{LEVEL}=3")
    assert chosen() is None
    monkeypatch.delenv("XLA_FLAGS")
    jax.config.update("jax_disable_most_optimizations", True)
    assert chosen() is None


def test_a_program_is_compiled_once_and_runs():
    program = quickly(functools.partial(jax.jit, lambda x: x + 1))
    assert program() is program()
    assert program()(1) == 2
