"""The report of a data test: whatever is in the data, the page stays one page, small, and harmless."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.data_tests import Distribution, Drift
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.quality.pictured import pictured
from airflow_azureml.quality.pictures import Histogram, Nulls, histogram
from airflow_azureml.quality.profile import Profile
from airflow_azureml.quality.report import MOST_BYTES, Pictured, page

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x00\u202e\ud800"
EVERY = Distribution(columns={"*": Drift(psi=0.2)})
texts = st.text(max_size=60) | st.just(EVIL)
shares = st.lists(st.floats(0, 1) | st.sampled_from([float("nan"), float("inf")]), min_size=1, max_size=6)


class Seen(HTMLParser):
    """Collects what a browser would make of a page."""

    VOID = ("meta", "polygon", "rect", "line", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "main", "div", "span", "p", "h1", "h2", "h3"),
    *("table", "thead", "tbody", "tr", "th", "td", "svg", "polygon", "rect", "line", "text"),
}
findings = st.builds(
    Finding,
    check=texts,
    passed=st.booleans(),
    reason=texts,
    subject=texts,
    value=st.none() | st.floats(),
    against=st.none() | st.floats(),
)
histograms = st.builds(
    Histogram,
    column=texts,
    reference=shares,
    recent=shares,
    edges=st.lists(st.floats(), max_size=7),
    words=st.lists(texts, max_size=6),
)
drawn = st.builds(
    Pictured,
    histograms=st.lists(histograms, max_size=3),
    nulls=st.lists(
        st.builds(Nulls, column=texts, recent=st.floats(0, 1), reference=st.none() | st.floats(0, 1)), max_size=3
    ),
)


@given(st.lists(findings, max_size=5), drawn, texts, st.dictionaries(texts, texts, max_size=3))
def test_whatever_is_in_the_data_the_page_is_whole_runs_nothing_and_loads_nothing(
    found: list[Finding], pictures: Pictured, title: str, facts: dict[str, str]
) -> None:
    text = page(Verdict(subject=title, policy=title, findings=found, facts=facts), pictures, title=title)

    seen = Seen(text)
    text.encode()
    assert seen.tags <= ALLOWED
    assert not [name for name in seen.attributes if name.startswith("on") or name in ("src", "href", "style")]
    assert (seen.open, seen.unbalanced) == ([], [])
    assert not re.search(r"url\(|@import", text)
    assert not re.search(r"(points|width|x|y)=\"[^\"]*(nan|inf)", text)


@pytest.mark.parametrize(("rows", "columns"), [(5000, 0), (20, 400), (5000, 400)])
def test_a_page_is_never_large_and_says_what_it_leaves_out(rows: int, columns: int) -> None:
    many = [Finding(check="c" * 900, passed=False, reason="r" * 900, subject="s" * 900) for _ in range(rows)]
    pictures = [
        Histogram(column=f"{number}" * 300, reference=[0.1] * 500, recent=[0.2] * 500, edges=[*map(float, range(501))])
        for number in range(columns)
    ]
    nulls = [Nulls(column="n" * 900, recent=0.5, reference=0.1)] * columns

    text = page(Verdict(subject="a", policy="p", findings=many), Pictured(histograms=pictures, nulls=nulls), title="a")

    assert len(text.encode()) <= MOST_BYTES
    left = re.search(r"And (\d+) more, of which (\d+) failed", text)
    assert left is None if rows == 20 else int(left[1]) + text.count('<span class="mark no">no</span>') == rows  # type: ignore[index]
    assert ("more columns have no picture here" in text) is bool(columns)


def test_a_no_comes_first_and_nothing_checked_is_a_no() -> None:
    found = [Finding(check="one", passed=True, reason="fine"), Finding(check="two", passed=False, reason="broken")]

    text = page(Verdict(subject="a", policy="p", findings=found), title="a.csv")

    assert text.index("broken") < text.index("fine")
    assert "1 of 2 checks passed" in text
    assert '<span class="mark no">failed</span>' in page(Verdict(subject="a", policy="p", findings=()), title="a.csv")


def test_it_is_legible_by_day_and_by_night() -> None:
    text = page(Verdict(subject="a", policy="p", findings=()), title="a.csv")

    day, night = text.split("prefers-color-scheme: dark", 1)
    colours = set(re.findall(r"--([a-z-]+): #", day))
    assert colours == set(re.findall(r"--([a-z-]+): #", night.partition("} }")[0])) >= {"page", "ink", "was", "is"}


def table(**columns: list[Any]) -> Profile:
    return Profile.of([pl.DataFrame(columns)])


def test_a_column_that_drifted_is_drawn_first_and_where_it_went() -> None:
    was = table(same=[1.0, 2.0, 3.0] * 50, moved=[1.0, 2.0, 3.0] * 50, sex=["f", "m", "m"] * 50)
    now = table(same=[1.0, 2.0, 3.0] * 50, moved=[7.0, 8.0, 9.0] * 50, sex=["f", "m", None] * 50)
    found = [
        Finding(
            check="moved: PSI at most 0.2",
            passed=False,
            reason="moved: PSI is 9, and may be 0.2.",
            subject="moved",
            value=9,
        )
    ]

    pictures = pictured(now, was, found, EVERY)

    assert [each.column for each in pictures.histograms] == ["moved", "sex", "same"]
    moved, sex, _ = pictures.histograms
    assert moved.note == "PSI is 9"
    assert sum(share for share, edge in zip(moved.recent, moved.edges, strict=False) if edge < 6) == 0
    assert sum(moved.recent) == pytest.approx(1)
    assert dict(zip(sex.words, sex.recent, strict=True)) == {"f": 0.5, "m": 0.5}
    [missing] = [each for each in pictures.nulls if each.column == "sex"]
    assert missing.reference == 0
    assert missing.recent == pytest.approx(1 / 3)


def test_columns_that_are_not_compared_or_are_of_another_kind_now_are_not_drawn() -> None:
    was, now = table(a=[1.0, 2.0], b=["x", "y"], c=[1, 2]), table(a=["x", "y"], b=["x", "y"], d=[1, 2])

    pictures = pictured(now, was, [], Distribution(columns={"a": Drift(psi=1), "c": Drift(psi=1)}))

    assert list(pictures.histograms) == []
    assert list(pictured(now, None, [], None).histograms) == []


@pytest.mark.parametrize("edges", [[], [1.0], [1.0, float("nan")], [1.0, 0.0], [0.0, 5e-324], [-1.7e308, 1.7e308]])
def test_what_cannot_be_drawn_is_said(edges: list[float]) -> None:
    told = histogram(Histogram(column="a", reference=[0.0], recent=[1.0], edges=edges))

    assert told == '<p class="soft">There is nothing to draw.</p>'
