"""A verdict as a table that people read: in a task's log, a terminal, a pull request."""

import unicodedata
from collections.abc import Iterator, Sequence

from attrs import frozen

from airflow_azureml.core.findings import Finding, Verdict

#: Columns of text that a table takes, unless told otherwise, and at least.
WIDTH, LEAST_WIDTH = 140, 100
#: What stands where there is no figure.
_NONE = "-"
_HEADS = ("check", "value", "champion", "interval", "passed", "reason")
#: The widest each column gets, but for the reason, which takes the rest, and the narrowest that one gets.
_WIDEST, _REASON = (40, 12, 12, 20, 6), 24
_GAP = "  "
_ELLIPSIS = "…"


def explain(verdict: Verdict, *, width: int = WIDTH) -> str:
    """Write a verdict as plain text: what was decided, each check in a line or more, and the facts.

    What failed stands first. Letters that take two columns are counted so; control characters are not written, so that
    no name in an evaluation can forge a line of a log.

    Args:
        verdict: What was decided.
        width: Columns of the text; 100 at least.
    """
    width = max(width, LEAST_WIDTH)
    decided = "accepted" if verdict.accepted else "rejected"
    passed, all_of = len(verdict.findings) - len(verdict.failed), len(verdict.findings)
    head = f"{verdict.subject}: {decided}, {passed} of {all_of} checks passed"
    lines = [*_wrapped(head, width)]
    lines += _wrapped(f"by policy {verdict.policy}", width) if verdict.policy else []
    if verdict.findings:
        lines += ["", *_table(verdict, width)]
    facts = [line for name, value in verdict.facts.items() for line in _fact(name, value, width)]
    return "\n".join([*lines, *(["", *facts] if facts else [])])


@frozen
class _Row:
    """One line of cells, before they are wrapped."""

    cells: tuple[str, ...]

    def lines(self, widths: Sequence[int]) -> Iterator[str]:
        """Write it, in as many lines as its longest cell takes."""
        wrapped = [_wrapped(cell, width) for cell, width in zip(self.cells, widths, strict=True)]
        for number in range(max(map(len, wrapped))):
            parts = [cell[number] if number < len(cell) else "" for cell in wrapped]
            yield _GAP.join(_padded(part, width) for part, width in zip(parts, widths, strict=True)).rstrip()


def _table(verdict: Verdict, width: int) -> Iterator[str]:
    ordered = [*verdict.failed, *(one for one in verdict.findings if one.passed)]
    rows = [_Row(_HEADS), *map(_row, ordered)]
    others = [min(most, max(_columns(row.cells[at]) for row in rows)) for at, most in enumerate(_WIDEST)]
    spare = width - _REASON - sum(others[1:]) - len(_GAP) * len(others)
    others[0] = min(others[0], spare)
    widths = [*others, width - sum(others) - len(_GAP) * len(others)]
    yield from rows[0].lines(widths)
    yield _GAP.join("-" * each for each in widths[:-1]) + _GAP + "-" * min(widths[-1], len(_HEADS[-1]))
    for row in rows[1:]:
        yield from row.lines(widths)


def _row(one: Finding) -> _Row:
    between = f"{_figure(one.low)} to {_figure(one.high)}" if one.low is not None or one.high is not None else _NONE
    cells = (one.check, _figure(one.value), _figure(one.against), between, "yes" if one.passed else "NO", one.reason)
    return _Row(tuple(map(_clean, cells)))


def _fact(name: str, value: str, width: int) -> list[str]:
    return _wrapped(f"{name}: {value}", width)


def _figure(value: float | None) -> str:
    return _NONE if value is None else f"{value:.6g}"


def _clean(text: str) -> str:
    """Write text in one line, without what a terminal would obey or could not show."""
    shown = "".join(" " if each.isspace() else each if _is_shown(each) else "�" for each in text)
    return " ".join(shown.split())


def _is_shown(letter: str) -> bool:
    return unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Co", "Cn"}


def _columns(text: str) -> int:
    """Count the columns that text takes in a terminal."""
    return sum(map(_column, text))


def _column(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in {"W", "F"} else 1


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _columns(text))


def _wrapped(text: str, width: int) -> list[str]:
    """Break text between words, and words that are longer than a line wherever the line ends."""
    lines, line = [], ""
    for word in _clean(text).split(" "):
        joined = f"{line} {word}" if line else word
        if _columns(joined) <= width:
            line = joined
            continue
        lines += [line] if line else []
        *full, line = _pieces(word, width)
        lines += full
    return [*lines, line]


def _pieces(word: str, width: int) -> list[str]:
    """Cut a word into pieces that fit; never between a letter and what combines with it."""
    pieces, taken = [""], 0
    for letter in word:
        columns = _column(letter)
        if taken + columns > width:
            pieces.append("")
            taken = 0
        pieces[-1] += letter
        taken += columns
    return pieces
