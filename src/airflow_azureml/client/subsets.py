"""Making a subset of data in Blob Storage, from a worker: read by one identity, written by another."""

import contextlib
import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from airflow_azureml.client.scoring_logs import address, folder_of
from airflow_azureml.client.sdk import emulator_in_reach
from airflow_azureml.client.versions import ReplacedError, write_blob
from airflow_azureml.core.batches import Window
from airflow_azureml.core.data_tests import format_of
from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.partitions import partition_time
from airflow_azureml.core.scoring_logs import Segment
from airflow_azureml.core.subset_results import FileCut, SubsetResult
from airflow_azureml.core.subsets import Subset
from airflow_azureml.errors import ConfigError

if TYPE_CHECKING:
    from airflow_azureml.client.blob_folder import BlobFolder
    from airflow_azureml.core.workspace import ConnectionSettings
    from airflow_azureml.quality.subset import Subsetting

log = logging.getLogger(__name__)

#: In the folder of a subset: its data, and what is said of it. The manifest comes last: then all is there.
DATA, REPORT, VERDICT, MANIFEST = "data/", "report.html", "verdict.json", "manifest.json"


@frozen(kw_only=True)
class Place:
    """Data, and the connection whose identity reaches it.

    Attributes:
        uri: A folder of a datastore, with a slash at its end, or one file; or its address in Blob Storage.
    """

    settings: "ConnectionSettings"
    uri: str

    @property
    def folder(self) -> str:
        """The URI of the folder."""
        return self.uri[: self.uri.rindex("/") + 1]

    @property
    def name(self) -> str:
        """The name of the one file; empty for a folder."""
        return self.uri[self.uri.rindex("/") + 1 :]


@frozen(kw_only=True)
class Wanted:
    """What is asked for.

    Attributes:
        window: Which partitions count, by when they begin; those without a date count where it is open on both sides.
        alpha: The chance that a fair subset is called unlike its whole.
        rows_at_least: How many values each column needs, to be compared.
    """

    subset: Subset
    window: Window = field(factory=Window)
    alpha: float = 0.01
    rows_at_least: int = 200


def make_subset(wanted: Wanted, source: Place, to: Place) -> tuple[SubsetResult, Verdict]:
    """Make the subset, unless it is there already, and say whether it is like the whole.

    Files keep their paths and their formats; one without a chosen row is left out. The same data and the same
    `Subset` are always in the same folder, so that a try that died is continued, and nothing is done twice.

    Args:
        wanted: Which rows.
        source: The whole.
        to: The folder below which each subset has one of its own.

    Raises:
        ConfigError: There is no data, it is no CSV or Parquet, or the subset names columns that are not there.
        ReplacedError: A file was replaced meanwhile; trying again begins anew.
        RefusedError: An identity may not: the source's needs the role Storage Blob Data Reader, the other Contributor.
        UnavailableError: Storage does not answer; trying again is safe.
    """
    with contextlib.ExitStack() as opened:
        opened.enter_context(emulator_in_reach(source.settings))
        folder = opened.enter_context(folder_of(source.settings, source.folder))
        files = {each.path.removeprefix(folder.path): each for each in _files(folder, source.name, wanted.window)}
        if not files:
            raise ConfigError(f"There is no data in {source.uri}, or none of the time that was asked for.")
    key = wanted.subset.key(source.uri, {path: each.etag for path, each in files.items()})
    base = f"{to.uri.rstrip('/')}/{key}/"
    found = _there(to.settings, base)
    if found is not None:
        log.info("The subset is there already: %s", base)
        return found
    with tempfile.TemporaryDirectory(prefix="airflow-azureml-subset-") as scratch:
        maker = _Maker(wanted=wanted, source=source, to=to, files=files, scratch=Path(scratch))
        return maker.make(key, base)


def _there(settings: "ConnectionSettings", base: str) -> tuple[SubsetResult, Verdict] | None:
    """Read the manifest of a subset that is whole; None where it is not."""
    with emulator_in_reach(settings), folder_of(settings, base) as folder:
        manifest, verdict = (folder.read(f"{folder.path}{name}") for name in (MANIFEST, VERDICT))
    if manifest is None or verdict is None:
        return None
    return SubsetResult.from_wire(json.loads(manifest)), Verdict.from_wire(json.loads(verdict))


@define(kw_only=True)
class _Maker:
    """Makes one subset.

    Attributes:
        files: Those of the whole, by their paths in its folder.
        scratch: Where one file at a time is.
    """

    wanted: Wanted
    source: Place
    to: Place
    files: Mapping[str, Segment]
    scratch: Path
    cuts: list[FileCut] = field(factory=list)

    def make(self, key: str, base: str) -> tuple[SubsetResult, Verdict]:
        """Write the data, then what is said of it, and the manifest last."""
        from airflow_azureml.quality.subset import Subsetting  # noqa: PLC0415  # not when a DAG is parsed

        work = Subsetting(self.wanted.subset)
        for path, here in self._fetched() if self.wanted.subset.counts_first else ():
            work.count(here, format_of(path))
        self._cut(work, f"{base}{DATA}")
        verdict = work.verdict(alpha=self.wanted.alpha, rows_at_least=self.wanted.rows_at_least)
        result = SubsetResult(
            key=key,
            uri=f"{base}{DATA}{self.source.name}",
            rows=work.sample.rows,
            of=work.whole.rows,
            accepted=verdict.accepted,
            source=self.source.uri,
            policy=self.wanted.subset.policy,
            report_uri=f"{base}{REPORT}",
            verdict_uri=f"{base}{VERDICT}",
            manifest_uri=f"{base}{MANIFEST}",
            files=self.cuts,
        )
        title = f"{PurePosixPath(self.source.uri).name or self.source.uri}: {self.wanted.subset.policy}"
        self._tell(result, verdict, work.report(verdict, title=title))
        return result, verdict

    def _cut(self, work: "Subsetting", base: str) -> None:
        with emulator_in_reach(self.to.settings), folder_of(self.to.settings, base) as folder:
            for path, here in self._fetched():
                cut = work.cut(here, format_of(path), self.scratch / "out")
                with (self.scratch / "out").open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                etag = self.files[path].etag
                self.cuts.append(FileCut(path=path, etag=etag, rows=cut.rows, of=cut.of, digest=digest))
                if cut.rows:
                    folder.put(f"{folder.path}{path}", self.scratch / "out")
                log.info("%s: %d of %d rows", path, cut.rows, cut.of)

    def _fetched(self) -> Iterator[tuple[str, Path]]:
        """Fetch one file after the other."""
        here = self.scratch / "file"
        with emulator_in_reach(self.source.settings), folder_of(self.source.settings, self.source.folder) as folder:
            for path, each in self.files.items():
                if not folder.fetch(each.path, here, etag=each.etag):
                    raise ReplacedError(f"{self.source.folder}{path} was replaced or deleted while it was read.")
                yield path, here

    def _tell(self, result: SubsetResult, verdict: Verdict, page: str) -> None:
        told = {
            result.report_uri: page,
            result.verdict_uri: _json(verdict.to_wire()),
            result.manifest_uri: _json(result.manifest()),
        }
        for uri, text in told.items():
            write_blob(self.to.settings, address(self.to.settings, uri), text.encode())


def _files(folder: "BlobFolder", name: str, window: Window) -> Sequence[Segment]:
    """List the files that count: the one, or those of the folder that begin in the window."""
    found = sorted(folder.files(name), key=lambda each: each.path)
    if name:
        return [each for each in found if each.path == f"{folder.path}{name}"]
    chosen = []
    for each in found:
        inner = each.path.removeprefix(folder.path)
        is_hidden = any(part.startswith(("_", ".")) for part in inner.split("/"))
        begins = partition_time(inner)
        counts = window == Window() if begins is None else window.holds(begins.isoformat())
        if each.size_bytes and counts and not is_hidden:
            chosen.append(each)
    return chosen


def _json(told: Mapping[str, Any]) -> str:
    return json.dumps(told, ensure_ascii=False)
