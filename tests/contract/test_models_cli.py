"""``airflow azureml models …``, in this process, on the real emulator and the real Azurite."""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_azureml.cli import models as cli
from tests.contract.conftest import WORKSPACE, Emulator
from tests.contract.registering import BEARER, Workspace

Run = Callable[..., str]


@pytest.fixture
def run(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command as a person types it; returns what it prints."""
    subscription, group, workspace = WORKSPACE.split("/")
    extra = {
        "subscription_id": subscription,
        "resource_group": group,
        "workspace": workspace,
        "authentication": "emulator",
        "endpoint": emulator.addresses.http,
    }
    monkeypatch.setenv("AIRFLOW_CONN_AZUREML_DEFAULT", json.dumps({"conn_type": "azureml", "extra": extra}))

    def _run(*words: str) -> str:
        parsed: Any = next(each for each in cli.COMMAND.subcommands if each.name == words[0])
        parser = argparse.ArgumentParser(prog=parsed.name)
        for arg in parsed.args:
            arg.add_to_parser(parser)
        parsed.func(parser.parse_args(words[1:]))
        return capsys.readouterr().out

    return _run


@pytest.fixture
def model(emulator: Emulator) -> str:
    """A model with two versions that somebody registered in the studio."""
    name = f"m-{uuid.uuid4().hex[:10]}"
    with httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=30) as http:
        for version in "12":
            Workspace(emulator, http).put(name, version)
    return name


def test_a_person_makes_the_first_champion_goes_on_and_goes_back(run: Run, model: str) -> None:
    assert f"0 versions of {model} are in its register; its champion: none." in run("show", model)

    assert "its champion: version 1." in run("crown", model, "1")
    assert "its champion: version 2." in run("crown", model, "2")
    with pytest.raises(SystemExit, match=r"Version 1 was the champion before.*To go back to it, say --again\."):
        run("crown", model, "1")
    assert "its champion: version 1." in run("crown", model, "1", "--again")

    shown = run("show", model).splitlines()
    assert [line.split()[:2] for line in shown[:2]] == [["1", "champion"], ["2", "retired"]]


def test_without_a_champion_there_is_none_to_retire(run: Run, model: str) -> None:
    run("crown", model, "2")

    assert "its champion: none." in run("retire", model)
    with pytest.raises(SystemExit, match=f"models retire: Model {model} has no champion"):
        run("retire", model)


def test_what_cannot_be_done_is_one_sentence(run: Run, model: str) -> None:
    with pytest.raises(SystemExit, match=f"models crown: Version 7 of model {model} is not there"):
        run("crown", model, "7")
    run("crown", model, "1")
    with pytest.raises(SystemExit, match=r"models rebuild: .*can be read"):
        run("rebuild", model)
    with pytest.raises(SystemExit, match="models show: register is 'nowhere'; it must be a folder"):
        run("show", model, "--register", "nowhere")
    with pytest.raises(SystemExit, match="models show: There is no connection 'other'"):
        run("show", model, "--conn-id", "other")
