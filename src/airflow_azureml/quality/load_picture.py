"""A picture of a profiling: what latency each setting of a deployment had under the load, and which is taken; SVG."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from airflow_azureml.core.profiling import Measured, Profiling
from airflow_azureml.quality.pictures import figure

#: In the picture's own units, which are pixels where it is shown as it is.
WIDTH, HEAD, ROW, FOOT = 860, 96, 44, 44
_LEFT, _RIGHT = 220, 600
#: How far over the goal the scale goes; a bar that is longer is cut, and its figure says by how much.
_BEYOND = 2.0

#: Contrast with its ground is at least 4.5 in both schemes, and no meaning is carried by colour alone.
_STYLE = """
svg { color-scheme: light dark; font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
.ground { fill: #ffffff; } .stripe { fill: #f4f6f8; } text { fill: #1c2733; } .dim { fill: #566472; }
.yes { fill: #0a7a3d; } .no { fill: #c02626; } .goal { stroke: #566472; stroke-dasharray: 4 3; stroke-width: 1.6; }
.median { fill: #ffffff; opacity: .55; }
@media (prefers-color-scheme: dark) {
.ground { fill: #12181f; } .stripe { fill: #1a222b; } text { fill: #e6ebf0; } .dim { fill: #9aa8b5; }
.yes { fill: #3ecf7a; } .no { fill: #ff7b72; } .goal { stroke: #9aa8b5; } .median { fill: #12181f; }
}"""


def picture(profiling: Profiling, measured: Sequence[Measured], *, title: str) -> str:
    """Draw what was measured as an SVG document, which needs nothing beside it and is readable on light and on dark.

    Each bar is the latency that the goal's percentage of the answers did not exceed, with the median as a lighter part
    of it; the dashed line is the goal.

    Args:
        profiling: What was measured, and for what.
        measured: What was found, in any order.
        title: What was measured, for people.
    """
    goal, best = profiling.goal, profiling.cheapest(measured)
    rows = sorted(measured, key=lambda each: each.setting)
    height = HEAD + ROW * max(len(rows), 1) + FOOT
    most_ms = max([goal.latency_ms * 1.25, *(min(each.latency_ms, goal.latency_ms * _BEYOND) for each in rows)])
    told = f"{best.setting} is the cheapest that holds" if best else "none of the settings holds"
    asked = f"{goal.rate_per_s:g} requests a second; {goal.percentile:g} % within {goal.latency_ms:g} ms"
    at = _LEFT + goal.latency_ms / most_ms * (_RIGHT - _LEFT)
    bottom = height - FOOT + 6
    lines = [line for place, each in enumerate(rows) for line in _row(profiling, each, place, most_ms)]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="what" {_size(height)}>',
            f'<title id="what">{_safe(f"{title}: {told}")}</title>',
            f"<style>{_STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
            _text(24, 36, title, size=16, weight="600"),
            _text(24, 62, f"{asked}: {told}.", "dim", size=13),
            *(lines or [_text(24, HEAD + 28, "Nothing was measured.", "dim")]),
            f'<path class="goal" d="M{at:.1f} {HEAD - 10}V{bottom}"/>',
            _text(at, bottom + 18, f"{figure(goal.latency_ms)} ms", "dim", anchor="middle"),
            "</svg>",
            "",
        )
    )


def _size(height: int) -> str:
    return f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'


def _row(profiling: Profiling, each: Measured, place: int, most_ms: float) -> Iterator[str]:
    top, holds = HEAD + ROW * place, each.holds(profiling.goal)
    if place % 2 == 0:
        yield f'<rect class="stripe" x="12" y="{top}" width="{WIDTH - 24}" height="{ROW}" rx="6"/>'
    yield _text(24, top + 27, f"{'✓' if holds else '✗'} {each.setting}", size=13)
    for part_ms, kind in ((each.latency_ms, "yes" if holds else "no"), (each.p50_ms, "median")):
        width = min(part_ms, most_ms) / most_ms * (_RIGHT - _LEFT)
        yield f'<rect class="{kind}" x="{_LEFT}" y="{top + 13}" width="{width:.1f}" height="18" rx="3"/>'
    yield _text(_RIGHT + 12, top + 20, _latency(each), size=12)
    cost = profiling.cost_per_hour(each.setting)
    failed = f"{each.failed} of {each.requests} failed" if each.failed else f"{each.requests} asked, none failed"
    yield _text(_RIGHT + 12, top + 36, failed if cost is None else f"{failed}; {cost:.4g} an hour", "dim", size=11)


def _latency(each: Measured) -> str:
    if not math.isfinite(each.latency_ms):
        return "no good answer"
    return f"{figure(round(each.latency_ms, 1))} ms, half within {figure(round(each.p50_ms, 1))} ms"


def _text(  # noqa: PLR0913  # the attributes of SVG's own element
    x: float, y: float, text: str, kind: str = "", *, size: int = 12, anchor: str = "", weight: str = ""
) -> str:
    told = {"class": kind, "text-anchor": anchor, "font-weight": weight}
    attributes = "".join(f' {name}="{value}"' for name, value in told.items() if value)
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}"{attributes}>{_safe(text)}</text>'


def _safe(text: str) -> str:
    return escape("".join(letter if letter.isprintable() else "?" for letter in text))
