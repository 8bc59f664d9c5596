"""Doing a data test: reading the version, running the engine on it, and putting away what was found."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from airflow_azureml.core.data_results import DataResult
from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.quarantine import REPORT, VERDICT
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ProtocolError, RefusedError, UnavailableError
from airflow_azureml.operators.data_test_engine import A_FILE, A_PROFILE, CALL, PROFILE, Child, call_of
from airflow_azureml.operators.data_test_plan import Plan, address

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client

log = logging.getLogger(__name__)

#: The largest verdict, report and profile that are read. Bytes.
MOST_VERDICT, MOST_REPORT, MOST_PROFILE = 8 << 20, 1 << 20, 64 << 20
#: How the URI of a profile ends, and the name of one that is kept beside a reference file.
JSON = ".json"


@frozen(kw_only=True)
class Found:
    """What a data test found.

    Attributes:
        verdict: The whole verdict, as JSON.
        page: The report.
    """

    plan: Plan
    result: DataResult
    verdict: bytes
    page: bytes


def tested_here(client: "Client", settings: ConnectionSettings, plan: Plan, child: Child) -> Found:
    """Read the version into a file, test it in a process of its own, and write report and verdict.

    Raises:
        ConfigError: The rules, the reference or what they need is wrong, or the disk has no room.
        ReplacedError: The blob was replaced meanwhile; nothing that was found counts.
        EngineError: The process ended without a verdict.
        RefusedError: The identity may not read the data, or may not write reports.
        UnavailableError: Storage does not answer; trying again is safe.
    """
    from airflow_azureml.client import versions  # noqa: PLC0415  # Azure's libraries stay out of DAG parsing

    profile = _reference(client, settings, plan, child)
    compared = ["--reference", str(profile)] if profile else []
    data = child.folder / "data"
    versions.download(settings, plan.subject.url, data, etag=plan.subject.etag)
    call = call_of(plan, reference=A_PROFILE if profile else "")
    (child.folder / CALL).write_text(json.dumps(call), encoding="utf-8")
    child.run([*_places(child.folder), "--data", str(data), *compared])
    versions.check_same(settings, plan.subject.url, plan.subject.etag)
    found = _found(plan, *((child.folder / name).read_bytes() for name in (VERDICT, REPORT)))
    versions.write_blob(settings, address(client, settings, plan.report), found.page)
    versions.write_blob(settings, address(client, settings, plan.verdict), found.verdict)
    log.info("The report: %s", plan.report)
    return found


def read_found(client: "Client", settings: ConnectionSettings, plan: Plan) -> Found:
    """Read what a job has found, and keep the profile of the reference that it has made.

    Raises:
        UnavailableError: It is not there, or storage does not answer.
        ProtocolError: It is none that the engine writes.
        RefusedError: The identity may not read it.
    """
    parts = [
        read(client, settings, uri, most_bytes=most)
        for uri, most in ((plan.verdict, MOST_VERDICT), (plan.report, MOST_REPORT))
    ]
    verdict, page = parts
    if verdict is None or page is None:
        raise UnavailableError(
            "Read what the job has found", message=f"There is no verdict or no report in {plan.reports}."
        )
    if plan.reference and not plan.reference.endswith(JSON):
        _keep_profile(client, settings, plan)
    return _found(plan, verdict, page)


def put_away(settings: ConnectionSettings, found: Found) -> DataResult:
    """Copy the version to quarantine with its report, and say where it is.

    Raises:
        ReplacedError: The blob has another version by now, and this one was not copied before.
        RefusedError: The identity may not write there; it needs the role Storage Blob Data Contributor.
        UnavailableError: Storage does not answer; trying again is safe.
    """
    from airflow_azureml.client import quarantine  # noqa: PLC0415  # not for DAG parsing

    plan, cell = found.plan, found.plan.cell
    if cell is None:
        raise AssertionError("a plan that quarantines has a cell")
    written = {cell.report: found.page, cell.verdict: found.verdict}
    quarantine.put_away(settings, plan.subject.url, plan.subject.etag, cell=cell, written=written)
    return evolve(found.result, quarantine=plan.kept_at)


def read(client: "Client", settings: ConnectionSettings, uri: str, *, most_bytes: int) -> bytes | None:
    """Read a small file; None when there is none."""
    from airflow_azureml.client.small_files import read_small  # noqa: PLC0415  # not for DAG parsing

    return read_small(settings, address(client, settings, uri), most_bytes=most_bytes)


def _reference(client: "Client", settings: ConnectionSettings, plan: Plan, child: Child) -> Path | None:
    """Bring the profile of the reference; one that was not made yet is made, and kept beside the reference."""
    from airflow_azureml.client import versions  # noqa: PLC0415  # not for DAG parsing

    if not plan.reference:
        return None
    file = child.folder / PROFILE
    if plan.reference.endswith(JSON):
        content = read(client, settings, plan.reference, most_bytes=MOST_PROFILE)
        if content is None:
            raise versions.GoneError(f"Read the reference {plan.reference}: there is no such blob.")
        file.write_bytes(content)
        return file
    url = address(client, settings, plan.reference)
    etag = versions.version_now(settings, url).etag
    kept = read(client, settings, _beside(plan, url, etag), most_bytes=MOST_PROFILE)
    if kept is not None:
        file.write_bytes(kept)
        return file
    data = child.folder / "reference"
    versions.download(settings, url, data, etag=etag)
    (child.folder / CALL).write_text(json.dumps(call_of(plan, reference=A_FILE)), encoding="utf-8")
    child.run([*_places(child.folder), "--reference", str(data)])
    data.unlink()
    _keep(settings, _beside(plan, url, etag), file.read_bytes())
    return file


def reference_of_job(client: "Client", settings: ConnectionSettings, plan: Plan) -> tuple[str, dict[str, str]]:
    """Say what a job compares with: the URI, and what the engine is told of it.

    Raises:
        GoneError: There is no such blob.
        RefusedError: The identity may not read it.
        UnavailableError: Storage does not answer; trying again later may work.
    """
    from airflow_azureml.client import versions  # noqa: PLC0415  # not for DAG parsing

    if not plan.reference:
        return "", {}
    url = address(client, settings, plan.reference)
    etag = versions.version_now(settings, url).etag
    if plan.reference.endswith(JSON):
        return plan.reference, {"reference": A_PROFILE}
    try:
        versions.version_now(settings, _beside(plan, url, etag))
    except versions.GoneError:
        return plan.reference, {"reference": A_FILE, "profile": _made_by_job(etag)}
    kept = _beside(plan, plan.reference if plan.reference.startswith("azureml:") else url, etag)
    return kept, {"reference": A_PROFILE}


def _keep_profile(client: "Client", settings: ConnectionSettings, plan: Plan) -> None:
    """Keep the profile that a job has made of the reference, unless the reference was replaced meanwhile."""
    from airflow_azureml.client import versions  # noqa: PLC0415  # not for DAG parsing

    url = address(client, settings, plan.reference)
    etag = versions.version_now(settings, url).etag
    content = read(client, settings, f"{plan.reports}{_made_by_job(etag)}", most_bytes=MOST_PROFILE)
    if content is not None:
        _keep(settings, _beside(plan, url, etag), content)


def _made_by_job(etag: str) -> str:
    return f"reference.{etag}{JSON}"


def _keep(settings: ConnectionSettings, url: str, profile: bytes) -> None:
    """Keep a profile; where that is not allowed it is made again the next time."""
    from airflow_azureml.client import versions  # noqa: PLC0415  # not for DAG parsing

    try:
        versions.write_blob(settings, url, profile)
    except RefusedError as error:
        log.warning("The reference's profile is not kept, and is made again each time: %s", error)


def _beside(plan: Plan, url: str, etag: str) -> str:
    """Name the profile of a reference; what its columns are read as depends on the rules."""
    rules = plan.rules.tests.digest.rpartition(":")[2][:12]
    return f"{url}.{etag}.{rules}.profile{JSON}"


def _places(folder: Path) -> list[str]:
    return ["--call", str(folder / CALL), "--out", str(folder), "--errors", str(folder)]


def _found(plan: Plan, verdict: bytes, page: bytes) -> Found:
    """Read a verdict as the engine has written it.

    Raises:
        ProtocolError: It is none.
    """
    try:
        raw: Any = json.loads(verdict)
        told = Verdict.from_wire(raw)
    except (ValueError, TypeError, AttributeError) as error:
        raise ProtocolError(f"Read the verdict on {plan.subject.path}: it is none ({error}).") from error
    rows = told.facts.get("rows", "")
    result = DataResult(
        verdict=told,
        path=plan.subject.path,
        etag=plan.subject.etag,
        size_bytes=plan.subject.size_bytes,
        rows=int(rows) if rows.isdecimal() else None,
        digest=told.facts.get("digest", ""),
        report=plan.report,
        told_at=plan.verdict,
    )
    return Found(plan=plan, result=result, verdict=verdict, page=page)
