"""Waiting for blobs by listing, for DAGs that no asset wakes."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_azureml.core.conditions import Sight
from airflow_azureml.core.filters import ArrivalFilter, FilterOptions
from airflow_azureml.core.search import Search
from airflow_azureml.core.sets import Sets
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError
from airflow_azureml.sensors.base import AzureMLSensor
from airflow_azureml.triggers.condition import BlobSearchTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_azureml.client.azureml import Client

__all__ = ["BlobArrivalSensor"]


class BlobArrivalSensor(AzureMLSensor):
    """Waits until a container holds blobs that count, and returns them, oldest first.

    What is returned is a list of arrivals, as `ClaimArrivalsOperator` returns them: path, eTag, size, time and address
    of each, so that `AzureMLPipelineOperator` pins the version that was seen, and scores each version once whoever
    found it. The sensor itself remembers nothing: what is there when it looks counts, however often it was returned
    before.

    With ``sets``, it waits for blobs that belong together and returns those of complete sets, a set's blobs one after
    the other; the XCom ``sets`` then tells the ``folder``, ``key`` (of this version of the set), ``time`` and number of
    ``blobs`` of each set, in the same order.

    Which blobs count is said as for `airflow_azureml.watchers.blob_arrivals`; see
    `airflow_azureml.core.filters.FilterOptions`. A blob that is still being copied does not.

    Args:
        account_url: The storage account, ``https://ACCOUNT.blob.core.windows.net``; on this machine
            ``http://127.0.0.1:PORT/devstoreaccount1``. Templated.
        container: The container, templated.
        prefix: How the paths begin, templated. Only these are listed: the longer it is, the cheaper each look.
        suffix: How the paths end, templated.
        glob: A pattern of the paths, as ``.gitignore`` has them, templated.
        regex: A regular expression for the whole path, templated.
        min_size_bytes: The smallest size.
        max_size_bytes: The largest size; None for any.
        content_types: Types of content, such as ``text/*``, templated; empty for any.
        metadata: Metadata that a blob must have, each with exactly this value, templated.
        tags: Index tags that a blob must have, each with exactly this value, templated.
        quiet_for: How long a blob must not have been written, by the storage account's own clock; for writers that
            append, or flush more than once.
        sets: What says that blobs which belong together are all there; None where each blob stands for itself.
        at_least: How many blobs there have to be; with ``sets``, how many complete sets.
        at_most: How many blobs are returned: the oldest; at most 1,000. Of a set, all or none; one that is larger fails
            the task.
        newer_than: An ISO 8601 time with its zone, templated, such as ``{{ data_interval_start }}``: blobs that were
            last written before do not count, nor do sets of which no blob was written since. Empty for any.
        kwargs: What `airflow_azureml.sensors.base.AzureMLSensor` takes (``conn_id``, ``deferrable``, ``timeout``,
            ``patience``, ``poll_interval``, ``soft_fail``), and Airflow's own.
    """

    template_fields: Sequence[str] = (
        "account_url",
        "container",
        "prefix",
        "suffix",
        "glob",
        "regex",
        "content_types",
        "metadata",
        "tags",
        "newer_than",
        "conn_id",
    )

    # By name, each: Airflow applies `default_args` and checks templates by the signature.
    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        account_url: str,
        container: str,
        prefix: str = "",
        suffix: str = "",
        glob: str = "",
        regex: str = "",
        min_size_bytes: int = 1,
        max_size_bytes: int | None = None,
        content_types: Iterable[str] = (),
        metadata: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        quiet_for: timedelta = timedelta(0),
        sets: Sets | None = None,
        at_least: int = 1,
        at_most: int = 100,
        newer_than: str = "",
        poll_interval: timedelta = timedelta(seconds=30),
        **kwargs: Any,
    ) -> None:
        super().__init__(poll_interval=poll_interval, **kwargs)
        self.account_url = account_url
        self.container = container
        self.prefix = prefix
        self.suffix = suffix
        self.glob = glob
        self.regex = regex
        self.min_size_bytes = min_size_bytes
        self.max_size_bytes = max_size_bytes
        self.content_types = content_types
        self.metadata = metadata
        self.tags = tags
        self.quiet_for = quiet_for
        self.sets = sets
        self.at_least = at_least
        self.at_most = at_most
        self.newer_than = newer_than

    def condition(self) -> tuple[str, dict[str, Any]]:
        """Say what is looked for."""
        return "blobs", self._search().to_wire()

    def look(self, client: "Client", settings: ConnectionSettings) -> Sight:
        """List once."""
        del client
        return asyncio.run(_look(settings, self._search()))

    def trigger(self) -> "BaseTrigger":
        """Go on listing in the triggerer."""
        return BlobSearchTrigger(
            conn_id=self.conn_id,
            search=self._search().to_wire(),
            began_at=time.time(),
            policy=self.policy().to_wire(),
        )

    def finish(self, context: "Context", event: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what was found."""
        found: list[dict[str, Any]] = super().finish(context, event)["arrivals"]
        self.log.info("Found %d blobs: %s", len(found), ", ".join(each["path"] for each in found[:20]))
        if self.sets is not None:
            context["ti"].xcom_push(key="sets", value=event["result"]["sets"])
        return found

    def _search(self) -> Search:
        """Describe the search, now that templates are rendered.

        Raises:
            ConfigError: Something is wrong with it; the message lists all that is.
        """
        options: dict[str, Any] = {name: getattr(self, name) for name in FilterOptions.__annotations__}
        faults, newer_than = [], None
        try:
            newer_than = datetime.fromisoformat(str(self.newer_than)) if self.newer_than else None
        except ValueError:
            faults.append(f"newer_than {self.newer_than!r} is no ISO 8601 time")
        if newer_than is not None and newer_than.tzinfo is None:
            faults.append(f"newer_than {self.newer_than!r} has no time zone")
        search = Search(
            account_url=self.account_url,
            wanted=ArrivalFilter.of(**options),
            sets=self.sets,
            at_least=self.at_least,
            at_most=self.at_most,
            newer_than=newer_than,
        )
        faults += search.faults()
        if faults:
            raise ConfigError(f"{type(self).__name__}: {'; '.join(faults)}.")
        return search


async def _look(settings: ConnectionSettings, search: Search) -> Sight:
    from airflow_azureml.client.listings import Lister, look_for  # noqa: PLC0415  # Azure's libraries stay out of DAG parsing

    async with Lister(settings, search.container_url) as lister:
        return await look_for(lister, search)
