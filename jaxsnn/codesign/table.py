"""Tables as people read them, in a terminal of any width."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable


@dataclass(frozen=True)
class Table:
    """A table as people read it: the cells are formatted text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def print(self, console: Console) -> None:
        """Prints it; if it is too wide, columns that fit beside the first one at a time."""
        parts = [[0] if self.columns else []]
        room = console.options.update(max_width=sys.maxsize)
        for column in range(1, len(self.columns)):
            wider = self._of([*parts[-1], column])
            if len(parts[-1]) > 1 and console.measure(wider, options=room).minimum > console.width:
                parts.append([0])
            parts[-1].append(column)
        for part in parts:
            table = self._of(part)
            table.title = self.title if part is parts[0] else None
            table.caption = self.note or None if part is parts[-1] else None
            console.print(table)

    def _of(self, columns: Sequence[int]) -> RichTable:
        table = RichTable(title_justify="left")
        for column in columns:
            texts = [self.columns[column], *(row[column] for row in self.rows)]
            table.add_column(
                self.columns[column],
                justify="right" if column else "left",
                overflow="fold",
                # The library would fold a long word before it breaks a sentence.
                no_wrap=not any(" " in text for text in texts),
            )
        for row in self.rows:
            table.add_row(*(row[column] for column in columns))
        return table


def show(console: Console, verdict: str | None, tables: Sequence[Table]) -> None:
    """Prints a result: what it comes to, and its tables."""
    if verdict:
        console.print(verdict, soft_wrap=True)
    for table in tables:
        table.print(console)


def console() -> Console:
    """The terminal; a log, which has no width, is wide."""
    found = Console()
    if not found.is_terminal:
        found.width = 200
    return found
