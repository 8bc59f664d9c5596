"""The tasks of a retraining that no other operator does: one at a time for each model, its data, its outcome."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.batches import Window, owner_of
from airflow_azureml.core.explain import explain
from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.partitions import in_window
from airflow_azureml.core.retraining import Holding
from airflow_azureml.core.retraining_outcomes import RetrainingOutcome
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import AzureMLError, ConfigError, ProtocolError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.hooks.instance import this_instance
from airflow_azureml.operators.batch_work import for_airflow
from airflow_azureml.operators.owners import Owners
from airflow_azureml.triggers.pause import PauseTrigger
from airflow_azureml.wire import outputs

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.core.arrivals import Arrival

__all__ = [
    "AzureMLGiveBackModelOperator",
    "AzureMLPartitionsOperator",
    "AzureMLRetrainingOutcomeOperator",
    "AzureMLTakeModelOperator",
    "retraining_lives",
]

#: The tasks of a group that retrains: while one of them may go on, the group holds its model.
TASKS = ("take", "partitions", "test_data", "train", "champion", "reevaluate", "gate", "register", "outcome")
ON_BUSY = ("wait", "skip")
#: Most partitions of a window: each is tested by a task of its own.
MOST_PARTITIONS = 100


def retraining_lives(ti: Any, owner: str) -> bool:
    """Tell whether a run that holds a model still works.

    Args:
        ti: The task instance that runs; Airflow is asked through it.
        owner: The run, ``dag/run/group``.
    """
    return Owners(ti, TASKS).live(owner)


class ModelHolder(BaseOperator):
    """Base of the two tasks between which nobody else retrains a model.

    Args:
        model: The model's name, templated.
        group: The group's id; it and the run are who holds the model.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("model", "conn_id")

    def __init__(self, *, model: str, group: str, conn_id: str = AzureMLHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.group = group
        self.conn_id = conn_id

    def owner_in(self, context: "Context") -> str:
        """Name who holds the model in this run."""
        ti: Any = context["ti"]
        return owner_of(ti.dag_id, ti.run_id, self.group)


class AzureMLTakeModelOperator(ModelHolder):
    """Takes a model for this run, so that no two retrainings of it run at once, of whatever run and DAG.

    What is written of it is in the datastore ``workspaceblobstore``. A retry, and the task cleared
    by a person, find the model theirs. A model whose run is over, or has died, is taken over; a run of another Airflow,
    which cannot be asked, is respected for two days.

    Returns who held it before, and when that ended, for people.

    Args:
        on_busy: What to do while another run retrains the model: ``wait`` without a worker slot, or ``skip`` what
            follows.
        at_most: How long to wait.
        look_every: How often to look.
        kwargs: What `ModelHolder` takes, and Airflow's own.
    """

    def __init__(
        self,
        *,
        on_busy: str = "wait",
        at_most: timedelta = timedelta(days=1),
        look_every: timedelta = timedelta(seconds=30),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.on_busy = on_busy
        self.at_most = at_most
        self.look_every = look_every

    def execute(self, context: "Context") -> dict[str, Any]:
        """Take it, or wait."""
        return self._take(context, began_at=time.time())

    def look_again(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Try once more, when it has waited."""
        return self._take(context, began_at=float(event["began_at"]))

    def _take(self, context: "Context", *, began_at: float) -> dict[str, Any]:
        from airflow_azureml.client.sdk import emulator_in_reach  # noqa: PLC0415  # not when a DAG is parsed

        owner = self.owner_in(context)
        try:
            if self.on_busy not in ON_BUSY:
                raise ConfigError(f"on_busy is {self.on_busy!r}; it must be one of {', '.join(ON_BUSY)}.")
            settings = AzureMLHook(self.conn_id).settings
            with emulator_in_reach(settings):
                found = asyncio.run(self._ask(context, settings, owner))
        except AzureMLError as error:
            raise for_airflow(error) from error
        if found.owner != owner or found.instance != this_instance():
            self._wait(found, began_at=began_at)
        self.log.info("Model %s is retrained by this run alone", self.model)
        return {"model": self.model, "owner": owner}

    def _wait(self, found: Holding, *, began_at: float) -> NoReturn:
        told = f"Model {self.model} is being retrained by {found.owner}, since {found.began}"
        if self.on_busy == "skip":
            raise AirflowSkipException(f"{told}; nothing is done here.")
        now = time.time()
        if now - began_at >= self.at_most.total_seconds():
            raise AirflowFailException(f"{told}; waited {self.at_most} for its end. Clear this task to wait again.")
        self.log.info("%s; looking again in %s", told, self.look_every)
        until = now + self.look_every.total_seconds()
        self.defer(trigger=PauseTrigger(until=until, began_at=began_at, deferred_at=now), method_name="look_again")

    async def _ask(self, context: "Context", settings: ConnectionSettings, owner: str) -> Holding:
        from airflow_azureml.client.retraining import holdings  # noqa: PLC0415  # not when a DAG is parsed

        async with holdings(settings) as opened:
            return await opened.take(
                self.model,
                owner,
                instance=this_instance(),
                lives=lambda other: retraining_lives(context["ti"], other),
            )


class AzureMLGiveBackModelOperator(ModelHolder):
    """Gives a model back that this run has taken; where it does not hold it, nothing happens. Make it a teardown."""

    def execute(self, context: "Context") -> None:
        """Give it back."""
        from airflow_azureml.client.sdk import emulator_in_reach  # noqa: PLC0415  # not when a DAG is parsed

        try:
            settings = AzureMLHook(self.conn_id).settings
            with emulator_in_reach(settings):
                found = asyncio.run(self._give_back(settings, self.owner_in(context)))
        except AzureMLError as error:
            raise for_airflow(error) from error
        if found.is_held:
            self.log.warning("Model %s was taken over by %s meanwhile", self.model, found.owner)
        else:
            self.log.info("Model %s may be retrained again", self.model)

    async def _give_back(self, settings: ConnectionSettings, owner: str) -> Holding:
        from airflow_azureml.client.retraining import holdings  # noqa: PLC0415  # not when a DAG is parsed

        async with holdings(settings) as opened:
            return await opened.give_back(self.model, owner, instance=this_instance())


class AzureMLPartitionsOperator(BaseOperator):
    """Lists the partitions of a window: what is to be tested before a model is trained on it.

    Returns the versions of the blobs, oldest partition first, each as `Arrival.to_wire` writes it. A window without a
    partition skips what follows: there is nothing to train on.

    Args:
        data: A folder of a datastore, ``azureml://datastores/NAME/paths/FOLDER/``, with partitions: blobs a part of
            whose path begins with a date, such as ``2026-01-31.csv`` and ``2026-01-31T05/part.csv``; or a single file,
            which is what is returned whenever it began. Templated.
        since: Partitions that begin before do not count: a time in ISO 8601, or a partition's key; templated.
        until: Partitions that begin then or later do not count: likewise, or a span from ``since`` on, as ``+7d``.
        suffix: How a partition's name ends.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("data", "since", "until", "conn_id")

    def __init__(
        self,
        *,
        data: str,
        since: str = "",
        until: str = "",
        suffix: str = "",
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data = data
        self.since = since
        self.until = until
        self.suffix = suffix
        self.conn_id = conn_id

    def execute(self, context: "Context") -> list[dict[str, Any]]:  # noqa: ARG002  # Airflow's signature
        """List them."""
        from airflow_azureml.client.sdk import emulator_in_reach  # noqa: PLC0415  # not when a DAG is parsed

        try:
            window = Window.parse(self.since, self.until)
            settings = AzureMLHook(self.conn_id).settings
            with emulator_in_reach(settings):
                found = asyncio.run(self._list(settings, window))
            if len(found) > MOST_PARTITIONS:
                raise ConfigError(
                    f"{len(found)} partitions of {self.data} begin from {self.since or 'ever'} until"
                    f" {self.until or 'now'}; at most {MOST_PARTITIONS} are tested. Take larger partitions."
                )
        except AzureMLError as error:
            raise for_airflow(error) from error
        if not found:
            window_told = f"from {self.since or 'the beginning'} until {self.until or 'now'}"
            raise AirflowSkipException(
                f"No partition of {self.data} begins {window_told}; there is nothing to train on."
            )
        for each in found:
            self.log.info("Partition %s, eTag %s", each.path, each.etag)
        return [each.to_wire() for each in found]

    async def _list(self, settings: ConnectionSettings, window: Window) -> "list[Arrival]":
        from airflow_azureml.client.azureml import AsyncClient  # noqa: PLC0415  # not when a DAG is parsed
        from airflow_azureml.client.listings import Lister  # noqa: PLC0415  # as above

        async with AsyncClient(settings) as client:
            url = await client.run(outputs.blob_url(settings.workspace, self.data, domain=settings.addresses.storage))
        place = StorageUrl.parse(url)
        container, _, path = place.path.partition("/")
        blobs: list[Arrival] = []
        async with Lister(settings, f"{place.blob_base}/{container}") as lister:
            async for page in lister.pages(prefix=path):
                blobs += [each.arrival(place, container) for each in page if each.path.endswith(self.suffix)]
        if not path.endswith("/"):
            return [blob for blob in blobs if blob.path == path]
        return in_window(blobs, path, window)


class AzureMLRetrainingOutcomeOperator(BaseOperator):
    """Tells what a retraining came to; a model that was rejected and data that is unfit are answers, and no failures.

    What it returns is described at `airflow_azureml.core.retraining_outcomes.RetrainingOutcome.to_wire`.

    Args:
        model: The model's name, templated.
        tested: The id of the task that tests the data, expanded over its parts; empty where nothing is tested.
        verdict: What the gate returned, templated.
        registered: What registering returned, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("model", "verdict", "registered")
    template_fields_renderers = {"verdict": "json", "registered": "json"}  # noqa: RUF012  # Airflow's own attribute

    def __init__(
        self, *, model: str, tested: str = "", verdict: Any = None, registered: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.tested = tested
        self.verdict = verdict
        self.registered = registered

    def execute(self, context: "Context") -> dict[str, Any]:
        """Read what the tasks left, and tell."""
        ti: Any = context["ti"]
        tested = _there(ti.xcom_pull(task_ids=self.tested)) if self.tested else []
        found = RetrainingOutcome.of(
            self.model, tested=tested, verdict=self.verdict or None, registered=self.registered or None
        )
        if self.verdict:
            try:
                self.log.info("%s", explain(Verdict.from_wire(self.verdict)))
            except ProtocolError as error:
                self.log.warning("The verdict cannot be shown: %s", error)
        self.log.info("%s", found.sentence)
        return found.to_wire()


def _there(results: Any) -> list[Mapping[str, Any]]:
    """List what the instances of a task returned, however many there were; those that returned nothing are left out."""
    several: Iterable[Any] = [results] if isinstance(results, Mapping) else results or ()
    return [each for each in several if isinstance(each, Mapping)]
