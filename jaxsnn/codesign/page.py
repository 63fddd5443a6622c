"""One HTML page with everything in it: opens offline, needs no other file."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from jaxsnn.codesign.table import Table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2.2rem }
table { border-collapse: collapse } td, th { padding: .25rem .8rem; border-bottom: 1px solid #ddd }
td + td, th + th { text-align: right } td:first-child, th:first-child { text-align: left }
p.note { color: #666; font-size: .9rem } img { max-width: 100% } pre { background: #f6f6f6; padding: 1rem;
overflow-x: auto }
"""


def render(
    title: str,
    tables: Sequence[Table],
    provenance: Mapping[str, Any],
    *,
    figures: Mapping[str, bytes] | None = None,
    config: str | None = None,
    verdict: str | None = None,
) -> str:
    """The page as text: verdict, tables and figures (PNG by name) first, then what they depend on."""
    parts = [] if verdict is None else [f"<p>{html.escape(verdict)}</p>"]
    parts += [_table(table) for table in tables]
    parts += [_figure(name, png) for name, png in (figures or {}).items()]
    parts += [
        "<h2>What these numbers depend on</h2>",
        f"<pre>{html.escape(json.dumps(dict(provenance), indent=1, default=str))}</pre>",
    ]
    if config is not None:
        parts += ["<h2>Operative config</h2>", f"<pre>{html.escape(config)}</pre>"]
    title = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>{''.join(parts)}</body></html>\n"
    )


def _table(table: Table) -> str:
    def row(cells, tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(row(cells, "td") for cells in table.rows)
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    return f"<h2>{html.escape(table.title)}</h2><table>{row(table.columns, 'th')}{body}</table>{note}"


def _figure(name: str, png: bytes) -> str:
    data = base64.b64encode(png).decode()
    title = html.escape(name[0].upper() + name[1:].replace("_", " "))
    return f'<h2>{title}</h2><img alt="{title}" src="data:image/png;base64,{data}">'
