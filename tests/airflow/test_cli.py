"""``airflow azureml …`` as a person types it."""

from __future__ import annotations

import uuid

import pytest
from azure.storage.queue import QueueClient

from airflow_azureml.core.dead_letters import DeadLetter
from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite
from demo.processes import StartError
from demo.stack import Airflow


@pytest.fixture
def queue(azurite: Azurite) -> str:
    """A queue, and one message that it refused."""
    url = f"{azurite.queue_url}/{ACCOUNT}/q{uuid.uuid4().hex[:12]}"
    key = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    for name in (url, f"{url}-poison"):
        QueueClient.from_queue_url(name, credential=key).create_queue()
    letter = DeadLetter(message_id="m1", reason="neither JSON nor base64", deliveries=1, content="hello?")
    QueueClient.from_queue_url(f"{url}-poison", credential=key).send_message(letter.to_text())
    return url


def test_dead_letters_are_shown_and_put_back_by_their_ids(airflow: Airflow, queue: str) -> None:
    shown = airflow.cli("azureml", "dead-letters", "list", queue)
    assert "m1\n  neither JSON nor base64\n  hello?\n" in shown
    assert f"1 messages of {queue} are put aside; 1 of them are shown." in shown

    with pytest.raises(StartError, match="Name messages with --id, as `list` shows them, or take --all of them"):
        airflow.cli("azureml", "dead-letters", "drop", queue)
    with pytest.raises(StartError, match="not found, or held by somebody: m2"):
        airflow.cli("azureml", "dead-letters", "replay", queue, "--id", "m2")

    told = airflow.cli("azureml", "dead-letters", "replay", queue, "--id", "m1")
    assert f"1 messages were put back into {queue}." in told
    assert "0 messages" in airflow.cli("azureml", "dead-letters", "list", queue)
