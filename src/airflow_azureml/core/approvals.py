"""A person's approval: what is shown to whoever decides, and what they said."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.core.findings import Verdict
from airflow_azureml.errors import ProtocolError

#: Most metrics, and findings of a verdict that hold, that are shown; what does not hold is always shown.
MOST_SHOWN = 20
#: Characters that mean something in Markdown or HTML.
_MARKED = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_{}[]()#+!|~"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})


@frozen(kw_only=True)
class Approval:
    """What a person decided.

    Attributes:
        approved: Whether it is a yes.
        by: Who said so, as Airflow knows them.
        at: When, with its zone.
        note: What they wrote; empty where they wrote nothing.
    """

    approved: bool
    by: str
    at: datetime
    note: str = ""

    @classmethod
    def from_wire(cls, raw: Any) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            ProtocolError: It is no approval.
        """
        match raw:
            case {"approved": bool(approved), "by": str(by), "at": str(at)} if by:
                return cls(approved=approved, by=by, at=time_of(at), note=str(raw.get("note") or ""))
            case _:
                raise ProtocolError(f"An approval needs approved, by and at, and is {raw!r:.200}.")

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it: ``approved``, ``by``, ``at``, ``note``."""
        return {"approved": self.approved, "by": self.by, "at": text_of(self.at), "note": self.note}


@frozen(kw_only=True)
class Question:
    """What whoever decides is shown.

    Attributes:
        sha: The commit of the code; empty where it is not about code.
        diff_url: Where the changes are shown; empty where nowhere.
        verdicts: What was judged, by what it is called: ``gate``, ``integration checks``.
        metrics: Figures of the run.
        facts: What else is to be known, such as an estimate of what it costs.
        links: Where to look further, by their captions.
    """

    sha: str = ""
    diff_url: str = ""
    verdicts: Mapping[str, Verdict] = field(factory=dict)
    metrics: Mapping[str, float] = field(factory=dict)
    facts: Mapping[str, str] = field(factory=dict)
    links: Mapping[str, str] = field(factory=dict)

    @property
    def markdown(self) -> str:
        """Write it for the Airflow interface; whatever comes from outside is shown as it is, and never as markup."""
        return "\n".join(self._lines()).strip() + "\n"

    def _lines(self) -> Iterator[str]:
        rows = [("Commit", f"`{self.sha}`" if self.sha.isalnum() else plain(self.sha))] if self.sha else []
        if link := _link("what changes", self.diff_url):
            rows.append(("Changes", link))
        rows += [(plain(name), plain(value)) for name, value in self.facts.items() if value]
        rows += [(plain(name), link) for name, url in self.links.items() if (link := _link("open", url))]
        yield from _table(("", ""), rows)
        for name, verdict in self.verdicts.items():
            yield f"### {plain(name)}: {'accepted' if verdict.accepted else 'rejected'}"
            yield ""
            yield from _table(("", "Check", "Found"), list(_findings(verdict)))
        if self.metrics:
            yield "### Metrics"
            yield ""
            shown = sorted(self._own_metrics.items())
            rows = [(plain(name), f"{value:.6g}") for name, value in shown[:MOST_SHOWN]]
            yield from _table(("Metric", "Value"), rows)
            if len(shown) > MOST_SHOWN:
                yield f"… and {len(shown) - MOST_SHOWN} more."

    @property
    def _own_metrics(self) -> dict[str, float]:
        """Leave out a step's metric, ``evaluate.rmse``, where the job has the same itself."""
        return {
            name: value
            for name, value in self.metrics.items()
            if "." not in name or self.metrics.get(name.rpartition(".")[2]) != value
        }


def _findings(verdict: Verdict) -> Iterator[tuple[str, ...]]:
    """Show what does not hold first, and all of it."""
    held = [each for each in verdict.findings if each.passed]
    for each in (*verdict.failed, *held[:MOST_SHOWN]):
        yield "yes" if each.passed else "**no**", plain(each.check), plain(each.reason)
    if len(held) > MOST_SHOWN:
        yield "yes", f"{len(held) - MOST_SHOWN} more", ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _link(caption: str, url: str) -> str:
    """Write a link; what is no plain address of the web is none."""
    is_plain = url.startswith(("https://", "http://")) and not set(url) & set(" \t\r\n<>()\"'`|\\")
    return f"[{caption}]({url})" if is_plain else ""


def plain(text: str) -> str:
    """Write a text so that Markdown shows it as it is, in one line."""
    return " ".join(str(text).split()).translate(_MARKED)


def text_of(time: datetime) -> str:
    """Write a time as ISO 8601, UTC, to the second."""
    return time.astimezone(UTC).isoformat(timespec="seconds")


def time_of(text: str) -> datetime:
    """Read a time in ISO 8601.

    Raises:
        ProtocolError: It is none, or has no zone.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ProtocolError(f"{text!r:.80} is no time in ISO 8601.") from error
    if found.tzinfo is None:
        raise ProtocolError(f"{text!r:.80} is a time without its zone.")
    return found.astimezone(UTC)
