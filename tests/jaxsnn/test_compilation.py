"""Which of XLA's options training steps and initial weights get."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn import compilation
from jaxsnn.compilation import compiled_once, lean_options
from jaxsnn.layers import Linear
from jaxsnn.learning import step

EMITTERS = "xla_cpu_use_fusion_emitters"
LEVEL = "xla_backend_optimization_level"
LEAN = ((EMITTERS, False),)
ORDER = ("xla_cpu_scheduler_type", "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED")


@pytest.fixture(autouse=True)
def no_flags(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(compilation, "_known", lambda *_: True)


def test_the_options_are_those_of_a_processor_alone(monkeypatch):
    assert lean_options() == LEAN
    assert lean_options(remat=True) == (*LEAN, ORDER)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert lean_options() == ()


def test_the_users_flags_come_first(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--{EMITTERS}=true")
    assert lean_options(remat=True) == (ORDER,)


def test_an_xla_without_the_choice_is_not_told(monkeypatch):
    monkeypatch.setattr(compilation, "_known", lambda option, _: option != EMITTERS)
    assert lean_options(remat=True) == (ORDER,)


def test_xla_is_asked_whether_it_has_an_option(monkeypatch):
    monkeypatch.undo()
    assert not compilation._known("xla_cpu_never_heard_of", False)
    assert all(compilation._known(*option) for option in (*LEAN, ORDER)) or jax.__version_info__ != (0, 10, 2)


def test_steps_that_may_march_through_circuits_get_none(monkeypatch):
    monkeypatch.setattr(step, "_compiled", lambda options: lambda *_: options)
    for transform, remat, expected in (
        (None, False, LEAN),
        (None, True, (*LEAN, ORDER)),
        ("a chip", True, ()),
    ):
        one = SimpleNamespace(transform=transform, config=SimpleNamespace(remat=remat))
        assert step.train_step(one, *[None] * 8) == expected


def of_initial_weights(monkeypatch):
    """The options that [`compiled_once`][] gives a compiler."""
    given = []

    def jit(function, *, compiler_options, **_):
        given.append(compiler_options)
        return function

    monkeypatch.setattr(jax, "jit", jit)
    compiled_once(jax.nn.initializers.zeros)(jax.random.key(0), (2,))
    return given


def test_initial_weights_compile_at_the_first_level(monkeypatch, as_users_compile):
    assert of_initial_weights(monkeypatch) == [{EMITTERS: False, LEVEL: 1}]
    monkeypatch.setenv("XLA_FLAGS", f"--{LEVEL}=3")
    assert of_initial_weights(monkeypatch) == [{EMITTERS: False}]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert of_initial_weights(monkeypatch) == [None]


def test_fewer_optimisations_of_jax_come_first(monkeypatch, as_users_compile):
    jax.config.update("jax_disable_most_optimizations", True)
    assert of_initial_weights(monkeypatch) == [{EMITTERS: False}]


def test_layers_of_one_shape_share_what_draws_them():
    """Made anew for each layer, the initialiser of a second network was compiled once more."""
    compiled = []

    def listen(event, *_, **said):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(said.get("fun_name"))

    def made(seed):
        return np.asarray(Linear(13, 5, rngs=nnx.Rngs(seed)).kernel[...])

    first = made(0)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        assert np.all(made(1) != first)
        assert compiled == []
        Linear(13, 6, rngs=nnx.Rngs(0))
        assert compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("shape", [(3, 3, 2, 5), (7, 4)])
def test_initial_weights_have_the_same_bits(shape, as_users_compile):
    """By single operations, as one program, within another, and of many keys at once."""
    initialise = jax.nn.initializers.variance_scaling(4.0, "fan_avg", "uniform")
    key = jax.random.key(3)
    expected, drawn = initialise(key, shape, jnp.float32), compiled_once(initialise)
    np.testing.assert_array_equal(drawn(key, shape, jnp.float32), expected)
    np.testing.assert_array_equal(jax.jit(lambda: drawn(key, shape))(), expected)
    np.testing.assert_array_equal(jax.jit(lambda key: drawn(key, shape))(key), expected)
    np.testing.assert_array_equal(jax.vmap(lambda key: drawn(key, shape))(key[None])[0], expected)
