"""Errors that are raised now, or by a traced program when it runs; [`hwmodels.ranges`][] says of what."""

import contextlib
import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.experimental import checkify

from hwmodels.compiling import quickly

_Tree = TypeVar("_Tree")
_Function = TypeVar("_Function", bound=Callable[..., Any])
_AT_EDGE = contextvars.ContextVar("_AT_EDGE", default=False)
_SAYS = "has something to say"


def is_traced(value: Any) -> bool:
    """Whether a value is not known yet, so that its range cannot be looked at."""
    return isinstance(value, jax.core.Tracer)


def require_key(key: Any) -> None:
    """**Raises:** `ValueError` for what is no key of JAX, such as a seed."""
    if hasattr(key, "dtype") and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
        return
    if getattr(key, "dtype", None) != jnp.uint32 or jnp.ndim(key) != 1:
        raise ValueError(f"key must be a key of JAX, such as jax.random.key(0), got {key!r}.")


def error_if(tree: _Tree, bad: Any, message: str) -> _Tree:
    """The tree, such that using it raises if `bad`, a boolean, is true.

    At once, as `ValueError`, where that is known; else when the traced program runs. Within a program of
    [`at_edge`][] the error travels to its caller; in any other it is raised from within, by a callback to the
    host, as nothing else can under a `jit` that is not ours.
    """
    if not is_traced(bad):
        if bool(jnp.any(bad)):
            raise ValueError(message)
        return tree
    if _AT_EDGE.get():
        # Its format knows braces, of which there are none to fill.
        checkify.check(~jnp.any(bad), message.replace("{", "{{").replace("}", "}}"))
        return tree
    return eqx.error_if(tree, bad, message)


def say_if(said: Any, say: Callable[..., None], *values: Any) -> None:
    """Calls `say(*values)` on the host if `said`, a boolean, is true: for warnings.

    Within a program of [`at_edge`][] it makes the caller run it once more, as a program that calls the host.
    """
    if not is_traced(said):
        if said:
            say(*values)
    elif _AT_EDGE.get():
        checkify.check(~said, _SAYS)
    else:
        jax.lax.cond(said, lambda: jax.debug.callback(say, *values), lambda: None)


def first_error_if(tree: _Tree, bad: Sequence[Any], messages: Sequence[str]) -> _Tree:
    """[`error_if`][] of many booleans, those that are traced by one callback, for the first that is true."""
    traced = []
    for each, message in zip(bad, messages, strict=True):
        if is_traced(each) and not _AT_EDGE.get():
            traced.append((jnp.any(each), message))
        else:
            tree = error_if(tree, each, message)
    if not traced:
        return tree
    found = jnp.stack([each for each, _ in traced])
    arrays, rest = eqx.partition(tree, is_traced)
    said = [message for _, message in traced]
    return eqx.combine(eqx.branched_error_if(arrays, jnp.any(found), jnp.argmax(found), said), rest)


def at_edge(
    function: Callable[..., Any], *, static_argnames: Sequence[str] = (), rarely: bool = False
) -> Callable[..., Any]:
    """`function` under `jit`, its run-time checks raised by the call itself.

    The program returns, beside the result, which check failed, and holds no callback to the host: such a
    program enters JAX's persistent compilation cache, and its errors are one sentence. A call waits for the
    result. What has something to say ([`say_if`][]) runs again as a program of the other kind. Called with
    traced values it is the function itself, part of the caller's program.

    **Arguments:** `function`: it takes no derivatives within, where JAX drops the checks of loops; take those
    of the call. `static_argnames`: as for [`jax.jit`][]. `rarely`: as for [`hwmodels.compiling.quickly`][].

    **Raises:** `ValueError` with the message of the first check that fails.
    """
    signature = inspect.signature(function)
    # As profilers and logs of compilation call it.
    named = _named(getattr(function, "__name__", "function"))

    @named
    def at_the_edge(static: tuple[tuple[str, Any], ...], traced: dict[str, Any]) -> Any:
        def run(traced: dict[str, Any]) -> Any:
            with _functional():
                return function(**traced, **dict(static))

        return checkify.checkify(run)(traced)

    program = quickly(functools.partial(jax.jit, at_the_edge, static_argnums=0), rarely=rarely)

    @functools.partial(jax.jit, static_argnums=0)
    @named
    def speaking(static: tuple[tuple[str, Any], ...], traced: dict[str, Any]) -> Any:
        with _functional(False):
            return function(**traced, **dict(static))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if _staged((args, kwargs)):
            return function(*args, **kwargs)
        given = signature.bind(*args, **kwargs).arguments
        static = tuple((name, given.pop(name)) for name in static_argnames if name in given)
        error, found = program()(static, given)
        return _found(error, found, lambda: speaking(static, given))

    return call


def jit_with_checks(function: Callable[..., Any], *, rarely: bool = False) -> Callable[..., Any]:
    """[`equinox.filter_jit`][] of a function with checks; as [`at_edge`][] where all values are known."""

    named = _named(getattr(function, "__name__", "function"))

    @eqx.filter_jit
    @named
    def within(at_edge: bool, *args: Any) -> Any:
        with _functional(at_edge):
            return function(*args)

    @named
    def at_the_edge(*args: Any) -> Any:
        with _functional():
            return checkify.checkify(lambda: function(*args))()

    program = quickly(functools.partial(eqx.filter_jit, at_the_edge), rarely=rarely)

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        if _staged(args):
            return within(_AT_EDGE.get(), *args)
        error, found = program()(*args)
        return _found(error, found, lambda: within(False, *args))

    return call


def _staged(values: Any) -> bool:
    """Whether what is done with these values becomes part of a caller's program.

    Within one, under `jit` or in a loop, so does what is computed of known values.
    """
    return any(map(is_traced, jax.tree.leaves(values))) or is_traced(jnp.zeros(()))


def _named(name: str) -> Callable[[_Function], _Function]:
    def renamed(function: _Function) -> _Function:
        function.__name__ = function.__qualname__ = name
        return function

    return renamed


def _found(error: checkify.Error, found: Any, speaking: Callable[[], Any]) -> Any:
    message = error.get()
    if message is None:
        return found
    said = message.partition(" (`check` failed)")[0]
    if said == _SAYS:
        # What else is wrong with it, it says itself.
        return jax.block_until_ready(speaking())
    raise ValueError(said)


@contextlib.contextmanager
def _functional(on: bool = True) -> Iterator[None]:
    token = _AT_EDGE.set(on)
    try:
        yield
    finally:
        _AT_EDGE.reset(token)
