"""``airflow azureml dead-letters …``, in this process, on queues of a real Azurite."""

from __future__ import annotations

import argparse
import base64
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from azure.storage.queue import QueueClient

from airflow_azureml.cli import dead_letters as cli
from airflow_azureml.core.dead_letters import POISON, DeadLetter
from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite
from tests.unit.provider.arrivals.test_ledger_cli import CONNECTION

#: What moves a cursor, names a window, writes from right to left, and cannot be written at all.
HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202eevil\x9b31m\ud800"
Run = Callable[..., str]


@pytest.fixture
def aside(azurite: Azurite) -> QueueClient:
    """The queue of the refused, beside its queue."""
    url = f"{azurite.queue_url}/{ACCOUNT}/q{uuid.uuid4().hex[:12]}"
    key = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    QueueClient.from_queue_url(url, credential=key).create_queue()
    made = QueueClient.from_queue_url(url + POISON, credential=key)
    made.create_queue()
    return made


@pytest.fixture
def run(aside: QueueClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on the queue, as a person types it; returns what it prints."""
    monkeypatch.setenv("AIRFLOW_CONN_AZUREML_DEFAULT", CONNECTION)

    def _run(verb: str, *words: str) -> str:
        chosen: Any = next(each for each in cli.COMMAND.subcommands if each.name == verb)
        parser = argparse.ArgumentParser(prog=verb)
        for arg in chosen.args:
            arg.add_to_parser(parser)
        chosen.func(parser.parse_args([aside.url.removesuffix(POISON), *words]))
        return capsys.readouterr().out

    return _run


def test_nothing_that_a_message_holds_reaches_the_terminal(run: Run, aside: QueueClient) -> None:
    letter = DeadLetter(message_id=f"m{HOSTILE}", reason=f"r{HOSTILE}", deliveries=1, content=f"c{HOSTILE}")
    aside.send_message(letter.to_text())

    told = run("list").splitlines()

    assert all(line.isascii() and line.isprintable() for line in told)
    assert told[:3] == ["m?[2J?]0;owned??evil?31m?", "  r?[2J?]0;owned??evil?31m?", "  c?[2J?]0;owned??evil?31m?"]
    assert "1 messages were dropped" in run("drop", "--id", told[0])


def test_no_signature_is_shown_also_where_the_message_is_base64(run: Run, aside: QueueClient) -> None:
    url = b'{"url": "https://acme.blob.core.windows.net/in/a?sv=1&sig=SECRET"}'
    aside.send_message(base64.b64encode(url).decode())

    told = run("list")

    assert "sig=***" in told
    assert "SECRET" not in told


def test_messages_are_named_or_all_are_taken(run: Run, aside: QueueClient) -> None:
    aside.send_message("no envelope")
    ident = run("list").splitlines()[0]

    for words in ([], ["--id", ""], ["--id", ident, "--all"]):
        with pytest.raises(SystemExit, match=r"^airflow azureml dead-letters drop: Name messages with --id"):
            run("drop", *words)
    with pytest.raises(SystemExit, match=r"not found, or held by somebody: m\?$"):
        run("replay", "--id", "m\x1b")
    assert "1 messages were dropped" in run("drop", "--id", ident)
    assert run("list").startswith("0 messages of ")


def test_what_is_wrong_is_one_sentence(run: Run, aside: QueueClient) -> None:
    aside.delete_queue()
    assert run("list").startswith("0 messages of ")

    with pytest.raises(SystemExit, match=r"^airflow azureml dead-letters list: There is no connection 'never'"):
        run("list", "--conn-id", "never")
