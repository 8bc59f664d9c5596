"""The smoke test of an online endpoint in a DAG: it answers as it should, before anybody relies on it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_azureml.core.answers import Answer, Tally
from airflow_azureml.core.gate_results import small
from airflow_azureml.core.smoke import SmokeTests
from airflow_azureml.errors import AzureMLError, ConfigError, NotReadyError, SmokeTestError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.batch_work import for_airflow
from airflow_azureml.operators.judging import Records

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.load import Target
    from airflow_azureml.core.findings import Verdict

__all__ = ["AzureMLSmokeTestOperator"]

#: What may be otherwise soon: no answer, too many requests, nobody ready.
_PASSING = frozenset({0, 408, 429, 502, 503, 504})


class AzureMLSmokeTestOperator(BaseOperator):
    """Asks an online endpoint what a file says, and fails unless all is answered as that says.

    A first request, whose answer is not judged, wakes what a model loads late. An endpoint that does not answer, or has
    no room, is asked again by Airflow's ``retries``; a wrong answer fails the task at once.

    Returns the verdict as `airflow_azureml.core.findings.Verdict.from_wire` reads it, cut to 4 kB, with ``verdict_uri``
    and ``picture_uri`` where ``evidence`` is given.

    Args:
        endpoint: The online endpoint, templated.
        tests: The YAML file of the tests on the worker, templated, or its content as a mapping; see
            ``docs/how-to/release.md``.
        deployment: The deployment that has to answer, whatever the traffic, templated; by default whichever the
            endpoint chooses.
        evidence: The URI of a folder where the whole verdict is written, ``azureml://datastores/NAME/paths/…``,
            templated; empty for nowhere.
        answer_within: When a request counts as not answered.
        plain_http: Whether the endpoint's key may go over plain http to another machine, as to a Kubernetes endpoint
            without TLS. False by default.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("endpoint", "tests", "deployment", "evidence", "conn_id")
    ui_color = "#e8f1fb"

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        endpoint: str,
        tests: Mapping[str, Any] | str | PathLike[str],
        deployment: str = "",
        evidence: str = "",
        answer_within: timedelta = timedelta(seconds=30),
        plain_http: bool = False,
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.tests = tests if isinstance(tests, Mapping | str) else str(tests)
        self.deployment = deployment
        self.evidence = evidence
        self.answer_within = answer_within
        self.plain_http = plain_http
        self.conn_id = conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """Ask, and judge what is answered."""
        from airflow_azureml.core.explain import explain  # noqa: PLC0415  # not when a DAG is parsed

        del context
        try:
            tests = read_tests(self.tests)
            verdict, passing, uris = self._judged(tests)
            for line in explain(verdict).splitlines():
                self.log.info("%s", line)
            if not verdict.accepted and passing:
                raise NotReadyError(verdict.sentence)
            if not verdict.accepted:
                raise SmokeTestError(f"{verdict.sentence} No traffic was moved.")
        except AzureMLError as error:
            raise for_airflow(error) from error
        return small(verdict, uris=uris)

    def _judged(self, tests: SmokeTests) -> tuple["Verdict", bool, dict[str, str]]:
        """Ask; return the verdict, whether what failed may pass by itself, and where the verdict was written."""
        from airflow_azureml.client.asking import target_of  # noqa: PLC0415  # not when a DAG is parsed

        settings = AzureMLHook(self.conn_id).settings
        with AzureMLHook.open(settings) as client:
            target = target_of(client, settings, self.endpoint, deployment=self.deployment, plain_http=self.plain_http)
            answers, tally = asyncio.run(_ask(target, tests, self.answer_within.total_seconds()))
            verdict = tests.judge(answers, tally, deployment=self.deployment, endpoint=self.endpoint)
            records = Records(client=client, settings=settings, output="")
            uris = records.keep(verdict, self.evidence) if self.evidence else {}
        wrong = [answer.status for case, answer in zip(tests.cases, answers, strict=True) if not case.fits(answer)]
        wrong += [status for status in tally.statuses if not Answer(status=status, latency_ms=0).is_good]
        return verdict, bool(wrong) and _PASSING.issuperset(wrong), uris


def read_tests(told: Any) -> SmokeTests:
    """Read smoke tests: their content as a mapping, or the path of their file on this worker.

    Raises:
        ConfigError: It is neither, there is no such file, or it has no smoke tests.
    """
    from airflow_azureml.core import smoke_file  # noqa: PLC0415  # what reads YAML stays out of DAG parsing

    if isinstance(told, Mapping):
        return smoke_file.from_wire(told, name="tests")
    if not isinstance(told, str) or not told:
        raise ConfigError(f"tests is {told!r:.200}; it must be the path of a file, or a mapping.")
    try:
        text = Path(told).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"File {told} cannot be read on this worker: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"File {told} is no text in UTF-8.") from error
    return smoke_file.parse(text, name=Path(told).name)


async def _ask(target: "Target", tests: SmokeTests, timeout_s: float) -> tuple[list[Answer], Tally]:
    """Ask each case once, and then the good ones in turn, one after the other."""
    from airflow_azureml.client.load import Asker  # noqa: PLC0415  # not when a DAG is parsed

    tally = Tally()
    async with Asker(target, most_open=1, timeout_s=timeout_s) as asker:
        for body in tests.good_bodies[:1]:
            await asker.ask(body)
        answers = [await asker.ask(case.body) for case in tests.cases]
        for number in range(tests.latency.requests if tests.latency else 0):
            tally.add(await asker.ask(tests.good_bodies[number % len(tests.good_bodies)]))
    return answers, tally
