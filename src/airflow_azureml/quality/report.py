"""The report of a data test: one HTML page with pictures, that needs nothing beside it and runs no script."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import field, frozen

from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.quality import pictures
from airflow_azureml.quality.pictures import Histogram, Nulls

#: The most that a report has. Bytes.
MOST_BYTES = 300_000
#: Most rows of the table, pictures of columns, and characters of a text that comes from the data.
MOST_FINDINGS, MOST_PICTURES, LONGEST = 200, 24, 400

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --ink: #1b1f24; --soft: #5a6472; --line: #dfe3e8;
  --was: #8b96a5; --is: #0b6bcb; --yes: #17753a; --yes-page: #e3f4e8; --no: #b3261e; --no-page: #fbe6e4; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171b; --card: #1d2127; --ink: #e7eaee; --soft: #a3adba; --line: #343b44;
    --was: #75818f; --is: #5fb0ff; --yes: #6fd08c; --yes-page: #17301f; --no: #ff8a80; --no-page: #3a1d1c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { font-size: 1.45rem; line-height: 1.3; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 34px 0 10px; }
h3 { font-size: .95rem; margin: 0 0 2px; overflow-wrap: anywhere; }
p { margin: 6px 0; }
.soft { color: var(--soft); }
.head { display: flex; gap: 14px; align-items: flex-start; flex-wrap: wrap; justify-content: space-between; }
.mark { display: inline-block; border-radius: 999px; padding: 1px 11px; font-weight: 600; font-size: .85rem;
  white-space: nowrap; }
.yes { color: var(--yes); background: var(--yes-page); }
.no { color: var(--no); background: var(--no-page); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: 7px 12px; border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; }
th { font-weight: 600; color: var(--soft); }
td { overflow-wrap: anywhere; }
.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.facts th { width: 11em; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 14px; align-items: start; }
.grid .card, .alone { padding: 12px 14px; }
.alone { max-width: 460px; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 11.5px; }
svg .name { fill: var(--ink); }
svg .was { fill: var(--was); }
svg .is { fill: var(--is); }
svg .is-line { fill: var(--is); fill-opacity: .22; stroke: var(--is); stroke-width: 1.8; }
svg .was-area { fill: var(--was); fill-opacity: .55; }
svg .axis { stroke: var(--line); stroke-width: 1; }
.key { display: flex; gap: 16px; margin: 0 0 10px; font-size: .85rem; color: var(--soft); }
.key span::before { content: ""; display: inline-block; width: 11px; height: 11px; border-radius: 3px;
  margin-right: 6px; vertical-align: -1px; background: var(--was); }
.key .is::before { background: var(--is); }
@media print { body { background: none; } .card { break-inside: avoid; } }
"""
_KEY = '<p class="key"><span>reference</span><span class="is">this file</span></p>'


@frozen(kw_only=True)
class Pictured:
    """What there is to draw.

    Attributes:
        histograms: Of columns, those that drifted first.
        nulls: The shares of nulls, by column.
    """

    histograms: Sequence[Histogram] = ()
    nulls: Sequence[Nulls] = field(factory=tuple)


def page(verdict: Verdict, pictured: Pictured | None = None, *, title: str) -> str:
    """Write the report.

    Args:
        verdict: What was found.
        pictured: What there is to draw; None for nothing.
        title: What was tested, for people.

    Returns:
        A page of at most `MOST_BYTES` as UTF-8; pictures, and then findings, are left out where they are too many, and
        the page says so.
    """
    pictured = pictured or Pictured()
    findings, histograms = MOST_FINDINGS, MOST_PICTURES
    while True:
        text = _page(verdict, pictured, title=title, most=(findings, histograms))
        if len(text.encode()) <= MOST_BYTES or (findings, histograms) == (1, 0):
            return text
        findings, histograms = (findings, histograms // 2) if histograms else (max(findings // 2, 1), 0)


def _page(verdict: Verdict, pictured: Pictured, *, title: str, most: tuple[int, int]) -> str:
    word = "passed" if verdict.accepted else "failed"
    mark = f'<span class="mark {_class(verdict.accepted)}">{word}</span>'
    counted = f"{len(verdict.findings) - len(verdict.failed)} of {len(verdict.findings)} checks passed"
    body = "".join(
        [
            f'<div class="head"><h1>{_text(title)}</h1>{mark}</div>',
            f'<p class="soft">{counted if verdict.findings else "Nothing was checked."}</p>',
            _facts(verdict),
            _findings(verdict, most[0]),
            _histograms(pictured.histograms, most[1]),
            _nulls(pictured.nulls),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{_text(title)}: {word}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )


def _facts(verdict: Verdict) -> str:
    told = {**verdict.facts, **({"rules": verdict.policy} if verdict.policy else {})}
    rows = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in told.items() if value)
    return f'<div class="card wide"><table class="facts"><tbody>{rows}</tbody></table></div>' if rows else ""


def _findings(verdict: Verdict, most: int) -> str:
    """Draw the table, what failed first."""
    ordered = [*verdict.failed, *(each for each in verdict.findings if each.passed)]
    rows = "".join(_row(each) for each in ordered[:most])
    left = len(ordered) - most
    more = ""
    if left > 0:
        failed = max(len(verdict.failed) - most, 0)
        more = f'<p class="soft">And {left} more, of which {failed} failed; the verdict has them all.</p>'
    if not rows:
        return ""
    head = "".join(f"<th{kind}>{name}</th>" for name, kind in _HEADS)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<h2>Checks</h2><div class="card wide">{table}</div>{more}'


_HEADS = (
    ("", ""),
    ("column", ""),
    ("check", ""),
    ("found", ' class="figure"'),
    ("against", ' class="figure"'),
    ("reason", ""),
)


def _row(finding: Finding) -> str:
    mark = f'<span class="mark {_class(finding.passed)}">{"yes" if finding.passed else "no"}</span>'
    figures = "".join(f'<td class="figure">{_figure(each)}</td>' for each in (finding.value, finding.against))
    check, reason = (told.removeprefix(f"{finding.subject}: ") for told in (finding.check, finding.reason))
    return (
        f"<tr><td>{mark}</td><td>{_text(finding.subject)}</td><td>{_text(check)}</td>{figures}"
        f"<td>{_text(reason)}</td></tr>"
    )


def _histograms(histograms: Sequence[Histogram], most: int) -> str:
    if not histograms:
        return ""
    cards = "".join(
        f'<div class="card"><h3>{_text(each.column)}</h3><p class="soft">{_text(each.note)}</p>'
        f"{pictures.histogram(each)}</div>"
        for each in histograms[:most]
    )
    left = len(histograms) - most
    more = f'<p class="soft">{left} more columns have no picture here.</p>' if left > 0 else ""
    return f'<h2>Columns against the reference</h2>{_KEY}<div class="grid">{cards}</div>{more}'


def _nulls(nulls: Iterable[Nulls]) -> str:
    shown = [each for each in nulls if each.recent > 0 or (each.reference or 0) > 0]
    shown.sort(key=lambda each: (-abs(each.recent - (each.reference or 0.0)), each.column))
    if not shown:
        return ""
    drawn, left = shown[: pictures.MOST_NULLS], len(shown) - pictures.MOST_NULLS
    more = f'<p class="soft">{left} more columns have nulls.</p>' if left > 0 else ""
    key = _KEY if any(each.reference is not None for each in drawn) else ""
    return f'<h2>Share of nulls</h2>{key}<div class="card alone">{pictures.nulls(drawn)}</div>{more}'


def _class(passed: bool) -> str:
    return "yes" if passed else "no"


def _figure(number: float | None) -> str:
    return "" if number is None else html.escape(pictures.figure(number))


def _text(value: Any) -> str:
    """Escape a text, cut to `LONGEST` characters; what no page can hold becomes a question mark."""
    text = str(value)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    shown = "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text)
    return html.escape(shown.encode("utf-8", "replace").decode())
