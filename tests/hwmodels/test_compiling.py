"""Which of XLA's options a program gets."""

import functools

import jax
import pytest

from hwmodels import compiling
from hwmodels.compiling import quickly

LEVEL = "xla_backend_optimization_level"
EMITTERS = "xla_cpu_use_fusion_emitters"


def chosen(**how):
    """What `quickly` gives a compiler."""
    return quickly(lambda compiler_options: lambda: compiler_options, **how)()()


@pytest.fixture(autouse=True)
def no_flags(monkeypatch, as_users_compile):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(compiling, "_has_emitters", lambda: True)


def test_the_level_is_given_on_a_processor_alone(monkeypatch):
    assert chosen() == {LEVEL: 1}
    assert chosen(rarely=True) == {LEVEL: 1, EMITTERS: False}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chosen() is chosen(rarely=True) is None


def test_what_the_user_chose_comes_first(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--{LEVEL}=3")
    assert chosen() is None
    monkeypatch.delenv("XLA_FLAGS")
    jax.config.update("jax_disable_most_optimizations", True)
    assert chosen() is None
    assert chosen(rarely=True) == {EMITTERS: False}
    monkeypatch.setenv("XLA_FLAGS", f"--{EMITTERS}=true")
    assert chosen(rarely=True) is None


def test_an_xla_without_the_choice_is_not_told(monkeypatch):
    monkeypatch.setattr(compiling, "_has_emitters", lambda: False)
    assert chosen(rarely=True) == {LEVEL: 1}


def test_xla_is_asked_whether_it_has_an_option(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(compiling, "_EMITTERS", "xla_cpu_never_heard_of")
    assert not compiling._has_emitters.__wrapped__()


def test_a_program_is_compiled_once_and_runs():
    program = quickly(functools.partial(jax.jit, lambda x: x + 1))
    assert program() is program()
    assert program()(1) == 2
