"""Test a file from a command line, without Airflow: ``python -m airflow_azureml.quality SPEC FILE --out FOLDER``.

It writes ``verdict.json``, ``profile.json`` and ``report.html`` into the folder. The exit code is 0 where the file
passed, 3 where it did not, and 2 where it could not be tested.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from airflow_azureml.core.data_tests import DataTests, Format, format_of, read_time
from airflow_azureml.core.findings import Verdict
from airflow_azureml.errors import AzureMLError, ConfigError
from airflow_azureml.quality.checks import examine
from airflow_azureml.quality.pictured import pictured
from airflow_azureml.quality.profile import Profile
from airflow_azureml.quality.report import page

PASSED, BAD_INPUT, FAILED = 0, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Test a file."""
    asked = _parser().parse_args(arguments)
    try:
        verdict = _tested(asked)
    except (AzureMLError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201  # a command line's
        return BAD_INPUT
    print(verdict.sentence)  # noqa: T201  # likewise
    return PASSED if verdict.accepted else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m airflow_azureml.quality", description=__doc__)
    parser.add_argument("spec", type=Path, help="the YAML file of the data tests")
    parser.add_argument("file", type=Path, help="the file to test")
    parser.add_argument("--format", choices=[str(each) for each in Format], help="what it is, where its name is silent")
    parser.add_argument("--reference", type=Path, help="the profile of the reference, as profile.json has it")
    parser.add_argument("--out", type=Path, required=True, help="the folder for what is written")
    parser.add_argument("--now", help="when it is, in ISO 8601; by default, now")
    return parser


def _tested(asked: argparse.Namespace) -> Verdict:
    """Test the file, and write what was found."""
    now = read_time(asked.now) if asked.now else datetime.now(UTC)
    if now is None:
        raise ConfigError(f"--now {asked.now} is no time in ISO 8601.")
    spec = DataTests.parse(_text(asked.spec), name=asked.spec.name)
    reference = read_profile(asked.reference) if asked.reference else None
    form = asked.format or format_of(asked.file.name)
    examined = examine(spec, asked.file, format=form, reference=reference, now=now)
    verdict, profile = examined.verdict, examined.profile
    drawn = pictured(profile, reference, verdict.findings, spec.distribution)
    asked.out.mkdir(parents=True, exist_ok=True)
    for name, told in (("verdict", verdict.to_wire()), ("profile", profile.to_wire())):
        (asked.out / f"{name}.json").write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    (asked.out / "report.html").write_text(page(verdict, drawn, title=asked.file.name), encoding="utf-8")
    return verdict


def read_profile(path: Path) -> Profile:
    """Read the profile of a reference.

    Raises:
        ConfigError: There is no such file, or it is no JSON.
        ProtocolError: It is no profile.
    """
    try:
        return Profile.from_wire(json.loads(_text(path)))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON: {error}.") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8.") from error


if __name__ == "__main__":
    sys.exit(main())
