"""The picture of a verdict: well-formed whatever it is about, and each figure where it belongs."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.quality.gate_picture import HEAD, MOST, ROW, WIDTH, picture

SVG = "{http://www.w3.org/2000/svg}"
#: Long texts are made of short ones, which are drawn faster.
texts = st.builds(str.__mul__, st.text(max_size=5), st.integers(0, 60))
figures = st.none() | st.floats(allow_nan=True, allow_infinity=True)
findings = st.builds(
    Finding,
    check=texts,
    passed=st.booleans(),
    reason=texts,
    value=figures,
    against=figures,
    low=figures,
    high=figures,
)
verdicts = st.builds(Verdict, subject=texts, policy=texts, findings=st.lists(findings, max_size=6))


def _drawn(*found: Finding) -> ET.Element:
    return ET.fromstring(picture(Verdict(subject="m", policy="p", findings=found)))  # noqa: S314  # our own


def _rows(drawn: ET.Element) -> list[ET.Element]:
    return drawn.findall(f"{SVG}g")


def _x(row: ET.Element, kind: str) -> float:
    (mark,) = row.findall(f"{SVG}*[@class='{kind}']")
    return float(mark.get("cx") or re.findall(r"[\d.]+", mark.get("d") or "")[0])


@given(verdicts)
def test_a_picture_is_well_formed_and_says_the_answer_in_words_whatever_it_is_about(verdict: Verdict) -> None:
    drawn = ET.fromstring(picture(verdict))  # noqa: S314  # our own

    words = " ".join(drawn.itertext())
    assert ("ACCEPTED" if verdict.accepted else "REJECTED") in words
    assert len(_rows(drawn)) == len(verdict.findings)
    assert "nan" not in re.sub(r"<(title|desc|text)[^>]*>.*?</\1>", "", picture(verdict), flags=re.DOTALL)


@given(st.floats(-1e308, 1e308), st.floats(-1e308, 1e308))
def test_the_larger_figure_stands_further_to_the_right(value: float, against: float) -> None:
    (row,) = _rows(_drawn(Finding(check="c", passed=True, reason="r", value=value, against=against)))

    challenger, champion = _x(row, "yes"), _x(row, "champion")
    assert (challenger > champion) == (value > against)
    assert (challenger < champion) == (value < against)


def test_an_interval_of_a_difference_is_drawn_beside_the_line_of_no_difference() -> None:
    (row,) = _rows(_drawn(Finding(check="c", passed=False, reason="r", value=-12.4, low=-31.2, high=6.3)))

    low, high = (
        float(each)
        for each in re.findall(r"[MH]([\d.]+)", row.findall(f"{SVG}*[@class='no-line']")[0].get("d", ""))[:2]
    )
    assert low < _x(row, "no") < _x(row, "zero") < high


def test_an_interval_around_a_difference_is_drawn_from_the_champions_value_on() -> None:
    (row,) = _rows(_drawn(Finding(check="c", passed=True, reason="r", value=66.0, against=61.0, low=3.0, high=7.0)))

    line = row.findall(f"{SVG}*[@class='yes-line']")[0].get("d", "")
    low, high = (float(each) for each in re.findall(r"[MH]([\d.]+)", line)[:2])
    assert _x(row, "champion") < low < _x(row, "yes") < high


def test_what_failed_stands_first_and_what_is_too_much_is_counted() -> None:
    passed = [Finding(check=f"passed {number}", passed=True, reason="r") for number in range(MOST + 5)]
    drawn = _drawn(*passed, Finding(check="the one that failed", passed=False, reason="r"))

    assert len(_rows(drawn)) == MOST
    assert "the one that failed" in "".join(_rows(drawn)[0].itertext())
    assert "and 6 more checks" in "".join(drawn.itertext())
    assert drawn.get("viewBox", "").split()[2:] == [str(WIDTH), str(HEAD + MOST * ROW + 48)]


def test_a_check_without_figures_says_so_and_nothing_is_drawn_for_it() -> None:
    (row,) = _rows(_drawn(Finding(check="model_bytes at most 5", passed=False, reason="It has no <model_bytes> & co.")))

    assert "no figure" in "".join(row.itertext())
    assert "It has no <model_bytes> & co." in "".join(row.itertext())
    assert not row.findall(f"{SVG}*[@class='axis']")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_and_mark_stands_out_from_its_ground_in_both_schemes(scheme: str) -> None:
    style = picture(Verdict(subject="m", policy="p", findings=()))
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"([.\w-]+) \{ (?:fill|stroke): (#\w{6})", light))
    if scheme == "dark":
        colours |= dict(re.findall(r"([.\w-]+) \{ (?:fill|stroke): (#\w{6})", dark))

    for name in ("text", ".dim", ".yes", ".no", ".yes-line", ".no-line"):
        for ground in (".ground", ".stripe"):
            assert _contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    assert _contrast(colours[".badge"], colours[".yes"]) >= 4.5
    assert _contrast(colours[".badge"], colours[".no"]) >= 4.5


def _contrast(one: str, other: str) -> float:
    """Compute the contrast of two colours, as the Web Content Accessibility Guidelines 2.1 define it."""
    lights = []
    for colour in (one, other):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)
