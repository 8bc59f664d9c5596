"""Telling how chaos goes: counts in a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from rich.table import Table

from demo.show import Show

#: Seconds between two lines where there is no terminal.
LINE_EVERY_S = 15.0


@attrs.define
class Tally(Show):
    """Counts of tasks, jobs and kills, in place of the ways of blobs."""

    _counts: Mapping[str, Mapping[str, int]] = attrs.field(factory=dict)
    _line_at: float = -LINE_EVERY_S

    def tell(self, **counts: Mapping[str, int]) -> None:
        """Show counts, each by its name."""
        self._counts = counts
        if self._live is not None:
            self._live.update(self._picture())
        elif self.seconds >= self._line_at + LINE_EVERY_S:
            self._line_at = self.seconds
            self.say("; ".join(f"{name}: {_written(each)}" for name, each in counts.items()))

    def _picture(self) -> Table:
        table = Table(title=f"{self.title}  {self.seconds:.0f} s  {self._doing}", title_justify="left", expand=True)
        for name in ("what", "of it"):
            table.add_column(name, overflow="fold")
        for name, each in self._counts.items():
            table.add_row(name, _written(each))
        return table


def _written(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
