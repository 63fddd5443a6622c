"""Names that a config can bind, and the guards around gin.

The packages know nothing of gin: `register` makes their classes and functions bindable here. A config value
beats every default, because experiments call registered names without the arguments that a config may set.
"""

import contextlib
import contextvars
import difflib
import enum
import inspect
import json
import logging
import re
import tokenize
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gin
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

CONFIGS = Path(__file__).parent / "configs"
RESULTS = Path(__file__).parent / "results"


class ConfigError(ValueError):
    """A config that cannot be run: an unknown name, a wrong type, or a binding that nothing used."""


@dataclass(frozen=True)
class Experiment:
    """A named job: `function(run)` does the work, `configs/NAME.gin` sets every number in it."""

    name: str
    summary: str
    function: Callable[..., Any]

    @property
    def config(self) -> Path:
        return CONFIGS / f"{self.name}.gin"

    @property
    def took(self) -> str:
        """How long the run took whose result is kept, and on what; "" where none is."""
        path = RESULTS / f"{self.name}.json"
        if not path.is_file():
            return ""
        kept = json.loads(path.read_text())
        seconds = kept["wall_time_s"]
        time = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        return f"{time} on {kept['cores']} cores"


EXPERIMENTS: dict[str, Experiment] = {}
_PARAMETERS: dict[str, list[str]] = {}
_CONSTANTS: list[str] = []
_GIVEN_UP: set[tuple[str, str, str]] = set()
"""Scopes, names and parameters that need not be used."""
_REHEARSING: contextvars.ContextVar[bool] = contextvars.ContextVar("_REHEARSING", default=False)
_ORIGINS: dict[str, tuple[str, str]] = globals().get("_ORIGINS", {})  # kept when this module is reloaded
"""By name, the module and the qualified name of what is registered."""


def experiment(name: str, summary: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the experiment NAME; its parameters can be bound as `NAME.parameter`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        EXPERIMENTS[name] = Experiment(name, summary, register(function, name=name))
        return function

    return decorate


def register(target: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    """Make a class or function bindable; returns a constructor whose arguments gin fills in and we check."""
    name = name or target.__name__
    signature = _signature(target)
    _PARAMETERS[name] = list(signature.parameters)
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)

    def checked(*args: Any, **kwargs: Any) -> Any:
        for parameter, value in kwargs.items():
            hint = hints.get(parameter, Any)
            if isinstance(value, str) and inspect.isclass(hint) and issubclass(hint, enum.Enum):
                value = kwargs[parameter] = _member(hint, value, f"{name}.{parameter}")
            try:
                check_type(value, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
            except TypeCheckError as error:
                raise ConfigError(f"{name}.{parameter} must be {_readable(hint)}, got {value!r}.") from error
        return target(*args, **kwargs)

    checked.__name__ = checked.__qualname__ = name
    checked.__doc__ = target.__doc__
    checked.__signature__ = signature  # type: ignore[attr-defined]  # A function may have one.
    origin = (target.__module__, target.__qualname__)
    # A module that is loaded again, as notebooks do, registers its own anew.
    again = _ORIGINS.get(name) == origin
    _ORIGINS[name] = origin
    # It may be after a run, which locked its config.
    with gin.unlock_config(), gin.config.interactive_mode() if again else contextlib.nullcontext():
        gin.external_configurable(checked, name=name)
    return gin.get_configurable(name)


def _signature(target: Callable[..., Any]) -> inspect.Signature:
    """Of what a call takes; a metaclass's own `__call__`, as Flax has one, takes all and tells nothing."""
    if inspect.isclass(target) and inspect.isfunction(target.__init__):
        found = inspect.signature(target.__init__)
        return found.replace(parameters=list(found.parameters.values())[1:])
    return inspect.signature(target)


def constant(name: str, value: Any) -> None:
    """Make a value bindable as `%NAME`."""
    _CONSTANTS.append(name)
    gin.constant(name, value)


def find_experiment(name: str) -> Experiment:
    """The experiment of that name, or an error that lists what there is."""
    if name not in EXPERIMENTS:
        raise ConfigError(f"there is no experiment {name!r}; {_nearest(name, EXPERIMENTS)}")
    return EXPERIMENTS[name]


def load(chosen: Experiment, bindings: Iterable[str] = (), config: Path | None = None) -> None:
    """Read an experiment's config (or the one given), then the bindings, and lock it."""
    load_file(config or chosen.config, bindings)


def load_file(path: Path, bindings: Iterable[str] = ()) -> None:
    """Read a gin file, then the bindings, and lock the config.

    Bindings may leave some of a file of [`CONFIGS`][] without use, which a user did not write.
    """
    lines = list(map(quoted, bindings))
    gin.clear_config()
    if not path.is_file():
        raise ConfigError(f"there is no config file {path}.")
    gin.add_config_file_search_path(str(path.resolve().parent))
    _GIVEN_UP.clear()
    try:
        with _silence():
            gin.parse_config_file(str(path))
            if lines and path.resolve().is_relative_to(CONFIGS.resolve()):
                _GIVEN_UP.update(_bound())
                gin.clear_config()
                gin.parse_config(lines)
                _GIVEN_UP.difference_update(_bound())
                gin.clear_config()
                gin.parse_config_file(str(path))
            gin.parse_config(lines)
            gin.finalize()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}, or a file that it includes, is no text; give a gin file.") from error
    except (ValueError, SyntaxError, RuntimeError, OSError, ImportError, tokenize.TokenError) as error:
        raise ConfigError(_explain(error)) from error


def _bound() -> set[tuple[str, str, str]]:
    return {(*key, parameter) for key, given in gin.config._CONFIG.items() for parameter in given}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """gin logs, as an error, each place where a file is not, also of a file that it then finds."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


_WORD = re.compile(r"\s*([\w./]+)\s*=\s*([A-Za-z_~/.][\w./~+-]*)\s*")


def quoted(binding: str) -> str:
    """A binding whose value is a plain word or path, such as `load.name=mnist`, with the quotes gin needs."""
    found = _WORD.fullmatch(binding)
    if found is None or found[2] in ("True", "False", "None"):
        return binding
    return f"{found[1]} = {found[2]!r}"


class _Rehearsed(Exception):
    """Everything bindable was constructed and used, and work would begin."""


def rehearsing() -> bool:
    """Whether an experiment is only asked whether its config will do, so that data need not be read."""
    return _REHEARSING.get()


def rehearse(function: Callable[[], Any]) -> None:
    """Call an experiment up to its [`require_all_used`][]: every mistake in a config raises here."""
    token = _REHEARSING.set(True)
    try:
        function()
    except _Rehearsed:
        pass
    finally:
        _REHEARSING.reset(token)


def require_all_used() -> None:
    """Fail if a binding was read but never used, as a misspelt scope is.

    Call it after everything bindable was constructed and before any long work: a rehearsal ends here.
    """
    # gin offers both tables only as text; the dictionaries behind the text are the simpler contract.
    used, bound = gin.config._OPERATIVE_CONFIG, gin.config._CONFIG

    def is_used(scope: str, selector: str, parameter: str) -> bool:
        """In the scope itself, or in one within it that does not bind the parameter anew."""
        return any(
            parameter in parameters
            and name == selector
            and (inner == scope or (_within(inner, scope) and parameter not in bound.get((inner, name), {})))
            for (inner, name), parameters in used.items()
        )

    unused = [
        (scope, selector, parameter)
        for (scope, selector), parameters in bound.items()
        for parameter in parameters
        if (scope, selector, parameter) not in _GIVEN_UP and not is_used(scope, selector, parameter)
    ]
    if unused:
        named = ", ".join(_written(*binding) for binding in unused)
        raise ConfigError(f"nothing uses the binding {named}; {_use_of(unused[0], used)}")
    if rehearsing():
        raise _Rehearsed


_MACRO = "gin.macro"


def _written(scope: str, selector: str, parameter: str) -> str:
    """A binding's left side, as a config has it."""
    if selector == _MACRO:
        return scope
    return f"{scope + '/' if scope else ''}{selector.split('.')[-1]}.{parameter}"


def _use_of(unused: tuple[str, str, str], used: Iterable[tuple[str, str]]) -> str:
    scope, selector, _ = unused
    names = sorted({name.split(".")[-1] for _, name in used})
    meant = [f"{name}.{scope}" for name in names if scope in _PARAMETERS.get(name, ())]
    if selector == _MACRO and meant:
        return f"did you mean {' or '.join(map(repr, meant))}?"
    return f"say %{scope} where it is meant, or leave it out." if selector == _MACRO else _ELSE


_ELSE = "check its scope, or leave it out."


def _within(inner: str, scope: str) -> bool:
    return not scope or inner.startswith(f"{scope}/")


def operative_config() -> str:
    """The values that the run used, as a config that reproduces it.

    Defaults that gin cannot write, such as a surrogate, are left out: they are those of this version.
    """
    return gin.operative_config_str()


def _member(choices: type[enum.Enum], value: str, where: str) -> enum.Enum:
    try:
        return choices(value)
    except ValueError:
        allowed = ", ".join(repr(choice.value) for choice in choices)
        raise ConfigError(f"{where} must be one of {allowed}, got {value!r}.") from None


def _readable(hint: Any) -> str:
    text = inspect.formatannotation(hint)
    return "a number" if "jaxtyping" in text else text.replace("typing.", "")


def _explain(error: Exception) -> str:
    text = " ".join(str(error).split())
    unknown = re.search("No configurable matching '(.+?)'", text)
    if unknown:
        name = unknown[1].split(".")[0]
        return f"the config binds {name!r}, which nothing is called; {_nearest(name, _PARAMETERS)}"
    misspelt = re.search("Configurable '(.+?)' doesn't have a parameter named '(.+?)'", text)
    if misspelt:
        name, parameter = misspelt.groups()
        return f"{name} has no parameter {parameter!r}; {_nearest(parameter, _PARAMETERS[name])}"
    reference = re.search("No configurable matching reference '@(.+?)(?:\\(\\))?'", text)
    if reference:
        return f"{_UNREADABLE}{reference[0]}; {_nearest(reference[1], _PARAMETERS)}"
    value = re.search("No bindings specified for '(.+?)/gin.macro'", text)
    if value:
        known = [scope for scope, selector in gin.config._CONFIG if selector == _MACRO]
        return f"{_UNREADABLE}nothing is bound to %{value[1]}; {_nearest(value[1], [*known, *_CONSTANTS])}"
    included = re.search(r"Unable to open file: (.+?)\. Searched", text)
    if included:
        return f"there is no config file {included[1]} to include, neither here nor beside the config."
    if isinstance(error, RecursionError):
        return f"{_UNREADABLE}a file includes itself, or one that includes it."
    if isinstance(error, tokenize.TokenError):
        return f"{_UNREADABLE}a bracket or a text is not closed."
    return f"{_UNREADABLE}{text}"


_UNREADABLE = "the config cannot be read: "


def _nearest(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}."
