"""A table that fits: numbers are never folded, words are folded between words, and what matters least is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

LEAST_WORDS = 24  # cells of a column of words below which another column is left out for it
BORDER = 3  # of a column: a line and a blank on each side


@dataclass(frozen=True)
class Column:
    """``words`` may be folded, or cut off; other cells never. ``rank``: the highest is left out first, 0 never."""

    name: str
    words: bool = False
    rank: int = 0


@dataclass
class Fitted:
    """Rows whose columns are chosen when it is known how wide they may be.

    Attributes:
        one_line: words that don't fit are cut off instead of folded: a row is a line.
    """

    columns: Sequence[Column]
    title: str | None = None
    one_line: bool = False
    _rows: list[tuple[list[Text], str]] = field(default_factory=list)

    def add(self, *cells: str | Text, style: str = "") -> None:
        """A row; texts are taken as they are, without markup."""
        self._rows.append(([cell if isinstance(cell, Text) else Text(cell) for cell in cells], style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self._chosen(options.max_width)
        cells = sum(self._width(place) for place in shown if not self.columns[place].words)
        words = sum(self.columns[place].words for place in shown)
        room = (options.max_width - 1 - BORDER * len(shown) - cells) // max(1, words)
        table = Table(title=self.title, title_justify="left")
        for place in shown:
            column = self.columns[place]
            fold = column.words and not self.one_line
            table.add_column(
                column.name,
                no_wrap=not fold,
                overflow="ellipsis" if self.one_line else "fold",
                max_width=max(1, room) if column.words else None,
                min_width=None if column.words else self._width(place),
                justify="left" if column.words or not self._numeric(place) else "right",
            )
        for row, style in self._rows:
            table.add_row(*(row[place] for place in shown), style=style)
        yield table

    def _chosen(self, width: int) -> list[int]:
        """The places of the columns that fit, all words with a readable width."""
        shown = list(range(len(self.columns)))
        while sum(self._least(place) + BORDER for place in shown) + 1 > width:
            rank, worst = max((self.columns[place].rank, place) for place in shown)
            if not rank:
                break
            shown.remove(worst)
        return shown

    def _least(self, place: int) -> int:
        width = self._width(place)
        return min(width, LEAST_WORDS) if self.columns[place].words else width

    def _width(self, place: int) -> int:
        return max([Text(self.columns[place].name).cell_len, *(row[place].cell_len for row, _ in self._rows)])

    def _numeric(self, place: int) -> bool:
        """Whether a column's cells all begin with a digit, or are empty."""
        cells = [row[place].plain for row, _ in self._rows]
        return any(cells) and all(not cell or cell.lstrip("-")[:1].isdigit() for cell in cells)
