"""Each pain of `docs/pains.md` has a test that is there, or a capability that is to come."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COUNT = 22
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.*) \|$", re.MULTILINE)
NAMED = re.compile(r"`(test_\w+|[A-Z]\w+)`")
TO_COME = re.compile(r"to come: \w+")


def written() -> set[str]:
    """Name every test and every state machine of the test tree."""
    texts = [file.read_text() for file in (ROOT / "tests").rglob("test_*.py")]
    functions = {name for text in texts for name in re.findall(r"def (test_\w+)", text)}
    return functions | {name for text in texts for name in re.findall(r"class (\w+)\(RuleBasedStateMachine\)", text)}


def machines(shown_by: str) -> set[str]:
    """Find the state machines in a cell; other names with a capital are options and classes."""
    cell = re.search(r"the state machines? ((?:`\w+`|,| and | )+)", shown_by)
    return set(re.findall(r"`(\w+)`", cell.group(1))) if cell else set()


def faults(page: str, known: set[str]) -> list[str]:
    """Say what is wrong with the table of a page, given the tests that there are."""
    rows = [(int(number), shown_by) for number, _, shown_by in ROW.findall(page)]
    wrong = [] if [number for number, _ in rows] == [*range(1, COUNT + 1)] else ["the rows are not 1 to 22"]
    for number, shown_by in rows:
        named = {name for name in NAMED.findall(shown_by) if name.startswith("test_")} | machines(shown_by)
        wrong += [f"row {number}: {name} is not there" for name in sorted(named - known)]
        if not named and not TO_COME.search(shown_by):
            wrong.append(f"row {number}: neither a test nor what is to come")
    return wrong


def test_each_pain_names_tests_that_are_there_or_what_is_to_come() -> None:
    assert faults((ROOT / "docs/pains.md").read_text(), written()) == []


def table(**cells: str) -> str:
    """Make a page whose rows all name the test ``test_known``, but for those given."""
    return "\n".join(f"| {number} | pain | {cells.get(f'row{number}', '`test_known`')} |" for number in range(1, 23))


@pytest.mark.parametrize(
    ("page", "wrong"),
    [
        (table(), []),
        (table(row3="to come: the gate"), []),
        (table(row3="`test_known`, the state machines `Known` and `Other`"), ["row 3: Other is not there"]),
        (table(row3="`test_gone`; `SomeOption`"), ["row 3: test_gone is not there"]),
        (table(row3="`make chaos`"), ["row 3: neither a test nor what is to come"]),
        (table(row3="to come:"), ["row 3: neither a test nor what is to come"]),
        (table().replace("| 7 |", "| 8 |"), ["the rows are not 1 to 22"]),
    ],
)
def test_a_row_that_shows_nothing_is_found(page: str, wrong: list[str]) -> None:
    assert faults(page, {"test_known", "Known"}) == wrong
