"""Which of XLA's options a training step gets."""

from types import SimpleNamespace

import jax
import pytest

from jaxsnn import compilation
from jaxsnn.compilation import lean_options
from jaxsnn.learning import step

LEAN = (("xla_cpu_use_fusion_emitters", False),)


@pytest.fixture(autouse=True)
def no_flags(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(compilation, "_has_emitters", lambda: True)


def test_the_options_are_those_of_a_processor_alone(monkeypatch):
    assert lean_options() == LEAN
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert lean_options() == ()


def test_the_users_flags_come_first(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=true")
    assert lean_options() == ()


def test_an_xla_without_the_choice_is_not_told(monkeypatch):
    monkeypatch.setattr(compilation, "_has_emitters", lambda: False)
    assert lean_options() == ()


def test_xla_is_asked_whether_it_has_an_option(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(compilation, "_EMITTERS", "xla_cpu_never_heard_of")
    assert not compilation._has_emitters.__wrapped__()


def test_steps_that_may_march_through_circuits_get_none(monkeypatch):
    monkeypatch.setattr(step, "_compiled", lambda options: lambda *_: options)
    for transform, expected in ((None, LEAN), ("a chip", ())):
        assert step.train_step(SimpleNamespace(transform=transform), *[None] * 8) == expected
