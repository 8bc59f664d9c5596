"""One data test from files to files: what runs beside a worker's task, and as the command of an Azure ML job.

    python -m airflow_azureml.quality.session --call call.json --out FOLDER --errors FOLDER --data FILE --reference FILE

It leaves ``verdict.json`` and ``report.html`` in the folder of ``--out``, and the profile of a reference that is a
file. Without ``--data`` only that profile is made. What it was given and cannot use is told in ``error.json`` in the
folder of ``--errors``, and the status is 1.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import evolve

from airflow_azureml.core.data_tests import DataTests, Format, read_time
from airflow_azureml.errors import AzureMLError, ConfigError, ProtocolError
from airflow_azureml.quality.__main__ import read_profile
from airflow_azureml.quality.checks import examine
from airflow_azureml.quality.pictured import pictured
from airflow_azureml.quality.profile import Profile
from airflow_azureml.quality.reading import batches
from airflow_azureml.quality.report import page
from airflow_azureml.quality.schema import Schema

VERDICT, REPORT, ERROR = "verdict.json", "report.html", "error.json"
#: What says that the reference is a profile already.
A_PROFILE = "profile"


def main(arguments: Sequence[str] | None = None) -> int:
    """Test, and return the process's status."""
    parser = argparse.ArgumentParser(description="Test data.")
    for name in ("call", "out", "errors"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("data", "reference"):
        parser.add_argument(f"--{name}", type=Path)
    told = parser.parse_args(arguments)
    try:
        run(json.loads(told.call.read_text(encoding="utf-8")), told.out, data=told.data, reference=told.reference)
    except AzureMLError as error:
        told.errors.mkdir(parents=True, exist_ok=True)
        (told.errors / ERROR).write_text(json.dumps({"message": str(error)}), encoding="utf-8")
        print(error, file=sys.stderr)  # noqa: T201  # a job's log is all that people see of it
        return 1
    return 0


def run(call: Mapping[str, Any], out: Path, *, data: Path | None, reference: Path | None) -> None:
    """Test a file, and write what was found.

    Args:
        call: What to do; see `airflow_azureml.operators.data_test_engine.call_of`.
        out: Where to.
        data: The file; None to profile the reference only.
        reference: What it is compared with; None for nothing.

    Raises:
        ConfigError: The rules or the reference are wrong.
    """
    out.mkdir(parents=True, exist_ok=True)
    tests = DataTests.parse(call["spec"], name=call["name"])
    compared = _reference(call, tests, reference) if reference is not None else None
    if compared is not None and call["reference"] != A_PROFILE:
        (out / call["profile"]).write_text(json.dumps(compared.to_wire(), ensure_ascii=False), encoding="utf-8")
    if data is None:
        return
    written = read_time(call["modified"])
    examined = examine(tests, data, format=call["format"], reference=compared, now=datetime.now(UTC), file_time=written)
    verdict = evolve(
        examined.verdict,
        subject=call["subject"],
        # Where the file is while it is tested is nobody's concern.
        findings=[evolve(each, reason=each.reason.replace(str(data), data.name)) for each in examined.verdict.findings],
        facts={**call["facts"], **examined.verdict.facts},
    )
    drawn = pictured(examined.profile, compared, verdict.findings, tests.distribution)
    title = call["subject"].rpartition("/")[2] or call["subject"]
    (out / REPORT).write_text(page(verdict, drawn, title=title), encoding="utf-8")
    (out / VERDICT).write_text(json.dumps(verdict.to_wire(), ensure_ascii=False), encoding="utf-8")


def _reference(call: Mapping[str, Any], tests: DataTests, file: Path) -> Profile:
    """Read the profile of the reference, or make it; the reference is read as the data is.

    Raises:
        ConfigError: It is no profile, or no such table.
    """
    form = call["reference_format"]
    types = Schema.of(tests).types if form != Format.PARQUET else {}
    try:
        if call["reference"] == A_PROFILE:
            return read_profile(file)
        read = batches(file, form, types=types, separator=tests.separator, null_values=tests.null_values)
        return Profile.of(read)
    except (ConfigError, ProtocolError) as error:
        kind = "profile" if call["reference"] == A_PROFILE else form
        told = str(error).replace(str(file), file.name)
        raise ConfigError(f"The reference {call['reference_uri']} cannot be used as a {kind}: {told}") from error


if __name__ == "__main__":
    sys.exit(main())
