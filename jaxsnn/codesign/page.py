"""One HTML page with everything in it: opens offline, needs no other file."""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from jaxsnn.codesign.charts import Chart
from jaxsnn.codesign.table import Table
from jaxsnn.codesign.units import number_in
from jaxsnn.codesign.words import explained


def render(
    title: str,
    tables: Sequence[Table],
    provenance: Mapping[str, Any],
    *,
    figures: Mapping[str, bytes] | None = None,
    charts: Sequence[Chart] = (),
    config: str | None = None,
    verdict: str | None = None,
    links: Sequence[str] = (),
) -> str:
    """The page as text: verdict, first table, charts, the other tables and figures; then, folded away and
    not printed, what the numbers depend on.

    **Arguments:**

    - `figures`: PNG by name.
    - `charts`: of [`jaxsnn.codesign.charts`][].
    - `links`: files that lie beside the page.
    """
    blocks = [
        *(_table(table) for table in tables[:1]),
        *({"title": chart.title, "caption": chart.caption, "svg": chart.svg} for chart in charts),
        *(_table(table) for table in tables[1:]),
        *(_figure(name, png) for name, png in (figures or {}).items()),
    ]
    return _template().render(
        title=title,
        verdict=verdict,
        meta=_meta(provenance),
        links=links,
        blocks=blocks,
        words=explained(_texts(tables)),
        provenance=json.dumps(dict(provenance), indent=1, default=str, ensure_ascii=False),
        config=config,
    )


_NUMBERS = re.compile(r"[±×–]|\d\S*|mm²|nm|\b[fpnµmkMGT]?(?:J|s|B|Hz)\b")
"""What a column of numbers may hold; a column with a word beside it is one of texts."""


@cache
def _template() -> Template:
    loader = PackageLoader("jaxsnn.codesign", "")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.jinja")


def _texts(tables: Sequence[Table]) -> Iterable[str]:
    for table in tables:
        yield from (table.title, table.note, *table.columns)
        for row in table.rows:
            yield from row


def _meta(provenance: Mapping[str, Any]) -> str:
    """When, with what, and where: one line."""
    date = str(provenance.get("date") or "")[:16].replace("T", " ")
    version = (provenance.get("versions") or {}).get("spikechip")
    commit = provenance.get("commit")
    processor = provenance.get("processor")
    cores = f"{provenance['cores']} cores" if provenance.get("cores") else ""
    parts = [
        f"{date} UTC" if date else "",
        f"spikechip {version}" if version else "",
        f"commit {commit}" if commit else "",
        str(provenance.get("device") or ""),
        f"{processor}, {cores}" if processor and cores else processor or cores,
        str(provenance.get("system") or ""),
    ]
    return " · ".join(part for part in parts if part)


def _table(table: Table) -> dict[str, Any]:
    """Cells with the numbers that they are sorted by; columns of sentences stand left and wrap."""
    values = [[number_in(cell) for cell in row] for row in table.rows]
    words = [
        column > 0 and any(re.search("[A-Za-z]{2}", _NUMBERS.sub("", row[column])) for row in table.rows)
        for column in range(len(table.columns))
    ]
    return {
        "title": table.title,
        "columns": [
            {"name": name or "chip" if index == 0 else name, "words": words[index]}
            for index, name in enumerate(table.columns)
        ],
        "rows": [
            [
                {"text": cell, "words": words[index], "value": _key(cell, value)}
                for index, (cell, value) in enumerate(zip(row, found, strict=True))
            ]
            for row, found in zip(table.rows, values, strict=True)
        ],
        "note": table.note,
    }


def _key(cell: str, value: float | None) -> str:
    if value is not None:
        return repr(value)
    return "" if re.fullmatch(r"[–-]?", cell) else cell


def _figure(name: str, png: bytes) -> dict[str, str]:
    title = name[0].upper() + name[1:].replace("_", " ")
    alt = f"{title}: the numbers of the tables above and of result.json, drawn."
    return {"title": title, "alt": alt, "png": base64.b64encode(png).decode()}
