"""A model's card: what people want to know of a version at a glance, as Markdown."""

from collections.abc import Iterator

from airflow_azureml.core.findings import Finding
from airflow_azureml.core.lineage import Lineage

#: Characters of the longest card. Source: "Service limits in Azure Machine Learning", where descriptions have 5,000.
MOST = 4000
#: Rows of a table, and characters of a cell.
ROWS, CELL = 20, 120


def card(model: str, *, job: str, output: str, lineage: Lineage) -> str:
    """Write the card: what it is and where from, its metrics, and what the gate said.

    A card that is too long loses whole lines from its end, and says so.
    """
    lines = [f"# {_plain(model)}", "", *_origin(job, output, lineage)]
    lines += [*_metrics(lineage), *_verdict(lineage)]
    return _within(lines)


def _origin(job: str, output: str, lineage: Lineage) -> Iterator[str]:
    yield f"Made by output `{_plain(output)}` of job `{_plain(job)}`."
    yield ""
    told = {
        "Pipeline": lineage.pipeline,
        "Commit": lineage.commit,
        "Registered by": lineage.owner,
        "Test data": lineage.evaluated.data_version,
    }
    yield from (f"- {name}: `{_plain(value)}`" for name, value in told.items() if value)
    for one in lineage.data[:ROWS]:
        rows = "" if one.rows is None else f", {one.rows} rows"
        yield f"- Trained on `{_plain(one.path)}`{rows}"
    if len(lineage.data) > ROWS:
        yield f"- … and {len(lineage.data) - ROWS} more"


def _metrics(lineage: Lineage) -> Iterator[str]:
    measured = list(lineage.measured.items())
    if not measured:
        return
    yield from ("", "## Metrics", "", "| metric | value |", "|---|---|")
    yield from (f"| {_plain(name)} | {value:.6g} |" for name, value in measured[:ROWS])
    if len(measured) > ROWS:
        yield f"| … | {len(measured) - ROWS} more |"


def _verdict(lineage: Lineage) -> Iterator[str]:
    verdict = lineage.verdict
    yield from ("", "## Verdict", "")
    if verdict is None:
        yield "No gate was asked."
        return
    yield _plain(verdict.sentence, 600)
    yield from ("", f"Policy: {_plain(verdict.policy)}", "", "| check | passed | found |", "|---|---|---|")
    yield from (f"| {_plain(one.check)} | {_said(one)} | {_plain(one.reason)} |" for one in verdict.findings[:ROWS])
    if len(verdict.findings) > ROWS:
        yield f"| … | | {len(verdict.findings) - ROWS} more |"


def _said(finding: Finding) -> str:
    return "yes" if finding.passed else "no"


def _plain(text: str, most: int = CELL) -> str:
    """Write a text so that it breaks no table and no code, and is not long."""
    flat = " ".join(text.split()).replace("|", "/").replace("`", "'")
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


def _within(lines: list[str]) -> str:
    text = "\n".join(lines) + "\n"
    if len(text) <= MOST:
        return text
    end = "\n… shortened.\n"
    kept: list[str] = []
    room = MOST - len(end)
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join(kept) + end
