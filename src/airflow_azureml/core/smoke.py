"""Smoke tests of an endpoint: what it is asked, what it has to answer, and whether it did."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from airflow_azureml.core.answers import Answer, Tally
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.members import is_number
from airflow_azureml.errors import ConfigError

#: Raised by one when a member changes its meaning.
SCHEMA = 1
#: In place of an expectation of which there is none; None is JSON's null.
NOTHING: Any = ...
_CUT = 120


@frozen(kw_only=True)
class Case:
    """One request, and what has to be answered.

    Attributes:
        name: What it shows, for people.
        body: What is sent.
        status: The HTTP status: a number such as 200, or a class such as ``4xx``.
        expected: The JSON that has to be answered; `NOTHING` where any will do.
        tolerance: By how much each number of it may differ.
        json_schema: The JSON Schema that the answer has to fit; None without.
        says: A text that has to stand in the answer; empty without.
        within_ms: Most milliseconds until the answer; None without.
    """

    name: str
    body: bytes
    status: str = "200"
    expected: Any = NOTHING
    tolerance: float = 0.0
    json_schema: Mapping[str, Any] | None = None
    says: str = ""
    within_ms: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether it asks for a success, so that it can be asked again and again."""
        return self.status.startswith("2")

    def fits(self, answer: Answer) -> bool:
        """Whether an answer has the status that is wanted."""
        return not answer.fault and _is_status(answer.status, self.status)

    def findings(self, answer: Answer, *, deployment: str = "") -> Iterator[Finding]:
        """Check an answer.

        Args:
            answer: The answer.
            deployment: Which deployment it has to be from; empty for any.
        """
        if answer.fault:
            yield self._finding("is answered", passed=False, reason=f"There was {answer.shown}.")
            return
        fits = self.fits(answer)
        told = f"It answered {answer.status}." if fits else f"It answered {answer.shown}"
        yield self._finding(f"answers {self.status}", passed=fits, reason=told)
        if deployment and answer.deployment and answer.deployment != deployment:
            reason = f"Deployment {answer.deployment} answered, and {deployment} was asked."
            yield self._finding(f"is answered by {deployment}", passed=False, reason=reason)
        if fits:
            yield from self._of_body(answer)
        if self.within_ms is not None:
            yield self._finding(
                f"is answered within {self.within_ms:g} ms",
                passed=answer.latency_ms <= self.within_ms,
                reason=f"It took {answer.latency_ms:.1f} ms.",
                value=answer.latency_ms,
            )

    def _of_body(self, answer: Answer) -> Iterator[Finding]:
        if self.says:
            says = self.says in answer.body.decode("utf-8", "replace")
            yield self._finding(f"says {self.says!r}", passed=says, reason=f"It answered {answer.shown}")
        if self.expected is NOTHING and self.json_schema is None:
            return
        try:
            found = json.loads(answer.body)
        except ValueError:
            yield self._finding("answers JSON", passed=False, reason=f"It answered {answer.shown}")
            return
        if self.expected is not NOTHING:
            apart = difference(self.expected, found, tolerance=self.tolerance)
            asked = f"answers what is expected, within {self.tolerance:g}" if self.tolerance else "answers as expected"
            yield self._finding(asked, passed=not apart, reason=apart or "It does.")
        if self.json_schema is not None:
            misfit = _misfit(self.json_schema, found)
            yield self._finding("fits its JSON Schema", passed=not misfit, reason=misfit or "It does.")

    def _finding(self, asked: str, *, passed: bool, reason: str, value: float | None = None) -> Finding:
        return Finding(check=f"{self.name}: {asked}", subject=self.name, passed=passed, reason=reason, value=value)


@frozen(kw_only=True)
class Latency:
    """How soon many requests in a row have to be answered.

    Attributes:
        requests: How many are asked, one after the other, of the cases that ask for a success, in turn.
        at_most_ms: By percentage: the latency that this share of the answers must not exceed.
    """

    requests: int
    at_most_ms: Mapping[float, float] = field(factory=dict)

    def findings(self, tally: Tally) -> Iterator[Finding]:
        """Check what was counted."""
        good = tally.requests - tally.failed
        words = f" The first that failed: {tally.failures[0]}" if tally.failures else ""
        yield Finding(
            check=f"{self.requests} requests in a row are answered",
            subject="latency",
            passed=good >= self.requests and not tally.failed,
            reason=f"{good} of {tally.requests} were.{words}",
            value=good,
        )
        for share, most in sorted(self.at_most_ms.items()):
            found = tally.percentile_ms(share)
            yield Finding(
                check=f"{share:g} % of them are answered within {most:g} ms",
                subject="latency",
                passed=found <= most,
                reason="None was answered." if math.isnan(found) else f"They were within {found:.1f} ms.",
                value=found,
            )


@frozen(kw_only=True)
class SmokeTests:
    """What an endpoint is asked before anybody relies on it.

    Attributes:
        name: For people.
        cases: The requests, asked in this order.
        latency: What holds of many of them; None where that is not asked.
    """

    name: str
    cases: tuple[Case, ...]
    latency: Latency | None = None

    @property
    def good_bodies(self) -> tuple[bytes, ...]:
        """What may be sent again and again."""
        return tuple(case.body for case in self.cases if case.is_good)

    def judge(
        self, answers: Sequence[Answer], tally: Tally | None = None, *, deployment: str = "", endpoint: str = ""
    ) -> Verdict:
        """Judge an endpoint's answers.

        Args:
            answers: One for each case, in their order; a case without is a no.
            tally: The counts of the requests in a row; None where nobody asked.
            deployment: Which deployment was asked; empty for whichever takes traffic.
            endpoint: Whose answers they are.
        """
        findings: list[Finding] = []
        for case, answer in zip(self.cases, answers, strict=False):
            findings += case.findings(answer, deployment=deployment)
        findings += [
            Finding(check=f"{case.name}: is asked", subject=case.name, passed=False, reason="Nobody asked.")
            for case in self.cases[len(answers) :]
        ]
        if self.latency is not None:
            findings += self.latency.findings(tally or Tally())
        whose = f"deployment {deployment} of endpoint {endpoint}" if deployment else f"endpoint {endpoint}"
        facts = {"endpoint": endpoint, "deployment": deployment}
        return Verdict(
            subject=f"The answers of {whose}",
            policy=self.name,
            findings=findings,
            facts={name: value for name, value in facts.items() if value},
        )


def difference(expected: Any, found: Any, *, tolerance: float = 0.0, where: str = "answer") -> str:
    """Say where two JSON values differ first; empty where they do not.

    Args:
        expected: What should be.
        found: What is.
        tolerance: By how much numbers may differ.
        where: What the values are called.
    """
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        absent = sorted(set(expected) ^ set(found))
        if absent:
            return f"{where} has {_shown(sorted(found))} as members; expected were {_shown(sorted(expected))}."
        parts = ((f"{where}.{name}", expected[name], found[name]) for name in expected)
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return f"{where} has {len(found)} entries; expected were {len(expected)}."
        parts = ((f"{where}[{at}]", *pair) for at, pair in enumerate(zip(expected, found, strict=True)))
    elif is_number(expected) and is_number(found):
        return "" if abs(expected - found) <= tolerance else f"{where} is {found!r}; expected was {expected!r}."
    else:
        same = type(expected) is type(found) and expected == found
        return "" if same else f"{where} is {_shown(found)}; expected was {_shown(expected)}."
    told = (difference(wanted, got, tolerance=tolerance, where=place) for place, wanted, got in parts)
    return next(filter(None, told), "")


def _misfit(schema: Mapping[str, Any], found: Any) -> str:
    """Say how a value does not fit its JSON Schema; empty where it does.

    Raises:
        ConfigError: What checks it is not installed, or the schema is none.
    """
    try:
        import jsonschema  # noqa: PLC0415  # parsing a DAG must not need it
    except ImportError as missing:
        raise ConfigError("Checking a JSON Schema needs jsonschema, which is Airflow's own: install it.") from missing
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ConfigError(f"json_schema is no JSON Schema: {error.message[:_CUT]}") from error
    misfit = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(found))
    if misfit is None:
        return ""
    return f"{misfit.json_path.replace('$', 'answer', 1)}: {misfit.message[:_CUT]}."


def _is_status(status: int, wanted: str) -> bool:
    return str(status) == wanted or (wanted.endswith("xx") and status // 100 == int(wanted[0]))


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _CUT else f"{text[:_CUT]}…"
