"""What a gate is told of the two models, and the small part of its verdict that goes into XCom."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

from attrs import frozen

from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.jobs import JobKey
from airflow_azureml.core.models import Champion
from airflow_azureml.errors import ConfigError

#: What the gate writes beside the evaluation.
VERDICT_FILE, PICTURE_FILE = "verdict.json", "verdict.svg"
#: In the mapping of a champion that is not in the workspace any more: why nothing can be compared with it.
GONE = "gone"
#: A verdict in XCom is small; all of it is in the file. Bytes of its JSON, of the whole and of a text in it.
MOST_BYTES = 4096
_MOST_REASON, _MOST_CHECK, _MOST_TEXT, _MOST_FACT = 400, 160, 240, 160
#: Bytes of a name that others go by; Azure ML's are shorter.
_MOST_NAME = 300
#: Facts that are not left out, and what else goes first when there is no room.
_KEPT_FACTS = ("model", "job", "champion")
_DROPPED_LAST = ("picture_uri", "evaluation", "verdict_uri")


@frozen(kw_only=True)
class Challenger:
    """The job that made the new model, as its task told it.

    Attributes:
        evaluation: The URI of the folder with its evaluation; empty where it has no such output.
        outputs: The URI of each of its outputs.
        reused: The steps that were not run, since Azure ML had a result of another job.
        is_whole: Whether all its steps and outputs are told.
    """

    job: str
    evaluation: str
    outputs: Mapping[str, str]
    reused: Sequence[str] = ()
    is_whole: bool = True

    @classmethod
    def from_wire(cls, raw: Any, *, output: str) -> Self:
        """Read what the task of a pipeline or a job returned.

        A step whose result is of an earlier attempt of the same task is no reused one.

        Args:
            raw: The XCom.
            output: The output that is the evaluation's folder.

        Raises:
            ConfigError: It is no such result.
        """
        outputs = raw.get("outputs") if isinstance(raw, Mapping) else None
        if not isinstance(raw, Mapping) or not raw.get("job") or not isinstance(outputs, Mapping):
            raise ConfigError(
                f"challenger is {raw!r:.200}; it must be what the task of a pipeline or a job returned:"
                " challenger=train.output."
            )
        steps = [step for step in raw.get("steps") or () if isinstance(step, Mapping)]
        key = JobKey(digest=str(raw.get("key") or ""), lasting=False)
        own = {key.job_name(number) for number in range(1, int(raw.get("attempt") or 0) + 1)}
        return cls(
            job=str(raw["job"]),
            evaluation=str(outputs.get(output) or ""),
            outputs={str(name): str(uri) for name, uri in outputs.items()},
            reused=[
                str(step.get("name")) for step in steps if step.get("reused") and step.get("reused_job") not in own
            ],
            is_whole=bool(steps) and not raw.get("left_out"),
        )


def champion_of(raw: Any) -> Champion | None:
    """Read what the task that looked for the champion returned; None says that there is no champion yet.

    Raises:
        ConfigError: It is no such result.
    """
    if raw == {}:
        return None
    names = ("model", "version", "uri", "job", "evaluation", "data_version")
    if not isinstance(raw, Mapping) or not raw.get("model") or not raw.get("version"):
        raise ConfigError(
            f"champion is {raw!r:.200}; it must be what AzureMLChampionOperator or AzureMLReevaluateOperator returned:"
            " champion=champion.output."
        )
    return Champion(**{name: str(raw.get(name) or "") for name in names})


def small(verdict: Verdict, *, uris: Mapping[str, str]) -> dict[str, Any]:
    """Write as much of a verdict as XCom has room for; `Verdict.from_wire` reads it as the same yes or no.

    Texts are cut. Findings that passed are left out first, then facts, then findings that failed, but for one; how many
    is told by ``left_out``.

    Args:
        verdict: The verdict.
        uris: What else it tells, by name: where the whole of it is.
    """
    findings = [_cut_finding(one) for one in (*verdict.failed, *(one for one in verdict.findings if one.passed))]
    facts = {
        _cut(name, _MOST_FACT): _cut(value, _MOST_NAME if name in _KEPT_FACTS else _MOST_FACT)
        for name, value in verdict.facts.items()
    }
    head = {"subject": _cut(verdict.subject, _MOST_TEXT), "policy": _cut(verdict.policy, _MOST_TEXT)}
    told, left_out = dict(uris), 0
    while True:
        cut = Verdict(subject=head["subject"], policy=head["policy"], findings=findings, facts=facts)
        wire = {**cut.to_wire(), **told, "left_out": left_out}
        if len(json.dumps(wire).encode()) <= MOST_BYTES:
            return wire
        spare = [name for name in facts if name not in _KEPT_FACTS]
        if len(findings) > 1 and (findings[-1].passed or not spare):
            findings.pop()
        elif spare:
            del facts[spare[-1]]
        else:
            del told[next(name for name in _DROPPED_LAST if name in told)]
        left_out += 1


def _cut_finding(finding: Finding) -> Finding:
    return Finding(
        check=_cut(finding.check, _MOST_CHECK),
        passed=finding.passed,
        reason=_cut(finding.reason, _MOST_REASON),
        subject=_cut(finding.subject, _MOST_CHECK),
        value=finding.value,
        against=finding.against,
        low=finding.low,
        high=finding.high,
    )


def _cut(text: str, most_bytes: int) -> str:
    """Cut a text so that JSON needs no more for it than so many bytes, quotes apart."""
    if len(json.dumps(text)) - 2 <= most_bytes:
        return text
    kept, room = "", most_bytes - len(json.dumps("…"))
    for character in text:
        room -= len(json.dumps(character)) - 2
        if room < 0:
            break
        kept += character
    return f"{kept}…"
