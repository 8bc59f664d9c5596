"""Online deployments in a running Airflow: the worker is free while Azure brings one up."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from azureml_emulator.tokens import issue
from demo.azure import WORKSPACE_ID

if TYPE_CHECKING:
    from tests.airflow.conftest import Small

HERE = Path(__file__).resolve().parent
SCORE = "def init(): ...\ndef run(raw_data): return raw_data\n"
ENDPOINT = "airflow-online"
VERSION = {"api-version": "2024-04-01"}


@pytest.fixture(scope="module")
def endpoint(small: Small, dags_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An endpoint without deployments, and a script that needs no model; the conf of a run."""
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}

    url = f"{small.emulator.http}{WORKSPACE_ID}/onlineEndpoints/{ENDPOINT}"
    body = {"location": "westeurope", "properties": {"authMode": "Key"}}
    httpx.put(url, params=VERSION, json=body, headers=bearer, trust_env=False, timeout=30).raise_for_status()
    code = tmp_path_factory.mktemp("code")
    (code / "score.py").write_text(SCORE)
    shutil.copy(HERE / "online_dags.py", dags_folder / "online_dags.py")
    return {"endpoint": ENDPOINT, "code": str(code)}


def test_a_deployment_comes_up_while_its_task_is_deferred_and_a_second_run_finds_it(
    small: Small, endpoint: dict[str, str]
) -> None:
    first = small.begin("online", **endpoint)
    small.until(first, "deferred")
    ended = small.until(first)

    assert ended["state"] == "success", small.log(first)
    result = small.xcom(first)
    assert (result["endpoint"], result["deployment"], result["state"]) == (ENDPOINT, "blue", "Succeeded")
    assert result["done"] == ["deployment created"]

    again = small.begin("online", **endpoint)
    assert small.until(again)["state"] == "success", small.log(again)
    assert small.xcom(again)["done"] == []
