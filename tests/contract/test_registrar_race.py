"""Eight retrainings of one model that register and crown at the same time: one champion, no version lost."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator

import httpx
import pytest

from airflow_azureml.client.models import Registrar, open_registrar
from airflow_azureml.client.register_store import BlobShelf
from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.models import Registration
from demo.azure import ACCOUNT
from tests.contract.conftest import WORKSPACE, Emulator
from tests.contract.registering import BEARER, Trained, Workspace, in_reach, settings_of

RACERS, ROUNDS, PROCESSES = 8, 50, 4
FOLDERS = [
    *(f"r{round_}-{racer}" for round_ in range(ROUNDS) for racer in range(RACERS)),
    *(f"p{number}" for number in range(PROCESSES)),
]
#: A worker of its own: it says when it is ready, begins when it is told, and says whether it won.
WORKER = """
import json, sys
from airflow_azureml.client.models import open_registrar
from airflow_azureml.core.models import Registration
from airflow_azureml.core.workspace import ConnectionSettings

settings, model, job, source, path = sys.argv[1:]
with open_registrar(ConnectionSettings.parse(json.loads(settings), conn_id="worker")) as registrar:
    print("ready", flush=True)
    sys.stdin.readline()
    made = registrar.register(Registration(model=model, job=job, output="model", path=path), source=source)
    print(registrar.crown(model, made.version.version, expected="").crowned)
"""


@pytest.fixture(scope="module")
def workspace(emulator: Emulator) -> Iterator[Workspace]:
    with httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=30) as http:
        yield Workspace(emulator, http)


@pytest.fixture(scope="module")
def trained(workspace: Workspace) -> Trained:
    return workspace.train(FOLDERS)


class Racer(Registrar):
    """One who has seen to it already that the outputs are there, which is no part of the race."""

    def _check_source(self, registration: Registration, source: str) -> None:
        assert source.endswith(f"/{registration.job}/")


def near(opened: Registrar, port: int) -> BlobShelf:
    """Open the same registers at Azurite itself."""
    container, _, folder = StorageUrl.parse(opened.shelf.url).path.partition("/")
    return BlobShelf(opened.settings, f"http://127.0.0.1:{port}/{ACCOUNT}/{container}", folder=folder)


def race(emulator: Emulator, trained: Trained, model: str, won: list[list[str]]) -> list[BaseException]:
    """Let each racer, with connections of its own, register and crown in each round, all begun at once.

    They go straight to Azurite, which takes less time than the emulator's door.

    Before each round one of them asks for the champion, with which all of the round were compared.
    """
    failures, compared = list[BaseException](), [""]
    racers: dict[int, Racer] = {}

    def _ask() -> None:
        champion = racers[0].champion(model)
        compared[0] = "" if champion is None else champion.version

    start, end = threading.Barrier(RACERS, action=_ask, timeout=100), threading.Barrier(RACERS, timeout=100)

    def _racer(number: int) -> None:
        try:
            with open_registrar(settings_of(emulator)) as opened, near(opened, emulator.blob_port) as shelf:
                racers[number] = Racer(settings=opened.settings, client=opened.client, shelf=shelf)
                for round_ in range(ROUNDS):
                    start.wait()
                    if run(racers[number], trained, model, f"r{round_}-{number}", expected=compared[0]):
                        won[round_].append(f"r{round_}-{number}")
                    end.wait()
        except BaseException as error:  # noqa: BLE001  # told by the test, whatever it is
            failures.append(error)
            start.abort()
            end.abort()

    threads = [threading.Thread(target=_racer, args=(number,)) for number in range(RACERS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return failures


def run(registrar: Registrar, trained: Trained, model: str, path: str, *, expected: str) -> bool:
    registered = registrar.register(trained.registration(model, path), source=trained.source)
    return registrar.crown(model, registered.version.version, expected=expected).crowned


def test_eight_retrainings_at_once_end_with_one_champion_and_no_lost_version_fifty_times(
    emulator: Emulator, workspace: Workspace, trained: Trained
) -> None:
    model, won = f"m-{uuid.uuid4().hex[:10]}", [list[str]() for _ in range(ROUNDS)]
    with in_reach(emulator):
        failures = race(emulator, trained, model, won)
        with open_registrar(settings_of(emulator)) as registrar:
            champion = registrar.champion(model)

    assert failures == []
    assert [len(each) for each in won] == [1] * ROUNDS
    versions = workspace.versions(model)
    assert sorted(map(int, versions)) == list(range(1, RACERS * ROUNDS + 1))
    assert sorted(one["modelUri"].rpartition("/")[2] for one in versions.values()) == sorted(FOLDERS[:-PROCESSES])
    assert champion is not None
    assert champion.uri.rpartition("/")[2] == won[-1][0]
    stages = [one["tags"]["stage"] for one in versions.values()]
    assert (stages.count("champion"), stages.count("retired")) == (1, ROUNDS - 1)


def test_processes_that_register_the_first_versions_at_once_make_one_of_them_the_champion(
    emulator: Emulator, workspace: Workspace, trained: Trained
) -> None:
    model = f"m-{uuid.uuid4().hex[:10]}"
    subscription, group, name = WORKSPACE.split("/")
    extra = {"subscription_id": subscription, "resource_group": group, "workspace": name}
    extra |= {"authentication": "emulator", "endpoint": emulator.addresses.http}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps(extra), model, trained.job, trained.source, f"p{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for each in started:
        assert each.stdout is not None
        while "ready" not in (line := each.stdout.readline()):
            assert line, "it ended before it was ready"
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    said = [each.communicate(timeout=60)[0].split()[-1] for each in started]

    assert sorted(said) == ["False"] * (PROCESSES - 1) + ["True"]
    stages = workspace.stages(model)
    assert sorted(stages) == ["1", "2", "3", "4"]
    assert sorted(stages.values()) == ["challenger"] * (PROCESSES - 1) + ["champion"]
