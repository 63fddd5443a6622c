"""Every parameter of chips, circuits, neurons and training: meaning, range, unit, default and source.

All of it is read from the classes themselves, so that it cannot say anything else than the code.
"""

import difflib
import inspect
import re
import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

import hwmodels
from hwmodels import adc, crossbar, sata, search, spikeflow
from hwmodels.crossbar import laws, write_verify
from jaxsnn import neuron
from jaxsnn.codesign.noise_aware import NoiseAware
from jaxsnn.codesign.penalties import EnergyPenalty, SpikePenalty
from jaxsnn.codesign.table import Table
from jaxsnn.learning.config import TrainConfig


def _public(*rooms: ModuleType) -> Iterator[type]:
    """The frozen classes that modules show, what users write before what they are answered."""
    for room in rooms:
        shown = getattr(room, "__all__", vars(room))
        for each in (getattr(room, name) for name in shown if not name.startswith("_")):
            if not inspect.isclass(each) or inspect.isabstract(each):
                continue
            if is_dataclass(each) and each.__module__.startswith("hwmodels."):
                yield each


DESCRIBED: dict[str, type] = {
    each.__name__: each
    for each in (
        spikeflow.Chip,
        spikeflow.Cell,
        sata.Accelerator,
        crossbar.Crossbar,
        *_public(spikeflow, adc, sata, crossbar, laws, write_verify, search, hwmodels),
        neuron.LIF,
        neuron.IF,
        neuron.CubaLIF,
        neuron.ParametricLIF,
        neuron.SharedLIF,
        neuron.Readout,
        TrainConfig,
        NoiseAware,
        EnergyPenalty,
        SpikePenalty,
    )
}

_UNITS = {
    "_hz": "Hz",
    "_j": "J",
    "_s": "s",
    "_um2": "µm²",
    "_mm2": "mm²",
    "_nm": "nm",
    "bits": "bit",
    "_ohm": "Ω",
    "_siemens": "S",
    "_bytes": "byte",
    "_w": "W",
    "_cycles": "cycle",
    "_clocks": "clock",
    "_kelvin": "K",
    "_volt": "V",
    "_v": "V",
    "_farad": "F",
    "_js": "J·s",
    "_ampere": "A",
}
_IN_WORDS = {r"in ohm|ohm,": "Ω", r"in bytes|bytes": "byte", r"^Bits of": "bit"}
_RANGE = re.compile(
    r"in ([\[(][^\])]*[\])])"
    r"|(at least [\d.]+|at most [\d.]+|above zero|zero or more|positive|\d+ to \d+ (?:bytes|bits))"
)


@dataclass(frozen=True)
class Entry:
    """One parameter as people read it; "" where nothing is said."""

    name: str
    meaning: str
    range: str
    unit: str
    default: str
    source: str


def entries(described: type) -> list[Entry]:
    """Every parameter of a class, in its order."""
    meanings = {name: text for base in reversed(described.__mro__) for name, text in _meanings(base).items()}
    document = inspect.getdoc(described) or ""
    ranges = _limits(described)
    comments = _comments(described)
    letters = _letters(described)
    hints = _hints(described)
    found = []
    for name, default in _parameters(described):
        comment = comments.get(name, "")
        letter = re.match(r"([A-Z])(?:\b|$)", comment)
        meaning = meanings.get(name, "")
        if not meaning and name.endswith(("_j", "_um2", "_per_round")):
            meaning = _plain(re.sub(r"^[A-Z]\b[,:;]?\s*", "", comment)) or "One use of it." * name.endswith(
                "_j"
            )
        found.append(
            Entry(
                name=name,
                meaning=meaning or (f"See {_type_of(default)}." if _is_part(default) else ""),
                range=ranges.get(name) or _choices(hints.get(name)) or _said_range(meaning),
                unit="" if _is_part(default) or name.endswith("banks") else _unit(name, meaning, document),
                default=_shown(default),
                source=letters.get(letter[1], "") if letter else "",
            )
        )
    return found


def source_of(described: type) -> str:
    """The papers and tables that the class names, one paragraph; "" for none."""
    document = inspect.getdoc(described) or ""
    found = re.findall(r"(?:\*\*Source:\*\*|Source:|Defaults?:) (.+?)(?:\n\n|$)", document, re.DOTALL)
    return _unlinked(" ".join(" ".join(text.split()) for text in found))


def summary_of(described: type) -> str:
    """The first paragraph of the class's text."""
    return _unlinked(" ".join((inspect.getdoc(described) or "").split("\n\n")[0].split()))


def find(name: str) -> type:
    """The class of that name, in any case.

    **Raises:** `ValueError` that names the nearest, for one that there is not.
    """
    for known, described in DESCRIBED.items():
        if name.lower() == known.lower():
            return described
    close = difflib.get_close_matches(name.lower(), [known.lower() for known in DESCRIBED], n=1)
    nearest = next((known for known in DESCRIBED if close and known.lower() == close[0]), None)
    hint = f"did you mean {nearest!r}?" if nearest else f"there are {', '.join(DESCRIBED)}."
    raise ValueError(f"there is nothing to describe called {name!r}; {hint}")


def table(described: type) -> Table:
    """The parameters of a class as a table."""
    return Table(
        f"{described.__name__}: {summary_of(described)}",
        ["parameter", "default", "unit", "range", "meaning"],
        [
            [
                each.name,
                each.default,
                each.unit or "–",
                each.range or "–",
                " — ".join(filter(None, (each.meaning, each.source))),
            ]
            for each in entries(described)
        ],
        note=f"Source: {source_of(described)}" if source_of(described) else "",
    )


def markdown() -> str:
    """The page of the documentation: one section a class."""
    parts = []
    for name, described in DESCRIBED.items():
        parts += [f"## {name}", "", f"`{described.__module__}.{name}`. {summary_of(described)}", ""]
        parts += ["| parameter | default | unit | range | meaning | source |", "|---|---|---|---|---|---|"]
        for each in entries(described):
            cells = [f"`{each.name}`", each.default, each.unit, each.range, each.meaning, each.source]
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        if source_of(described):
            parts += ["", f"Source: {source_of(described)}"]
        parts.append("")
    return "\n".join(parts)


def _parameters(described: type) -> Iterator[tuple[str, Any]]:
    if is_dataclass(described):
        for field in fields(described):
            if not field.init:
                continue
            made = field.default_factory() if field.default_factory is not MISSING else field.default
            yield field.name, inspect.Parameter.empty if made is MISSING else made
        return
    for name, parameter in inspect.signature(vars(described)["__init__"]).parameters.items():
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD:
            yield name, parameter.default


def _meanings(described: type) -> dict[str, str]:
    """What the **Arguments:** section says of each name."""
    document = inspect.getdoc(described) or ""
    # What is answered has no arguments, and its parts are listed right away.
    _, _, section = document.partition("**Arguments:**" if "**Arguments:**" in document else "\n\n")
    section = re.split(r"\n\n(?:\*\*|Source|Defaults?:|[A-Z])", section)[0]
    inline = not re.search(r"^\s*- `", section, re.MULTILINE)
    parts = re.split(r";\s+(?=`)", section) if inline else re.split(r"\n\s*- (?=`)", "\n" + section)
    found: dict[str, str] = {}
    texts: list[str] = []
    for part in parts:
        texts += re.split(r"(?<=[.;]) (?=`\w+`:)", " ".join(part.split()))
    for text in texts:
        head = re.match(r"((?:`\w+`(?:, | and )?)+):? (.+)", text)
        if head:
            for name in re.findall(r"`(\w+)`", head[1]):
                found[name] = _plain(head[2])
    # Some are explained in another's sentence.
    for sentence in re.split(r"(?<=[.;:]) ", " ".join(section.split())):
        for name in re.findall(r"`(\w+)`", sentence):
            found.setdefault(name, _plain(sentence.rstrip(";:")))
    return found


def _plain(text: str) -> str:
    """Without links of the documentation, as a sentence begins."""
    text = _unlinked(text)
    return text[:1].upper() + text[1:] if text[:1].isascii() else text


def _unlinked(text: str) -> str:
    return re.sub(r"\[`?([\w.]+)`?\]\[[\w.]*\](?:`\(\)`)?", lambda link: link[1].rsplit(".", 1)[-1], text)


def _limits(described: type) -> dict[str, str]:
    """Ranges that a class checks itself with."""
    if described is not spikeflow.Chip:
        return {}
    return {name: f"[{limit.low:g}, {limit.high:g}]" for name, limit in described().limits().items()}


def _hints(described: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(described if is_dataclass(described) else vars(described)["__init__"])
    except (NameError, TypeError):
        return {}


def _choices(hint: Any) -> str:
    options = get_args(hint) if get_origin(hint) is not Literal else (hint,)
    for option in (hint, *options):
        if get_origin(option) is Literal:
            return ", ".join(map(str, get_args(option)))
        if inspect.isclass(option) and issubclass(option, Enum):
            return ", ".join(str(each.value) for each in option)
    return "True, False" if hint is bool else ""


def _said_range(meaning: str) -> str:
    found = _RANGE.search(meaning)
    if found:
        return (found[1] or found[2]).rstrip(".")
    words = re.findall(r'"([\w-]+)"', meaning)
    return ", ".join(dict.fromkeys(words)) if len(words) > 1 else ""


def _unit(name: str, meaning: str, document: str) -> str:
    for suffix, unit in _UNITS.items():
        if name.endswith(suffix):
            return unit
    for pattern, unit in _IN_WORDS.items():
        if re.search(pattern, meaning) or re.search(pattern, document.split("\n\n")[0]):
            return unit
    arguments = re.search(r"\*\*Arguments:\*\* (?:each|all) in (\w+)", document)
    return {"ohm": "Ω", "joule": "J", "siemens": "S"}.get(arguments[1], "") if arguments else ""


def _is_part(value: Any) -> bool:
    return type(value).__module__.startswith(("hwmodels", "jaxsnn")) and not isinstance(value, Enum)


def _type_of(value: Any) -> str:
    return type(value).__name__


def _shown(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    return f"{_type_of(value)}()" if _is_part(value) else str(value)


def _comments(described: type) -> dict[str, str]:
    """The comment behind each field in the source."""
    try:
        source = inspect.getsource(described)
    except (OSError, TypeError):
        return {}
    return {
        name: text.strip() for name, text in re.findall(r"^    (\w+): [^#\n]*#\s*(.+)$", source, re.MULTILINE)
    }


def _letters(described: type) -> dict[str, str]:
    """Sources by the letter that stands for them in the comments of a module."""
    module = inspect.getmodule(described)
    text = (inspect.getdoc(module) or "") if module else ""
    found = re.findall(r"^- \*\*([A-Z])\*\*: (.+?)(?=\n- \*\*|\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return {letter: " ".join(meaning.split()) for letter, meaning in found}
