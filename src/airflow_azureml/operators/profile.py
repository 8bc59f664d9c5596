"""Profiling an online deployment in a DAG: the cheapest setting that holds a latency under a load."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from airflow_azureml.core.profiling import Goal, Measured, Profiling, Setting
from airflow_azureml.errors import AzureMLError, ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.batch_work import for_airflow
from airflow_azureml.operators.judging import Records
from airflow_azureml.operators.serving import At, AzureMLServingOperator, Wait
from airflow_azureml.operators.smoke import read_tests
from airflow_azureml.wire import online
from airflow_azureml.wire.profiling import put_setting, setting_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.profiling import Bench

__all__ = ["AzureMLProfileOperator", "AzureMLSetDeploymentOperator", "Goal", "Profiling", "profile"]

#: What a task remembers from try to try.
MEMORY = "azureml_profiling"
ON_MISS = ("fail", "pass")
PROFILE_FILE, PICTURE_FILE = "profile.json", "profile.svg"


class AzureMLProfileOperator(BaseOperator):
    """Measures a deployment under a load, setting by setting, and finds the cheapest that holds a latency.

    Settings are tried from the cheapest to the dearest, and none that costs more than one that holds. The deployment is
    set back afterwards, also when the task fails; a retry goes on where the last try was. The load is asked of the
    deployment itself, by its name, in this worker's slot; it must be without traffic.

    Returns ``instances`` and ``concurrency`` of the setting, its ``latency_ms`` and ``cost_per_hour`` (None without a
    price), ``holds``, ``measured`` (all of it), and the URIs ``profile_uri`` and ``picture_uri`` where ``evidence`` is
    given.

    Args:
        endpoint: The online endpoint, templated.
        deployment: Its deployment, templated.
        tests: The YAML file of smoke tests, or its content as a mapping, templated: what of it asks for a success is
            what is asked.
        profiling: The goal, the settings to try and how long each is measured; the prices.
        evidence: The URI of a folder where the figures and their picture are written, templated; empty for nowhere.
        on_miss: What to do when no setting holds: ``fail``, or ``pass`` and say so.
        with_traffic: Whether a deployment that takes traffic may be measured. False by default.
        patience: How long Azure ML may take for a new setting.
        poll_interval: Between two looks whether it is there.
        plain_http: See `airflow_azureml.operators.smoke.AzureMLSmokeTestOperator`.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("endpoint", "deployment", "tests", "evidence", "conn_id")
    ui_color = "#e8f1fb"

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        endpoint: str,
        deployment: str,
        tests: Mapping[str, Any] | str | PathLike[str],
        profiling: Profiling,
        evidence: str = "",
        on_miss: str = "fail",
        with_traffic: bool = False,
        patience: timedelta = timedelta(minutes=30),
        poll_interval: timedelta = timedelta(seconds=5),
        plain_http: bool = False,
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.deployment = deployment
        self.tests = tests if isinstance(tests, Mapping | str) else str(tests)
        self.profiling = profiling
        self.evidence = evidence
        self.on_miss = on_miss
        self.with_traffic = with_traffic
        self.patience = patience
        self.poll_interval = poll_interval
        self.plain_http = plain_http
        self.conn_id = conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """Measure until the answer is known."""
        try:
            self.profiling.checked()
            if self.on_miss not in ON_MISS:
                raise ConfigError(f"on_miss is {self.on_miss!r}; it must be one of {', '.join(ON_MISS)}.")
            bodies = read_tests(self.tests).good_bodies
            if not bodies:
                raise ConfigError("No case of tests asks for a success, so that there is nothing to ask.")
            measured, uris = self._measured(context, bodies)
        except AzureMLError as error:
            raise for_airflow(error) from error
        subject = f"Deployment {self.deployment} of endpoint {self.endpoint}"
        verdict = self.profiling.verdict(measured, subject=subject)
        for name, words in verdict.facts.items():
            self.log.info("%s: %s", name, words)
        if not verdict.accepted and self.on_miss == "fail":
            raise AirflowFailException(verdict.sentence)
        self.log.info("%s", verdict.findings[0].reason)
        return {**self._told(measured), **uris}

    def _measured(self, context: "Context", bodies: Sequence[bytes]) -> tuple[list[Measured], dict[str, str]]:
        from airflow_azureml.client.asking import target_of  # noqa: PLC0415  # not when a DAG is parsed
        from airflow_azureml.client.profiling import Bench  # noqa: PLC0415  # as above

        settings = AzureMLHook(self.conn_id).settings
        with AzureMLHook.open(settings) as client:
            bench = Bench(
                client=client,
                workspace=settings.workspace,
                endpoint=self.endpoint,
                deployment=self.deployment,
                target=target_of(
                    client, settings, self.endpoint, deployment=self.deployment, plain_http=self.plain_http
                ),
                patience_s=self.patience.total_seconds(),
                poll_s=self.poll_interval.total_seconds(),
            )
            if not self.with_traffic:
                bench.check_idle()
            measured = self._until_known(context["task_state_store"], bench, bodies)
            records = Records(client=client, settings=settings, output="")
            return measured, self._keep(records, measured) if self.evidence else {}

    def _until_known(self, memory: Any, bench: "Bench", bodies: Sequence[bytes]) -> list[Measured]:
        """Measure one setting after the other; each is remembered, so that no try measures it again."""
        known = memory.get(MEMORY) or {}
        measured = [Measured.from_wire(each) for each in known.get("measured", ())]
        now = setting_of(bench.look())
        before = Setting(**known["before"]) if "before" in known else now
        noted = {"before": {"instances": before.instances, "concurrency": before.concurrency}}
        try:
            while (setting := self.profiling.next(measured)) is not None:
                memory.set(MEMORY, {**noted, "measured": [each.to_wire() for each in measured]})
                measured.append(bench.measure(self.profiling, setting, bodies))
            memory.set(MEMORY, {**noted, "measured": [each.to_wire() for each in measured]})
        finally:
            bench.set(before)
        return measured

    def _keep(self, records: Records, measured: Sequence[Measured]) -> dict[str, str]:
        """Write the figures and their picture."""
        from airflow_azureml.quality.load_picture import picture  # noqa: PLC0415  # not when a DAG is parsed

        folder = records.folder(self.evidence)
        title = f"{self.deployment} of {self.endpoint}"
        text = json.dumps(self._told(measured), indent=1)
        return {
            "profile_uri": folder.write(PROFILE_FILE, text.encode()),
            "picture_uri": folder.write(PICTURE_FILE, picture(self.profiling, measured, title=title).encode()),
        }

    def _told(self, measured: Sequence[Measured]) -> dict[str, Any]:
        best = self.profiling.cheapest(measured)
        told = [each.to_wire() for each in measured]
        if best is None:
            return {"holds": False, "measured": told}
        return {
            "holds": True,
            "instances": best.setting.instances,
            "concurrency": best.setting.concurrency,
            "latency_ms": round(best.latency_ms, 3),
            "cost_per_hour": self.profiling.cost_per_hour(best.setting),
            "measured": told,
        }


class AzureMLSetDeploymentOperator(AzureMLServingOperator):
    """Sets a deployment as a profiling has found it best, and waits until it is so; doing it twice is doing it once.

    Returns ``endpoint``, ``deployment``, ``state``, ``model``, ``instance_type``, ``instances``, ``tags`` and ``done``.

    Args:
        endpoint: The online endpoint, templated.
        deployment: Its deployment, templated.
        setting: What `AzureMLProfileOperator` returned, or a mapping with ``instances`` and ``concurrency``, templated.
            Where no setting held, the deployment is left as it is.
        kwargs: What `airflow_azureml.operators.serving.AzureMLServingOperator` takes (``conn_id``, ``deferrable``,
            ``timeout``, ``patience``, ``poll_interval``), and Airflow's own.
    """

    template_fields: Sequence[str] = ("endpoint", "deployment", "setting", "conn_id")
    template_fields_renderers = {"setting": "json"}  # noqa: RUF012  # Airflow's own attribute

    def __init__(self, *, endpoint: str, deployment: str, setting: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.deployment = deployment
        self.setting = setting

    def endpoint_name(self) -> str:
        """Name the endpoint."""
        return self.endpoint

    def act(self, context: "Context", at: At) -> Wait | dict[str, Any]:
        """Set it, unless it is so."""
        del context
        wanted = setting_from(self.setting)
        here = {"endpoint": self.endpoint, "deployment": self.deployment}
        found = at.client.run(online.read_deployment(at.workspace, self.endpoint, self.deployment))
        if found is None:
            raise ConfigError(f"There is no deployment {self.deployment} of online endpoint {self.endpoint}.")
        if found.is_ready and (wanted is None or setting_of(found) == wanted):
            return found.to_wire()
        told = ""
        if found.is_ready and wanted is not None and not at.done:
            at.client.run(put_setting(at.workspace, found, wanted))
            told = f"set to {wanted}"
        return Wait(condition="online_deployment", arguments=here, done=told)


def setting_from(told: Any) -> Setting | None:
    """Read what a profiling returned; None where no setting held.

    Raises:
        ConfigError: It is no such result.
    """
    parts = told if isinstance(told, Mapping) else {}
    if parts.get("holds") is False:
        return None
    counts = [parts.get(name) for name in ("instances", "concurrency")]
    if not all(isinstance(each, int) and each > 0 for each in counts):
        raise ConfigError(f"setting is {told!r:.200}; it must be what AzureMLProfileOperator returned.")
    return Setting(instances=counts[0], concurrency=counts[1])  # type: ignore[arg-type]


def profile(task_id: str = "profile", **options: Any) -> AzureMLProfileOperator:
    """Make the task that measures a deployment; see `AzureMLProfileOperator` for the options."""
    return AzureMLProfileOperator(task_id=task_id, **options)
