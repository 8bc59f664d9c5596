"""A picture of a verdict: champion and challenger side by side for each check, with the intervals there are; SVG."""

import re
from collections.abc import Iterator, Sequence
from html import escape

from attrs import frozen

from airflow_azureml.core.findings import Finding, Verdict

#: Checks that are drawn, those that failed first of all; the rest are counted.
MOST = 40
#: In the picture's own units, which are pixels where it is shown as it is.
WIDTH, HEAD, ROW, FOOT = 980, 104, 62, 48
_LEFT, _RIGHT, _FIGURES, _MARK = 430, 710, 738, 956
#: Characters that fit into a line: of what was asked, of a reason, of the head.
_ASKED, _REASON, _LINE = 52, 140, 90
#: What XML 1.0 has no character for.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

#: Contrast with its ground is at least 4.5 in both schemes, and no meaning is carried by colour alone.
_STYLE = """
svg { color-scheme: light dark; font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
.ground { fill: #ffffff; } .stripe { fill: #f4f6f8; } text { fill: #1c2733; } .dim { fill: #566472; }
.axis { stroke: #b9c3cd; } .zero { stroke: #566472; stroke-dasharray: 3 3; }
.champion { fill: none; stroke: #566472; stroke-width: 2.2; }
.yes { fill: #0a7a3d; } .no { fill: #c02626; } .yes-line { stroke: #0a7a3d; } .no-line { stroke: #c02626; }
.badge { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
.ground { fill: #12181f; } .stripe { fill: #1a222b; } text { fill: #e6ebf0; } .dim { fill: #9aa8b5; }
.axis { stroke: #46525e; } .zero { stroke: #9aa8b5; } .champion { stroke: #9aa8b5; }
.yes { fill: #3ecf7a; } .no { fill: #ff7b72; } .yes-line { stroke: #3ecf7a; } .no-line { stroke: #ff7b72; }
.badge { fill: #12181f; }
}"""


def picture(verdict: Verdict) -> str:
    """Draw a verdict as an SVG document, which needs nothing beside it and is readable on light and on dark.

    Each check has its own scale. An interval is drawn around the challenger's value; one around a difference is drawn
    from the champion's value on, or beside a line at 0 where the check is about the difference itself.
    """
    shown = sorted(verdict.findings, key=lambda finding: finding.passed)[:MOST]
    left_out = len(verdict.findings) - len(shown)
    height = HEAD + ROW * max(len(shown), 1) + FOOT
    rows = [line for place, finding in enumerate(shown) for line in _row(finding, HEAD + ROW * place, place)]
    if not shown:
        rows = [_text(24, HEAD + 36, "Nothing was checked, so the answer is no.", "dim", size=14)]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="what why" {_size(height)}>',
            f'<title id="what">{_safe(verdict.subject, 300)}: {_word(verdict)}</title>',
            f'<desc id="why">{_safe(verdict.sentence, 4000)}</desc>',
            f"<style>{_STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
            *_head(verdict),
            *rows,
            *_foot(height, left_out),
            "</svg>",
            "",
        )
    )


def _size(height: int) -> str:
    return f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'


def _head(verdict: Verdict) -> Iterator[str]:
    kind = _kind(verdict.accepted)
    yield f'<rect class="{kind}" x="24" y="22" width="112" height="30" rx="6"/>'
    yield _text(80, 42, _word(verdict).upper(), "badge", size=14, font_weight="600", text_anchor="middle")
    yield _text(150, 42, verdict.subject, size=15, most=_LINE, font_weight="600")
    passed = len(verdict.findings) - len(verdict.failed)
    yield _text(
        24, 76, f"{passed} of {len(verdict.findings)} checks passed. Policy: {verdict.policy}", "dim", most=_REASON
    )


def _foot(height: int, left_out: int) -> Iterator[str]:
    y = height - 20
    yield f'<path class="yes" d="{_diamond(32, y - 4)}"/>'
    yield f'<path class="no" d="{_diamond(50, y - 4)}"/>'
    yield _text(62, y, "challenger (passed, failed)", "dim")
    yield f'<circle class="champion" cx="252" cy="{y - 4}" r="6"/>'
    yield _text(266, y, "champion", "dim")
    yield f'<path class="zero" d="M350 {y - 13}v18"/>'
    yield _text(360, y, "no difference", "dim")
    if left_out:
        yield _text(WIDTH - 24, y, f"and {left_out} more checks", "dim", text_anchor="end")


def _row(finding: Finding, top: int, place: int) -> Iterator[str]:
    kind = _kind(finding.passed)
    yield f"<g><title>{_safe(f'{finding.check}: {finding.reason}', 1000)}</title>"
    if place % 2 == 0:
        yield f'<rect class="stripe" x="12" y="{top}" width="{WIDTH - 24}" height="{ROW}" rx="6"/>'
    yield _text(24, top + 24, finding.check, size=13, most=_ASKED)
    yield _text(24, top + 48, finding.reason, "dim", most=_REASON)
    yield from _plot(finding, top + 20)
    yield from _figures(finding, top)
    yield _mark(finding.passed, kind, top + 20)
    yield "</g>"


def _plot(finding: Finding, y: int) -> Iterator[str]:
    """Draw a check's figures on a scale of its own."""
    span = _span(finding)
    marks = [each for each in (finding.value, finding.against, *(span or ())) if each is not None]
    if not marks:
        return
    is_difference = finding.against is None and span is not None
    scale = _Scale.of([*marks, 0.0] if is_difference else marks)
    kind = _kind(finding.passed)
    yield f'<path class="axis" d="M{_LEFT} {y}H{_RIGHT}"/>'
    if is_difference:
        yield f'<path class="zero" d="M{scale.x(0.0)} {y - 14}v28"/>'
    if span:
        low, high = (scale.x(end) for end in span)
        yield f'<path class="{kind}-line" stroke-width="3" d="M{low} {y}H{high}M{low} {y - 6}v12M{high} {y - 6}v12"/>'
    if finding.against is not None:
        yield f'<circle class="champion" cx="{scale.x(finding.against)}" cy="{y}" r="6.5"/>'
    if finding.value is not None:
        yield f'<path class="{kind}" d="{_diamond(scale.x(finding.value), y)}"/>'


def _span(finding: Finding) -> tuple[float, float] | None:
    """Give the ends of the interval as they are drawn."""
    low, high, value, against = finding.low, finding.high, finding.value, finding.against
    if low is None or high is None:
        return None
    if value is None or against is None or low <= value <= high:
        return low, high
    return against + low, against + high


def _figures(finding: Finding, top: int) -> Iterator[str]:
    told = [each for each in (_figure(finding.value), _figure(finding.against)) if each]
    if not told:
        yield _text(_FIGURES, top + 24, "no figure", "dim")
        return
    yield _text(_FIGURES, top + 17 if finding.low is not None else top + 24, " vs ".join(told), size=13)
    if finding.low is not None and finding.high is not None:
        yield _text(_FIGURES, top + 33, f"{_figure(finding.low)} to {_figure(finding.high)}", "dim")


def _mark(passed: bool, kind: str, y: int) -> str:
    x = _MARK - 12
    path = f"M{x - 6} {y}l5 5 9-10" if passed else f"M{x - 5} {y - 5}l10 10M{x + 5} {y - 5}l-10 10"
    return f'<path class="{kind}-line" stroke-width="2.6" fill="none" d="{path}"/>'


@frozen
class _Scale:
    least: float
    most: float

    @classmethod
    def of(cls, marks: Sequence[float]) -> "_Scale":
        return cls(min(marks), max(marks))

    def x(self, value: float) -> float:
        """Place a value; the ends have room beside them, and a single value stands in the middle."""
        wide = self.most / 2 - self.least / 2  # halves, since the whole may be too large for a number
        share = 0.5 if wide <= 0 else (value / 2 - self.least / 2) / wide
        return round(_LEFT + (0.08 + 0.84 * min(max(share, 0.0), 1.0)) * (_RIGHT - _LEFT), 1)


def _diamond(x: float, y: float) -> str:
    return f"M{x} {y - 7}l7 7-7 7-7-7z"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _word(verdict: Verdict) -> str:
    return "accepted" if verdict.accepted else "rejected"


def _kind(passed: bool) -> str:
    return "yes" if passed else "no"


def _text(x: float, y: float, text: str, kind: str = "", *, size: int = 12, most: int = 200, **more: str) -> str:
    """Write a line of text; what else SVG is told of it has its names with a hyphen."""
    told = {"class": kind, **{name.replace("_", "-"): value for name, value in more.items()}}
    attributes = "".join(f' {name}="{value}"' for name, value in told.items() if value)
    return f'<text x="{x}" y="{y}" font-size="{size}"{attributes}>{_safe(text, most)}</text>'


def _safe(text: str, most: int) -> str:
    """Write text as XML can hold it, on one line, cut where it is too long."""
    line = " ".join(_UNWRITABLE.sub("\ufffd", text).split())
    return escape(line if len(line) <= most else f"{line[: most - 1].rstrip()}…")
