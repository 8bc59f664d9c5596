"""``airflow azureml ledger …``, in this process, on a real SQLite file and in a real Azurite."""

from __future__ import annotations

import argparse
import asyncio
import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection
from azure.storage.blob import BlobServiceClient

from airflow_azureml.cli import ledger as cli
from airflow_azureml.client.blob_documents import BlobDocuments
from airflow_azureml.client.ledger import Ledger
from airflow_azureml.client.sql_documents import SqlDocuments
from airflow_azureml.core.documents import Documents
from airflow_azureml.errors import ConfigError
from airflow_azureml.hooks.ledgers import sql_url
from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite
from tests.unit.provider.arrivals.ledger_world import arrival
from tests.unit.provider.arrivals.local import SETTINGS

A, B, C = (arrival(f"in/{name}.csv") for name in ("a", "b [bold]\x07", "c"))
Run = Callable[..., str]


async def settle(documents: Documents, *, name: str = "default") -> None:
    """Leave one blob scored, one rejected, and one claimed."""
    ledger = Ledger(documents=documents, name=name)
    found = await ledger.sort([A, B, C])
    both, one = await ledger.claim([found.open[:2], found.open[2:]], owner="dag/run/claim")
    await ledger.submit(both.id, owner="dag/run/claim", job="job-1", rejected={B.key: "no CSV"})
    await ledger.scored(both.id, job="job-1", output="azureml://out")
    assert one.state.value == "claimed"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on a ledger in a SQLite file, as a person types it; returns what it prints."""
    file = tmp_path / "ledger.db"

    async def _fill() -> None:
        async with SqlDocuments(f"sqlite:///{file}") as documents:
            await settle(documents)

    asyncio.run(_fill())
    monkeypatch.setenv("AIRFLOW_CONN_LEDGER_DB", json.dumps({"conn_type": "sqlite", "host": str(file)}))

    def _run(*words: str) -> str:
        command(words, more=[] if "--ledger" in words else ["--ledger", "ledger_db"])
        return capsys.readouterr().out

    return _run


def command(words: Sequence[str], *, more: Sequence[str] = ()) -> None:
    """Parse the words as Airflow does, and do what they say."""
    chosen = next(each for each in cli.COMMAND.subcommands if each.name == words[0])
    parser = argparse.ArgumentParser(prog=chosen.name)
    parsed: Any = chosen
    for arg in parsed.args:
        arg.add_to_parser(parser)
    parsed.func(parser.parse_args([*words[1:], *more]))


def test_what_became_of_each_blob_is_shown_and_nothing_in_a_name_reaches_the_terminal(run: Run) -> None:
    told = run("show")

    lines = {line.split()[0]: line for line in told.splitlines()}
    assert "in/a.csv" in lines["scored"]
    assert "job-1" in lines["scored"]
    assert r"in/b [bold]\x07.csv" in lines["rejected"]
    assert "no CSV" in lines["rejected"]
    assert "in/c.csv" in lines["claimed"]
    assert told.endswith("3 blob versions are shown.\n")


def test_only_what_is_asked_for_is_shown_and_no_more_than_that(run: Run) -> None:
    assert "1 blob versions are shown." in run("show", "--state", "scored")
    assert "2 blob versions are shown." in run("show", "--state", "scored", "--state", "rejected")
    assert "1 blob versions are shown." in run("show", "--path", "in/c")
    assert "0 blob versions are shown." in run("show", "--path", "c")
    assert "1 blob versions are shown; there are more than --at-most 1." in run("show", "--at-most", "1")


def test_json_holds_all_there_is_to_say(run: Run) -> None:
    rows = {each["path"]: each for each in json.loads(run("show", "--output", "json"))}

    assert set(rows) == {A.path, B.path, C.path}
    assert rows[A.path] | {"batch": "", "times": {}} == {
        "key": A.key,
        "state": "scored",
        "turn": 1,
        "container": "acme/incoming",
        "path": "in/a.csv",
        "etag": "0x1",
        "size_bytes": 10,
        "batch": "",
        "owner": "dag/run/claim",
        "job": "job-1",
        "output": "azureml://out",
        "times": {},
        "reason": "",
    }
    assert set(rows[A.path]["times"]) == {"claiming", "claimed", "submitted", "scored"}
    assert [each["path"] for each in json.loads(run("show", "-o", "json", "--batch", rows[C.path]["batch"]))] == [
        C.path
    ]


def test_a_blob_that_is_done_is_open_again_after_a_retry(run: Run) -> None:
    assert "1 blob versions are open again" in run("retry", A.key)
    assert "1 blob versions are open again" in run("retry", B.path)

    assert "2 blob versions are shown." in run("show", "--state", "open")
    with pytest.raises(SystemExit, match="nothing was scored or rejected there, so it is open already"):
        run("retry", A.key)


def test_a_blob_that_is_forgotten_is_gone(run: Run) -> None:
    assert "1 blob versions are forgotten" in run("forget", A.path)

    assert "in/a.csv" not in run("show")
    with pytest.raises(SystemExit, match=r"ledger forget: Ledger 'default' knows no blob 'in/a.csv'"):
        run("forget", A.path)


@pytest.mark.parametrize("verb", ["retry", "forget"])
def test_a_blob_that_a_batch_has_which_has_not_ended_is_left_alone(run: Run, verb: str) -> None:
    with pytest.raises(SystemExit, match=rf"ledger {verb}: Blob {C.key} is claimed by batch .* of dag/run/claim"):
        run(verb, C.key)


def test_nothing_young_is_folded_away(run: Run) -> None:
    assert "0 blob versions and 0 batches were folded away" in run("compact")
    with pytest.raises(SystemExit, match="--older-than-days must be 1 or more"):
        run("compact", "--older-than-days", "0")
    with pytest.raises(SystemExit, match="--older-than-days must be 36500 at most"):
        run("compact", "--older-than-days", "99999999999")


def test_what_is_wrong_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ODD", json.dumps({"conn_type": "mysql", "host": "h", "password": "s3cr3t"}))

    for words, message in (
        (["--ledger", "never_db"], "There is no connection 'never_db'"),
        (["--ledger", "odd"], "Connection 'odd' is of type 'mysql'; a ledger is kept in a database of type postgres"),
        (["--name", "../x"], r"'\.\./x' is no ledger's name"),
        (["--at-most", "0"], "--at-most must be 1 or more"),
        (["--ledger", "https://acme.queue.core.windows.net"], "--ledger 'https://acme.queue.core.windows.net' is none"),
        (["--ledger", "https://acme.blob.core.windows.net/a/b"], "--ledger 'https://.*/a/b' is none"),
        (["--ledger", "https://acme.blob.core.windows.net/x?sig=s3cr3t"], "The storage URL of host acme.blob"),
    ):
        with pytest.raises(SystemExit, match=f"^airflow azureml ledger show: {message}") as raised:
            run("show", *words)
        assert "s3cr3t" not in str(raised.value)


def test_a_ledger_beside_the_blobs_is_shown_and_forgets_what_is_gone(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place, container = f"{azurite.blob_url}/{ACCOUNT}", f"l{uuid.uuid4().hex[:12]}"

    async def _fill() -> None:
        async with BlobDocuments(SETTINGS, f"{place}/{container}") as documents:
            await settle(documents, name="mine")

    asyncio.run(_fill())
    monkeypatch.setenv("AIRFLOW_CONN_AZUREML_DEFAULT", CONNECTION)
    where = ["--ledger", f"{place}/{container}", "--name", "mine"]
    command(["show", *where])
    assert "3 blob versions are shown." in capsys.readouterr().out

    service = BlobServiceClient(place, credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY})
    service.create_container(f"c{container}")
    command(["compact", "--forget-gone", f"{place}/c{container}", *where])
    assert "0 blob versions that are gone were forgotten." in capsys.readouterr().out


CONNECTION = json.dumps(
    {
        "conn_type": "azureml",
        "extra": {
            "subscription_id": "00000000-0000-0000-0000-000000000001",
            "resource_group": "local",
            "workspace": "local",
            "authentication": "emulator",
            "endpoint": "http://127.0.0.1:1",
        },
    }
)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"conn_type": "sqlite", "host": "/data/a.db"}, "sqlite:////data/a.db"),
        (
            {"conn_type": "postgres", "host": "db", "login": "a@b", "password": "p/w:%", "schema": "s", "port": 5433},
            "postgresql://a%40b:p%2Fw%3A%25@db:5433/s",
        ),
        (
            {"conn_type": "postgres", "host": "::1", "schema": "s", "extra": '{"sslmode": "require"}'},
            "postgresql://[::1]/s?sslmode=require",
        ),
    ],
)
def test_a_connection_of_airflows_is_a_database(fields: dict[str, Any], url: str) -> None:
    assert sql_url(Connection(conn_id="db", **fields)) == url


@pytest.mark.parametrize(("fields"), [{"conn_type": "http"}, {"conn_type": "postgres", "extra": "[]"}])
def test_one_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Connection 'db'"):
        sql_url(Connection(conn_id="db", **fields))
