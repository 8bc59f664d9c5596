"""Watching for drift: look at recent windows, decide once for each, and ask for a retraining."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowRuntimeError, AirflowSkipException
from attrs import evolve

from airflow_azureml.core.batches import Window, owner_of, parse_owner
from airflow_azureml.core.data_tests import Distribution
from airflow_azureml.core.documents import check_ids
from airflow_azureml.core.drift import DriftPolicy, WindowVerdict, decide, table, told
from airflow_azureml.core.drift_watch import Entry, Life, settle
from airflow_azureml.core.orphans import OVER
from airflow_azureml.core.scoring_logs import ScoringLogs
from airflow_azureml.core.windows import Span, Windows
from airflow_azureml.errors import AzureMLError, ConfigError, ProtocolError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.batch_work import for_airflow
from airflow_azureml.operators.owners import ENDED
from airflow_azureml.wire.http import NOT_FOUND

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.drift import DriftShelf
    from airflow_azureml.core.workspace import ConnectionSettings

__all__ = ["AzureMLDriftDecisionOperator", "AzureMLDriftWindowsOperator", "AzureMLRetrainOperator"]

#: The task of a group that emits the event.
RETRAIN = "retrain"
#: States of a run that may go on. Source: ``DagRunState`` of Airflow 3.3.
GOES_ON = ["queued", "running"]


class DriftWork(BaseOperator):
    """Base of the tasks of a group that watches for drift.

    Args:
        model: The model's name, templated: letters, digits, ``.``, ``_`` and ``-``.
        recent: Where what was scored is, inputs and predictions; the folders are templated.
        windows: How time is cut.
        policy: When drift asks for a retraining.
        group: The group's id.
        at: As of when to look, templated: a time in ISO 8601; empty for now.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: Airflow's own, and those of the operator beside this one.
    """

    template_fields: Sequence[str] = ("model", "recent", "at", "conn_id")

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        model: str,
        recent: Sequence[ScoringLogs],
        windows: Windows,
        policy: DriftPolicy,
        group: str,
        at: str = "",
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.recent = [evolve(each) for each in recent]
        self.windows = windows
        self.policy = policy
        self.group = group
        self.at = at
        self.conn_id = conn_id

    def execute(self, context: "Context") -> Any:
        """Do the task's part, with the workspace in reach."""
        from airflow_azureml.client.sdk import emulator_in_reach  # noqa: PLC0415  # not when a DAG is parsed

        try:
            self._check()
            settings = AzureMLHook(self.conn_id).settings
            with emulator_in_reach(settings):
                return self.work(context, settings, self._shelf(settings))
        except AzureMLError as error:
            raise for_airflow(error) from error

    def work(self, context: "Context", settings: "ConnectionSettings", shelf: "DriftShelf") -> Any:
        """Do the task's part.

        Args:
            context: The task's.
            settings: The connection.
            shelf: The documents of the watch.
        """
        raise NotImplementedError

    def spans(self, now: datetime) -> list[Span]:
        """Give the windows that are looked at, oldest first."""
        return self.windows.over(now=now, count=self.policy.of)

    def time(self, shelf: "DriftShelf") -> datetime:
        """Tell as of when to look."""
        return Window.parse(self.at, "").since or shelf.now()

    def owner_in(self, context: "Context") -> str:
        """Name this run."""
        ti: Any = context["ti"]
        return owner_of(ti.dag_id, ti.run_id, self.group)

    def _shelf(self, settings: "ConnectionSettings") -> "DriftShelf":
        from airflow_azureml.client.drift import shelf  # noqa: PLC0415  # not when a DAG is parsed

        return shelf(settings, model=self.model, recent=self.recent, windows=self.windows)

    def _check(self) -> None:
        wrong = [
            *([] if self.recent else ["recent is empty"]),
            *(fault for each in self.recent for fault in each.faults()),
            *self.windows.faults(),
            *self.policy.faults(),
        ]
        try:
            check_ids([self.model])
        except ProtocolError:
            wrong.append(f"model is {self.model!r}; it may have letters, digits, '.', '_' and '-'")
        if wrong:
            raise ConfigError(f"{self.task_id}: {'; '.join(wrong)}.")
        try:
            import airflow_azureml.quality.distribution  # noqa: F401, PLC0415  # whether it is there
        except ImportError as error:
            raise ConfigError(
                f"{self.task_id}: install airflow-provider-azureml[quality] where tasks run ({error})."
            ) from error


class AzureMLDriftWindowsOperator(DriftWork):
    """Looks at the last windows that are over, and keeps a profile of each that has none yet.

    A window is looked at once: what comes into it later is left out. Returns the rows of each window.

    Args:
        kwargs: What `DriftWork` takes, and Airflow's own.
    """

    def work(self, context: "Context", settings: "ConnectionSettings", shelf: "DriftShelf") -> dict[str, int]:  # noqa: ARG002  # as every one
        """Make the profiles that are missing."""
        from airflow_azureml.client.drift import profile_windows  # noqa: PLC0415  # not when a DAG is parsed

        spans = self.spans(self.time(shelf))
        known = shelf.profiles(spans)
        missing = [span for span in spans if span.key not in known]
        if missing:
            for span, profiles in profile_windows(settings, self.recent, missing):
                shelf.keep(span, profiles)
                known[span.key] = profiles
        return {span.key: max(each.rows for each in known[span.key]) for span in spans}


class AzureMLDriftDecisionOperator(DriftWork):
    """Compares the last windows with the reference, and decides whether drift asks for a retraining; once for a window.

    The log shows a table of the windows and of the rules. Returns less than 4 kB: ``decision`` (``retrain`` or
    ``wait``), ``window``, ``why``, ``windows`` (each with ``rows``, ``verdict`` and the first ``columns`` that
    violate), and ``decided_by``, the run that decided.

    Args:
        reference: What recent rows are compared with: the URI of a profile or of the training data, templated.
        tests: How far columns may be from those of the reference.
        retraining: The DAGs that retrain the model; while a run of one is queued or runs, nothing is asked for.
        kwargs: What `DriftWork` takes, and Airflow's own.
    """

    template_fields: Sequence[str] = (*DriftWork.template_fields, "reference")

    def __init__(self, *, reference: str, tests: Distribution, retraining: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reference = reference
        self.tests = tests
        self.retraining = retraining

    def work(self, context: "Context", settings: "ConnectionSettings", shelf: "DriftShelf") -> dict[str, Any]:
        """Decide, unless it was decided."""
        ti: Any = context["ti"]
        now = self.time(shelf)
        spans, owner = self.spans(now), self.owner_in(context)
        verdicts = self._verdicts(settings, shelf, spans)
        held_by, retrained_at = self._retrained(ti, settings)

        def _decide(asked_at: datetime | None, pending: str) -> Mapping[str, Any]:
            last = max((each for each in (asked_at, retrained_at) if each is not None), default=None)
            decision = decide(verdicts, self.policy, now=now, retrained_at=last, retraining=held_by or pending)
            self.log.info("Drift of %s, by %s:\n%s", self.model, self.policy, table(decision, self.policy))
            return told(decision, self.policy)

        outcome = shelf.settle(
            lambda watch: settle(
                watch, window=spans[-1].key, owner=owner, at=now, life=lambda each: life_of(ti, each), decide=_decide
            )
        )
        if not outcome.is_new:
            self._tell_entry(outcome.entry)
        if outcome.took_over:
            self.log.info("The request of a run that is over without having emitted it is this run's now")
        return {**outcome.entry.told, "decided_by": outcome.entry.owner}

    def _verdicts(
        self, settings: "ConnectionSettings", shelf: "DriftShelf", spans: Sequence[Span]
    ) -> list[WindowVerdict]:
        from airflow_azureml.client.drift import reference_of, verdict_of  # noqa: PLC0415  # not when a DAG is parsed

        known = shelf.profiles(spans)
        reference = reference_of(settings, self.reference)
        return [verdict_of(span.key, known.get(span.key, ()), reference, self.tests) for span in spans]

    def _retrained(self, ti: Any, settings: "ConnectionSettings") -> tuple[str, datetime | None]:
        """Say what retrains the model now, and when it was last retrained."""
        from airflow_azureml.client.retraining import last_retraining  # noqa: PLC0415  # not when a DAG is parsed
        from airflow_azureml.operators.retraining import retraining_lives  # noqa: PLC0415  # as above

        holder, last = asyncio.run(last_retraining(settings, self.model))
        if holder and retraining_lives(ti, holder):
            return holder, last
        running = [name for name in self.retraining if ti.get_dr_count(dag_id=name, states=GOES_ON)]
        return ", ".join(f"DAG {name}" for name in running), last

    def _tell_entry(self, entry: Entry) -> None:
        self.log.info("Window %s was decided by %s: %s", entry.window, entry.owner, entry.told.get("why"))


class AzureMLRetrainOperator(DriftWork):
    """Emits the event that asks for a retraining, where this run has one to emit; is skipped else.

    Ending well is the event: Airflow stores both at once. A run that dies before is followed by the next one.

    Args:
        asset: What is updated.
        kwargs: What `DriftWork` takes, and Airflow's own.
    """

    def __init__(self, *, asset: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[asset], **kwargs)
        self.asset = asset

    def work(self, context: "Context", settings: "ConnectionSettings", shelf: "DriftShelf") -> dict[str, Any]:  # noqa: ARG002  # as every one
        """Look whether there is one."""
        watch, owner = shelf.watch(), self.owner_in(context)
        asked = watch.asked
        if asked is None or not watch.emits(owner):
            raise AirflowSkipException("This run has no retraining to ask for.")
        windows = asked.told.get("windows") or []
        last = windows[-1] if windows else {}
        event = {"model": self.model, "window": asked.window, "columns": last.get("columns") or [], "decided_by": owner}
        context["outlet_events"][self.asset].extra = event
        self.log.info("A retraining of %s is asked for by window %s", self.model, asked.window)
        return event


def life_of(ti: Any, owner: str) -> Life:
    """Ask Airflow what became of the task with which a run was to emit its request.

    Where Airflow does not answer, it may still emit. A run that Airflow has forgotten was long ago: it counts as having
    emitted.
    """
    dag_id, run_id, group = parse_owner(owner)
    task = f"{group}.{RETRAIN}"
    try:
        seen = ti.get_task_states(dag_id=dag_id, task_ids=[task], run_ids=[run_id]).get(run_id) or {}
        state = seen.get(task)
        if state == "success":
            return Life.EMITTED
        has_ended = state in OVER or ti.get_dagrun_state(dag_id=dag_id, run_id=run_id) in ENDED
    except AirflowRuntimeError as error:
        if (error.error.detail or {}).get("status_code") == NOT_FOUND:
            return Life.EMITTED
        return Life.MAY_EMIT
    return Life.OVER if has_ended else Life.MAY_EMIT
