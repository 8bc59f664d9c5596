"""What was kept is used whole, or refused in words: never taken for an empty workspace."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azureml_emulator import state_file
from azureml_emulator.cli import main
from azureml_emulator.state_file import FILE, FORMAT, StateError
from azureml_emulator.store import Run, Store

WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
NAMES = [f"{WORKSPACE}/models/model-{number}" for number in range(60)]


def filled(folder: Path) -> Path:
    """Make a state folder with models and jobs in it; gives the database."""
    with contextlib.closing(Store(folder)) as store:
        for name in NAMES:
            store.put(name, {"id": name, "name": name.rpartition("/")[2], "properties": {"description": "x" * 300}})
        for number in range(20):
            store.add_run(Run(workspace=WORKSPACE, name=f"job-{number}", kind="Command", status="Completed"))
    return folder / FILE


def everything(folder: Path) -> tuple[list[str], list[str]]:
    """List what a new process finds there."""
    with contextlib.closing(Store(folder)) as store:
        found = [str(one["id"]) for one in (store.get(name) for name in NAMES) if one]
        assert len(store.children(f"{WORKSPACE}/models")) == len(found)
        return found, [run.name for run in store.runs(WORKSPACE)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


def put(folder: Path, data: bytes) -> Path:
    """Make a folder anew, with this for its database."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / FILE).write_bytes(data)
    return folder


def refusal(folder: Path) -> str:
    """Open it, and give the sentence that it is refused with."""
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(StateError) as refused:
        Store(folder)
    assert sorted(path.name for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm"))) == [
        name for name in before if not name.endswith(("-wal", "-shm"))
    ]
    return str(refused.value)


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 0.9999))
def test_a_database_that_was_cut_off_anywhere_is_refused(kept: Path, scratch: Path, share: float) -> None:
    whole = kept.read_bytes()
    folder = put(scratch / "cut", whole[: int(len(whole) * share)])

    assert str(folder / FILE) in refusal(folder)


@settings(max_examples=150, deadline=None)
@given(
    at=st.floats(0, 1),
    length=st.sampled_from([16, 64, 512, 4096]),
    seed=st.integers(0, 9),
    byte=st.sampled_from([b"", b"\0", b"\1", b"\xff"]),
)
def test_a_database_that_was_overwritten_anywhere_is_refused_or_has_everything(
    kept: Path, scratch: Path, at: float, length: int, seed: int, byte: bytes
) -> None:
    whole = kept.read_bytes()
    begin = int(at * (len(whole) - length))
    garbage = byte * length or Random(seed).randbytes(length)  # noqa: S311  # no secret
    folder = put(scratch / "overwritten", whole[:begin] + garbage + whole[begin + length :])

    with contextlib.suppress(StateError):
        found, runs = everything(folder)
        assert (len(found), len(runs)) == (60, 20)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b"{}", "it is no SQLite database"),
        (b"\0" * 8192, "it is no SQLite database"),
        (Random(7).randbytes(9000), "it is no SQLite database"),  # noqa: S311  # no secret
    ],
)
def test_what_is_no_database_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    said = refusal(put(tmp_path / "state", data))

    assert said == (
        f"{tmp_path / 'state' / FILE} is damaged: {words}."
        " Put a copy of it back that is whole, or begin anew with another --state-dir."
    )


def changed(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def test_a_database_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    path = filled(tmp_path)
    changed(path, f"PRAGMA user_version = {FORMAT + 1}", "CREATE TABLE of_tomorrow (x)")
    before = path.read_bytes()

    assert f"{path} is of a newer azureml-emulator: its format is {FORMAT + 1}" in refusal(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("table", ["resources", "runs", "scripts", "metrics", "params"])
def test_a_database_without_one_of_its_tables_is_refused(tmp_path: Path, table: str) -> None:
    changed(filled(tmp_path), f"DROP TABLE {table}")

    assert f"it lacks the table {table}" in refusal(tmp_path)


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    changed(tmp_path / FILE, "CREATE TABLE recipes (name)")

    assert "it lacks the tables resources, runs" in refusal(tmp_path)


def test_a_database_from_before_formats_had_numbers_is_taken(tmp_path: Path) -> None:
    changed(filled(tmp_path), "PRAGMA user_version = 0", "DROP TABLE params")

    assert everything(tmp_path)[0] == NAMES
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as database:
        assert database.execute("PRAGMA user_version").fetchall() == [(FORMAT,)]


def test_a_body_that_is_no_json_is_refused(tmp_path: Path) -> None:
    changed(filled(tmp_path), "UPDATE resources SET body = substr(body, 1, 20) WHERE number = 3")

    assert "the table resources holds what is no JSON" in refusal(tmp_path)


def test_a_text_that_is_none_is_refused(tmp_path: Path) -> None:
    changed(filled(tmp_path), "UPDATE runs SET body = CAST(x'7B2261223A22FF227D' AS TEXT) WHERE number = 3")

    assert f"{tmp_path / FILE} is damaged" in refusal(tmp_path)


@pytest.mark.parametrize("left", [f"{FILE}-wal", "identity-header"])
def test_a_database_that_was_removed_is_missed(tmp_path: Path, left: str) -> None:
    filled(tmp_path).unlink()
    (tmp_path / left).write_bytes(b"x")

    assert f"{tmp_path / FILE} is not there, although {left} is: the workspaces are lost." in refusal(tmp_path)


@pytest.mark.parametrize("log", [b"x", b"\0" * 40, b"garbage" * 900])
def test_a_log_that_was_overwritten_is_refused(tmp_path: Path, log: bytes) -> None:
    path = filled(tmp_path)
    path.with_name(f"{FILE}-wal").write_bytes(log)

    assert f"{FILE}-wal is damaged: it is no write-ahead log of SQLite" in refusal(tmp_path)


def test_a_folder_whose_database_was_being_made_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / f"{FILE}.partial").write_bytes(b"half a data")

    assert everything(tmp_path) == ([], [])
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_database_is_its_owners_alone(tmp_path: Path) -> None:
    filled(tmp_path / "state")

    assert [oct((tmp_path / "state" / name).stat().st_mode & 0o777) for name in ("", FILE)] == ["0o700", "0o600"]


# processes that die

WRITING = """
import pathlib, sys
from azureml_emulator.store import Store
folder, number = pathlib.Path(sys.argv[1]), 0
while True:
    Store(folder / f"new-{number}")  # and never closed
    store = Store(folder / "one")
    for _ in range(20):
        store.put(f"/models/m-{number}", {"id": f"m-{number}", "text": "x" * 5000})
        print(number, flush=True)
        number += 1
    store.close()
"""


@pytest.mark.parametrize("seed", range(6))
def test_a_process_that_is_killed_anywhere_leaves_what_the_next_one_reads(tmp_path: Path, seed: int) -> None:
    command = [sys.executable, "-c", WRITING, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(Random(seed).uniform(0, 0.2))  # noqa: S311  # where it strikes
    process.send_signal(signal.SIGKILL)
    said = [first, *process.communicate()[0].splitlines()]
    acknowledged = [int(line) for line in said if line.strip().isdigit()]

    with contextlib.closing(Store(tmp_path / "one")) as store:
        names = {one["id"] for one in store.children("/models")}
    assert names >= {f"m-{number}" for number in acknowledged[:-1]}
    for folder in tmp_path.glob("new-*"):
        Store(folder).close()


# the emulator's start


def _newer(path: Path) -> None:
    head = bytearray(path.read_bytes())
    head[60:64] = struct.pack(">I", FORMAT + 9)  # where SQLite keeps the user's version
    path.write_bytes(head)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(json.dumps({"state": []}).encode() * 400),
    "newer": _newer,
    "a folder": _folder,
    "a key": lambda path: (path.parent / "tls" / "ca-key.pem").write_text("no key"),
    "a certificate": lambda path: (path.parent / "tls" / "ca.pem").write_bytes(b"\xff" * 90),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_emulator_does_not_start_on_what_is_damaged_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    path = filled(tmp_path)
    state_file.make_folder(tmp_path / "tls")
    for name in ("ca-key.pem", "ca.pem"):
        (tmp_path / "tls" / name).touch()
    if damage not in ("a key", "a certificate"):
        shutil.rmtree(tmp_path / "tls")
    DAMAGES[damage](path)

    code = main(["--state-dir", str(tmp_path), "--azurite-blob", "http://127.0.0.1:1"])

    said = capsys.readouterr().err
    assert [code, said.count("\n"), "Traceback" in said] == [1, 1, False], said
    assert said.startswith(f"azureml-emulator: {tmp_path}")
    assert any(cure in said for cure in ("Put a copy", "Put copies", "Use that release", "See that it")), said
    assert not (tmp_path / "addresses.json").exists()
