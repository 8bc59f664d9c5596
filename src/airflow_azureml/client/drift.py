"""What a watch for drift keeps: a profile of each window, written once, and decisions; and what it compares with."""

import asyncio
import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import asdict, define

from airflow_azureml.client.blob_documents import BlobDocuments
from airflow_azureml.client.blob_folder import BlobFolder
from airflow_azureml.client.scoring_logs import address, folder_of, segments
from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.documents import Documents
from airflow_azureml.core.drift import WindowVerdict
from airflow_azureml.core.drift_watch import Outcome, Watch
from airflow_azureml.core.findings import Finding
from airflow_azureml.core.scoring_logs import ScoringLogs
from airflow_azureml.core.windows import Span, Windows
from airflow_azureml.errors import ConfigError, ProtocolError, UnavailableError

if TYPE_CHECKING:
    from airflow_azureml.core.data_tests import Distribution
    from airflow_azureml.core.workspace import ConnectionSettings
    from airflow_azureml.quality.profile import Profile

log = logging.getLogger(__name__)

#: Where it is kept, in the account of the logs.
CONTAINER = "airflow-azureml-drift"
#: How often a decision is tried again when somebody else was faster.
TRIES = 20
#: What a reference is by the ending of its name; ``.json`` is a profile.
_FORMATS = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl"}


@define(kw_only=True)
class DriftShelf:
    """The documents of the watch of one model.

    Attributes:
        model: The model.
        recent: The logs that are watched; profiles of others are not theirs.
        windows: How time is cut.
        documents: Opens them.
    """

    model: str
    recent: Sequence[ScoringLogs]
    windows: Windows
    documents: Callable[[], AbstractAsyncContextManager[Documents]]

    def now(self) -> datetime:
        """Tell the store's time."""

        async def _ask() -> datetime:
            async with self.documents() as documents:
                return await documents.now()

        return asyncio.run(_ask())

    def profiles(self, spans: Sequence[Span]) -> dict[str, list["Profile"]]:
        """Read the profiles of windows that were made; one for each of the logs.

        Raises:
            ProtocolError: They are none.
        """
        from airflow_azureml.quality.profile import Profile  # noqa: PLC0415  # not when a DAG is parsed

        names = {self._name(span): span.key for span in spans}

        async def _read() -> dict[str, str]:
            async with self.documents() as documents:
                return {name: each.text for name, each in (await documents.read(names)).items()}

        found = asyncio.run(_read())
        try:
            return {names[name]: [Profile.from_wire(each) for each in json.loads(text)] for name, text in found.items()}
        except (ValueError, TypeError) as error:
            raise ProtocolError(f"The profiles of windows of {self.model} cannot be read: {error!r}") from error

    def keep(self, span: Span, profiles: Sequence["Profile"]) -> None:
        """Keep the profiles of a window; the first that are kept stay."""
        text = json.dumps([each.to_wire() for each in profiles])

        async def _write() -> None:
            async with self.documents() as documents:
                await documents.create({self._name(span): text})

        asyncio.run(_write())

    def watch(self) -> Watch:
        """Read what was decided."""

        async def _read() -> Watch:
            async with self.documents() as documents:
                found = await documents.read([self._decisions])
                return Watch.parse(found[self._decisions].text) if found else Watch()

        return asyncio.run(_read())

    def settle(self, decide: Callable[[Watch], Outcome]) -> Outcome:
        """Enter what this run comes to, by compare-and-set.

        Args:
            decide: Says what it comes to by what the document holds; it may be asked again.

        Raises:
            UnavailableError: Others were faster each time.
        """

        async def _try() -> Outcome | None:
            async with self.documents() as documents:
                document = (await documents.read([self._decisions])).get(self._decisions)
                before = Watch() if document is None else Watch.parse(document.text)
                outcome = decide(before)
                if outcome.watch == before:
                    return outcome
                text = outcome.watch.text
                if document is None:
                    done = await documents.create({self._decisions: text})
                else:
                    done = await documents.replace({self._decisions: (document.version, text)})
                return outcome if done else None

        for _ in range(TRIES):
            if (outcome := asyncio.run(_try())) is not None:
                return outcome
        raise UnavailableError(f"Decide on drift of model {self.model}", message=f"Others were faster {TRIES} times.")

    @property
    def _decisions(self) -> str:
        return f"{self.model}/decisions.json"

    def _name(self, span: Span) -> str:
        told = [asdict(each) for each in self.recent]
        text = json.dumps([told, str(self.windows.every)])
        return f"{self.model}/windows/{hashlib.sha256(text.encode()).hexdigest()[:12]}/{span.key}.json"


def shelf(settings: "ConnectionSettings", *, model: str, recent: Sequence[ScoringLogs], windows: Windows) -> DriftShelf:
    """Find the documents of a model's watch, in the account of the first of its logs.

    Raises:
        ConfigError: The logs are in no place of Azure Storage.
    """
    base = StorageUrl.parse(address(settings, recent[0].folder)).blob_base
    return DriftShelf(
        model=model,
        recent=recent,
        windows=windows,
        documents=lambda: BlobDocuments(settings, f"{base}/{CONTAINER}"),
    )


def profile_windows(
    settings: "ConnectionSettings", recent: Sequence[ScoringLogs], spans: Sequence[Span]
) -> Iterator[tuple[Span, list["Profile"]]]:
    """Look at the rows of windows, file by file, in bounded memory.

    Args:
        settings: The connection whose identity reads (role Storage Blob Data Reader).
        recent: The logs.
        spans: The windows.
    """
    by_window: dict[str, list[Profile]] = {span.key: [] for span in spans}
    for logs in recent:
        with folder_of(settings, logs.folder) as folder:
            found = list(segments(folder, logs, since=min(span.since for span in spans)))
            for span in spans:
                mine = [each.path for each in sorted(found) if each.logged in span]
                by_window[span.key].append(_profile(folder, mine, logs.format))
                log.info("Window %s has %d files in %s", span.key, len(mine), logs.folder)
    yield from ((span, by_window[span.key]) for span in spans)


def _profile(folder: BlobFolder, paths: Iterable[str], format_name: str) -> "Profile":
    from airflow_azureml.quality.collected import typed_batches  # noqa: PLC0415  # not when a DAG is parsed
    from airflow_azureml.quality.profile import Profile  # noqa: PLC0415  # as above

    made = Profile()
    with tempfile.TemporaryDirectory(prefix="airflow-azureml-drift-") as scratch:
        here = Path(scratch, "file")
        for path in paths:
            if folder.fetch(path, here):
                try:
                    made = made.merged(Profile.of(typed_batches(here, format_name)))
                except ConfigError as error:
                    raise ConfigError(f"{folder.container_url}/{path}: {error}") from error
    return made


def reference_of(settings: "ConnectionSettings", uri: str) -> "Profile":
    """Read what recent rows are compared with: a profile as JSON, or the data that a model was trained on.

    Args:
        settings: The connection whose identity reads.
        uri: The file's URI in a datastore, or its address; ``.json`` is a profile, and ``.csv``, ``.parquet`` and
            ``.jsonl`` are data.

    Raises:
        ConfigError: There is no such file, or it is of another kind.
        ProtocolError: The profile cannot be read.
    """
    from airflow_azureml.quality.profile import Profile  # noqa: PLC0415  # not when a DAG is parsed

    suffix = Path(uri).suffix.lower()
    if suffix not in {".json", *_FORMATS}:
        raise ConfigError(f"The reference {uri!r} is none of .json, {', '.join(_FORMATS)}.")
    parent, _, name = uri.rpartition("/")
    with folder_of(settings, f"{parent}/") as folder:
        path = f"{folder.path}{name}"
        if suffix != ".json":
            profile = _profile(folder, [path], _FORMATS[suffix])
            if not profile.columns:
                raise ConfigError(f"There is no reference {uri}.")
            return profile
        content = folder.read(path)
        if content is None:
            raise ConfigError(f"There is no reference {uri}.")
        try:
            return Profile.from_wire(json.loads(content))
        except ValueError as error:
            raise ProtocolError(f"The reference {uri} is no profile: {error}") from error


def verdict_of(
    window: str, profiles: Sequence["Profile"], reference: "Profile", rules: "Distribution"
) -> WindowVerdict:
    """Compare a window with the reference.

    A column counts where the first of the logs that has it can be checked; see
    `airflow_azureml.core.drift.WindowVerdict`.

    Raises:
        ConfigError: The rules name a column that the reference does not have.
    """
    from airflow_azureml.quality.distribution import compare  # noqa: PLC0415  # not when a DAG is parsed

    found: dict[tuple[str, str], Finding] = {}
    for profile in profiles:
        for each in compare(reference, profile, rules) if profile.rows else ():
            key = (each.subject, each.check)
            if key not in found or found[key].value is None:
                found[key] = each
    rows = max((each.rows for each in profiles), default=0)
    return WindowVerdict(window=window, rows=rows, findings=list(found.values()))
