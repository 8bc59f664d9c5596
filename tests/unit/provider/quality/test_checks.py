import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from attrs import evolve

import airflow_azureml
from airflow_azureml.core.data_tests import (
    ColumnRules,
    DataTests,
    Distribution,
    Drift,
    Freshness,
    RowCount,
    Type,
)
from airflow_azureml.core.findings import Verdict
from airflow_azureml.errors import ConfigError
from airflow_azureml.quality.__main__ import main
from airflow_azureml.quality.checks import examine, run
from airflow_azureml.quality.profile import Profile

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ROWS = RowCount(at_least=2, at_most=1000)
#: What the issue of one 2 GB file allows.
MOST_KB = 500_000
SPEC = """\
schema: 1
columns:
  id: {type: integer, unique: true}
  x: {type: number, at_least: -20, at_most: 20}
  c: {allowed: [red, green, blue]}
rows: {at_least: 1000}
"""
#: What is run in a process of its own, which tells its own peak.
MEASURED = """\
import sys
from pathlib import Path
from airflow_azureml.quality.__main__ import main
status = main(sys.argv[1:])
(line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM")]
print(status, line.split()[1])
"""
#: As on a compute of Azure ML: there is no Airflow, and no Azure.
APART = """\
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("airflow", "azure", "pathspec", "aiohttp"):
            raise ImportError(f"there is no {name} here")
sys.meta_path.insert(0, Nothing())
import airflow_azureml
from airflow_azureml.quality.__main__ import main
print(airflow_azureml.__file__)
sys.exit(main(sys.argv[1:]))
"""


def _csv(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return _csv(tmp_path / "patients.csv", "age,seen\n41,2026-11-21T09:00:00Z\n52,2026-11-20T09:00:00Z\n")


def _run(file: Path, **how: Any) -> Verdict:
    return run(DataTests(name="t", **how), file, format="csv", now=NOW)


def test_a_file_as_it_should_be_is_accepted_with_its_facts(file: Path) -> None:
    spec = DataTests(name="patients", columns={"age": ColumnRules(type=Type.INTEGER, at_least=0)}, rows=ROWS)

    verdict = run(spec, file, format="csv", now=NOW)

    assert verdict.accepted
    assert verdict.subject == "patients.csv"
    assert verdict.policy == spec.policy
    assert verdict.facts == {
        "digest": "sha256:506d612785e0d1471f938a331620000cc426b9b841403254b9e69b0489a95a49",
        "bytes": "57",
        "format": "csv",
        "tests": spec.digest,
        "rows": "2",
        "columns": "2",
    }
    assert Verdict.from_wire(json.loads(json.dumps(verdict.to_wire()))) == verdict


@pytest.mark.parametrize(
    ("rule", "passed"),
    [
        (RowCount(at_least=2, at_most=2), True),
        (RowCount(at_least=3), False),
        (RowCount(at_least=1, at_most=1), False),
    ],
)
def test_rows_are_counted(file: Path, rule: RowCount, *, passed: bool) -> None:
    verdict = _run(file, rows=rule, columns={"age": ColumnRules()})

    assert verdict.accepted is passed
    assert verdict.findings[0].value == 2


def test_a_table_without_rows_is_a_no_whatever_is_asked(tmp_path: Path) -> None:
    verdict = _run(_csv(tmp_path / "t.csv", "age\n"), columns={"age": ColumnRules()})

    assert [finding.reason for finding in verdict.failed] == ["There are 0 rows; there must be at least 1."]


@pytest.mark.parametrize(
    ("hours", "times", "passed"),
    [
        (3, ["2026-11-21T09:00:00Z", ""], True),
        (2, ["2026-11-21T09:00:00Z", ""], False),
        (3, ["2026-11-21T11:00:00+02:00"], True),
        (13, ["2026-11-21"], True),
        (1, ["2027-01-01T00:00:00Z", "2026-11-21T11:30:00Z"], True),
        (1, ["2027-01-01T00:00:00Z", "2026-11-21T10:30:00Z"], False),
        (1, ["2027-01-01T00:00:00Z"], False),
        (1, [""], False),
    ],
)
def test_the_newest_time_up_to_now_says_how_fresh_data_is(
    tmp_path: Path, hours: int, times: list[str], *, passed: bool
) -> None:
    table = _csv(tmp_path / "t.csv", "n,seen\n" + "".join(f"1,{each}\n" for each in times))

    verdict = _run(table, freshness=Freshness(within=timedelta(hours=hours), column="seen"))

    assert verdict.findings[1].passed is passed


def test_freshness_of_a_column_that_is_gone_is_a_no(file: Path) -> None:
    verdict = _run(file, freshness=Freshness(within=timedelta(days=1), column="written"))

    assert "How old the data is cannot be told: there is no column 'written' of times." in verdict.sentence


def test_freshness_may_be_that_of_the_file(file: Path) -> None:
    spec = DataTests(name="t", freshness=Freshness(within=timedelta(hours=1)))
    os.utime(file, (NOW.timestamp() - 3000,) * 2)

    assert run(spec, file, format="csv", now=NOW).accepted
    assert not run(spec, file, format="csv", now=NOW + timedelta(hours=1)).accepted
    told = examine(spec, file, format="csv", now=NOW, file_time=NOW - timedelta(hours=2)).verdict
    assert told.findings[1].reason == "The newest time is 2026-11-21 10:00:00 UTC, 2.0 h old; it may be 1h."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "It is empty; not even a header is there."),
        (b"age,seen\n1\n", "Row 1 has 1 fields, and the header has 2."),
        (b"age,seen\n\xff,1\n", "Row 1 is no text in UTF-8: byte 0xff."),
    ],
)
def test_a_file_that_is_no_table_is_a_no_with_the_reason(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)

    verdict = _run(path, columns={"age": ColumnRules()})

    (finding,) = verdict.findings
    assert (finding.check, finding.passed) == ("the file can be read", False)
    assert told in finding.reason
    assert verdict.facts["bytes"] == str(len(content))


def test_what_cannot_be_tested_at_all_is_an_error(file: Path) -> None:
    drift = Distribution(columns={"age": Drift(psi=0.1)})

    with pytest.raises(ConfigError, match="t compares with a reference, and none is given"):
        _run(file, distribution=drift)
    with pytest.raises(ConfigError, match=r"Cannot read .*: No such file or directory"):
        _run(file.with_name("other.csv"), rows=ROWS)
    with pytest.raises(ConfigError, match="No format is called 'xlsx'"):
        run(DataTests(name="t", rows=ROWS), file, format="xlsx", now=NOW)
    with pytest.raises(ConfigError, match="Times need a time zone"):
        run(DataTests(name="t", rows=ROWS), file, format="csv", now=NOW.replace(tzinfo=None))


def _table(rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "id": np.arange(rows),
            "x": rng.standard_normal(rows).round(6),
            "y": rng.standard_normal(rows).round(6) + (seed == 2) * 0.5,
            "c": rng.choice(["red", "green", "blue"], rows),
        }
    )


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_every_format_gives_the_same_verdict_and_the_same_profile(tmp_path: Path, form: str) -> None:
    was, now = _table(3000, 1), _table(3000, 2)
    path = tmp_path / f"t.{form}"
    writing: dict[str, Callable[[Path], object]] = {
        "csv": now.write_csv,
        "parquet": now.write_parquet,
        "jsonl": now.write_ndjson,
    }
    writing[form](path)
    spec = evolve(
        DataTests.parse(SPEC, name="tests.yaml"),
        distribution=Distribution(columns={"*": Drift(ks=0.0)}, ignore=("id",)),
    )

    examined = examine(spec, path, format=form, reference=Profile.of([was]), now=NOW)

    assert {finding.subject for finding in examined.verdict.failed} == {"y"}
    assert examined.verdict.facts["reference_rows"] == "3000"
    assert examined.profile == Profile.of([now])


def test_texts_are_read_as_the_reference_has_them(tmp_path: Path) -> None:
    reference = Profile.of([pl.DataFrame({"code": ["01", "02"] * 200, "n": [1.5, 2.0] * 200})])
    path = _csv(tmp_path / "t.csv", "code,n\n" + "01,1\n02,2\n" * 200)
    spec = DataTests(name="t", distribution=Distribution(columns={"code": Drift(psi=0.1), "n": Drift(psi=9.0)}))

    examined = examine(spec, path, format="csv", reference=reference, now=NOW)

    assert examined.verdict.accepted
    assert examined.profile.columns["code"].top(1) == [("01", 200)]


def _write(folder: Path, form: str, rows: int) -> Path:
    """Write a large table; a Parquet file has one row group only."""
    path = folder / f"{rows}.{form}"
    table = _table(rows, 1).with_columns(pl.lit("padding " * 8).alias("text"), pl.col("x").alias("z"))
    if form == "csv":
        table.write_csv(path)
    else:
        table.write_parquet(path, compression="uncompressed", row_group_size=rows, use_pyarrow=False)
    return path


@pytest.mark.parametrize(("form", "rows"), [("csv", 1_500_000), ("parquet", 3_000_000)])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, form: str, rows: int) -> None:
    spec = tmp_path / "tests.yaml"
    spec.write_text(SPEC)
    peaks = []
    # Both are larger than what a reader has at a time; a smaller one takes less.
    for size in (rows // 2, rows):
        path = _write(tmp_path, form, size)
        command = [sys.executable, "-c", MEASURED, str(spec), str(path), "--out", str(tmp_path / "out")]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        sentence, told = answer.strip().split("\n")
        assert "accepted" in sentence
        peaks.append(int(told.split()[1]))
        path.unlink()

    assert max(peaks) < MOST_KB
    assert peaks[1] - peaks[0] < 60_000


def test_the_command_runs_without_airflow_and_without_azure(tmp_path: Path, file: Path) -> None:
    package = Path(airflow_azureml.__file__).parent
    code = tmp_path / "code" / "airflow_azureml"
    for part in ("core", "quality"):
        shutil.copytree(package / part, code / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("__init__.py", "errors.py"):
        shutil.copy(package / part, code / part)
    spec = _csv(tmp_path / "tests.yaml", "schema: 1\ncolumns: {age: {at_most: 50}}\n")
    command = [sys.executable, "-c", APART, str(spec), str(file), "--out", str(tmp_path / "out")]

    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(code.parent)}
    )

    assert done.stderr == ""
    where, sentence = done.stdout.strip().split("\n")
    assert where == str(code / "__init__.py")
    assert sentence.endswith("age: at most 50 does not hold in 1 of 2 rows: row 2: 52.0.")
    assert done.returncode == 3
    told = Verdict.from_wire(json.loads((tmp_path / "out" / "verdict.json").read_text()))
    assert told.facts["rows"] == "2"


def test_the_command_says_by_its_code_what_came_of_it(tmp_path: Path, file: Path) -> None:
    spec = _csv(tmp_path / "tests.yaml", "schema: 1\nfreshness: {within: 3h, column: seen}\n")
    drift = _csv(tmp_path / "drift.yaml", "schema: 1\ndistribution: {rows_at_least: 2, columns: {'*': {psi: 0.1}}}\n")
    profile, out = tmp_path / "reference.json", tmp_path / "out"

    def code(*arguments: object) -> int:
        return main([*map(str, arguments), "--out", str(out)])

    assert code(spec, file, "--now", "2026-11-21T12:00:00Z") == 0
    assert code(spec, file, "--now", "2026-11-21T13:00:00Z") == 3
    shutil.copy(out / "profile.json", profile)
    assert code(drift, file, "--reference", profile) == 0
    assert (out / "report.html").read_text().startswith("<!")
    assert Verdict.from_wire(json.loads((out / "verdict.json").read_text())).accepted


def test_the_command_tells_what_it_cannot_use(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = _csv(tmp_path / "tests.yaml", "schema: 1\ncolumns: {age: {}}\n")
    wrong = _csv(tmp_path / "wrong.yaml", "schema: 1\ncolumns: {age: {at_mots: 5}}\n")
    out = ("--out", str(tmp_path / "out"))
    for arguments, told in [
        ((wrong, file), "wrong.yaml, line 2, column 17: 'at_mots' is not known here"),
        ((tmp_path / "no.yaml", file), "No such file or directory"),
        ((spec, file, "--reference", spec), "tests.yaml is no JSON"),
        ((spec, file, "--now", "noon"), "--now noon is no time in ISO 8601."),
        ((spec, tmp_path / "t.xlsx"), "does not tell its format; say which: csv, parquet, jsonl."),
        ((spec, tmp_path / "no.csv"), "No such file or directory"),
    ]:
        code = main([*map(str, arguments), *out])

        assert code == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
