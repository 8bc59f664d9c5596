"""Telling what happens: a live table in a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import attrs
from rich.console import Console
from rich.live import Live
from rich.table import Table

#: The hops of a blob, in the order in which it takes them.
HOPS = ("uploaded", "event", "batch", "job: steps", "published")


@attrs.define
class Way:
    """How far one blob version, or something else that goes a way, has come.

    Attributes:
        label: What to call it.
        hops: What is known of each hop; one that was not reached is absent.
    """

    label: str
    hops: dict[str, str] = attrs.field(factory=dict)


@attrs.define
class Show:
    """The display; use it with ``with``.

    Attributes:
        title: Stands over the table.
        what: What goes the way.
        names: The hops of the way, in their order.
    """

    title: str
    what: str = "file"
    names: Sequence[str] = HOPS
    console: Console = attrs.field(factory=lambda: Console(highlight=False))
    began: float = attrs.field(factory=time.monotonic)
    _live: Live | None = None
    _ways: Sequence[Way] = ()
    _told: set[tuple[str, str, str]] = attrs.field(factory=set)
    _doing: str = ""

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def say(self, text: str) -> None:
        """Tell one thing that has happened."""
        self.console.print(f"[dim]{self.seconds:6.1f} s[/dim]  {text}", soft_wrap=True)

    def doing(self, text: str) -> None:
        """Tell what goes on now; in a terminal it stands below until the next one."""
        self._doing = text
        if self._live is None:
            self.say(f"{text} ...")
        else:
            self._live.update(self._picture())

    def show(self, ways: Sequence[Way]) -> None:
        """Show how far each blob has come."""
        self._ways = ways
        if self._live is not None:
            self._live.update(self._picture())
            return
        for way in ways:
            for hop in self.names:
                text = way.hops.get(hop, "")
                if text and (way.label, hop, text) not in self._told:
                    self._told.add((way.label, hop, text))
                    self.say(f"{way.label}  {hop}: {text}")

    def table(self, rows: Sequence[Mapping[str, str]], *, title: str) -> None:
        """Print a small table; its columns are the keys of the first row."""
        table = Table(title=title, title_justify="left", header_style="bold")
        for name in rows[0] if rows else ():
            is_figure = all(_is_figure(row[name]) for row in rows)
            table.add_column(name, justify="right" if is_figure else "left", overflow="fold")
        for row in rows:
            table.add_row(*row.values())
        self.console.print(table)

    def _picture(self) -> Table:
        table = Table(title=f"{self.title}  {self.seconds:.0f} s  {self._doing}", title_justify="left", expand=True)
        for name in (self.what, *self.names):
            table.add_column(name, overflow="fold")
        for way in self._ways:
            table.add_row(way.label, *(way.hops.get(hop, "[dim]-[/dim]") for hop in self.names))
        return table

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(self._picture(), console=self.console, refresh_per_second=4)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update(self._picture())
            self._live.__exit__(kind, error, trace)
            self._live = None


def _is_figure(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("-").replace("e-", "", 1).isdigit()
