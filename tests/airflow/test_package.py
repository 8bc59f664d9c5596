"""What holds for the whole package: it loads light, it is known to Airflow, and nothing is forgotten."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger

import airflow_azureml
from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.core.ml_filters import ModelFilter
from airflow_azureml.core.rollout import Policy
from airflow_azureml.core.rollout_record import Rollout
from airflow_azureml.core.scan import Scan
from airflow_azureml.core.search import Search
from airflow_azureml.core.waiting import WaitPolicy
from airflow_azureml.core.workspace import CREDENTIAL_FIELDS, OPTIONAL, REQUIRED
from airflow_azureml.messaging import ServiceBusTrigger, StorageQueueTrigger
from airflow_azureml.provider import CONNECTION_FIELDS, get_provider_info
from airflow_azureml.triggers.arrivals import BlobArrivalTrigger
from airflow_azureml.triggers.condition import BlobSearchTrigger, ConditionTrigger
from airflow_azureml.triggers.job import JobTrigger
from airflow_azureml.triggers.ml_events import WorkspaceEventTrigger
from airflow_azureml.triggers.pause import PauseTrigger
from airflow_azureml.triggers.rollout import RolloutTrigger
from airflow_azureml.triggers.scan import BlobScanTrigger

ROOT = Path(__file__).resolve().parents[2]
MODULES = [each.name for each in pkgutil.walk_packages(airflow_azureml.__path__, "airflow_azureml.")]
TRIGGERS = [
    PauseTrigger(until=2.5, began_at=1.0, deferred_at=1.5),
    JobTrigger(conn_id="c", job="j", submitted_at=1.5, policy=WaitPolicy().to_wire(), on_kill_action="leave"),
    ConditionTrigger(
        conn_id="c", condition="model", arguments={"model": "m"}, began_at=1.5, policy=WaitPolicy().to_wire()
    ),
    BlobSearchTrigger(
        conn_id="c",
        search=Search(account_url="https://acme.blob.core.windows.net", wanted=ArrivalFilter(container="in")).to_wire(),
        began_at=1.5,
        policy=WaitPolicy().to_wire(),
    ),
    RolloutTrigger(
        conn_id="c",
        rollout=Rollout(endpoint="e").to_text(),
        policy=Policy().to_wire(),
        progress={"began_at": 1.5, "sure_at": 1.5},
    ),
    BlobArrivalTrigger(
        queue_url="http://127.0.0.1:1/devstoreaccount1/q",
        conn_id="c",
        account="devstoreaccount1",
        wanted=ArrivalFilter(container="in", prefix="p", glob="*.csv", content_types=["text/*"]).to_wire(),
    ),
    StorageQueueTrigger(queue_url="http://127.0.0.1:1/devstoreaccount1/arrivals", container="incoming"),
    ServiceBusTrigger(
        queue_url="sb://clinic-north.servicebus.windows.net/arrivals", account="acme", container="incoming"
    ),
    WorkspaceEventTrigger(
        queue_url="http://127.0.0.1:1/devstoreaccount1/q", workspace="s/g/w", wanted=ModelFilter(model="m*").to_wire()
    ),
    BlobScanTrigger(
        asset="a",
        conn_id="c",
        scan=Scan(account_url="https://acme.blob.core.windows.net", wanted=ArrivalFilter(container="in")).to_wire(),
    ),
]


def public(kind: type[Any]) -> list[type[Any]]:
    found = {
        one
        for name in MODULES
        for one in vars(importlib.import_module(name)).values()
        if inspect.isclass(one) and issubclass(one, kind) and one.__module__.startswith("airflow_azureml.")
    }
    return sorted(found, key=lambda one: one.__name__)


def test_what_a_dag_file_imports_loads_nothing_of_azure() -> None:
    names = (
        "operators.pipeline",
        "operators.job",
        "operators.arrivals",
        "operators.gate",
        "operators.evidence",
        "operators.approval",
        "operators.integration",
        "task_groups.arrivals",
        "task_groups.drift",
        "task_groups.retraining",
        "task_groups.rollout",
        "watchers",
        "provider",
        "links",
    )
    imports = "import " + ", ".join(f"airflow_azureml.{name}" for name in names)
    libraries = {"azure", "aiohttp", "mlflow", "pandas", "sklearn", "requests", "polars", "pandera", "scipy"}
    heavy = f"{{m.split('.')[0] for m in sys.modules}} & {libraries}"

    done = subprocess.run(
        [sys.executable, "-c", f"import airflow.sdk, sys; before = {heavy}; {imports}; print({heavy} - before)"],
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: type(trigger).__name__)
def test_a_trigger_comes_back_from_the_database_as_it_went(trigger: Any) -> None:
    path, fields = trigger.serialize()
    stored = json.loads(json.dumps(fields))
    module, _, name = path.rpartition(".")

    again = getattr(importlib.import_module(module), name)(**stored)

    assert again.serialize() == (path, fields)


def test_every_trigger_is_tried() -> None:
    concrete = {one for one in public(BaseTrigger) if not inspect.isabstract(one)}

    assert concrete == {type(trigger) for trigger in TRIGGERS}


@pytest.mark.parametrize("operator", public(BaseOperator), ids=lambda operator: operator.__name__)
def test_an_operators_templates_are_arguments_of_its_own(operator: Any) -> None:
    accepted = {name for kind in operator.__mro__ for name in inspect.signature(kind.__init__).parameters}

    own = set(operator.template_fields) - set(BaseOperator.template_fields)
    assert own <= set(accepted)


@pytest.mark.parametrize("module", MODULES)
def test_a_modules_public_names_are_there(module: str) -> None:
    loaded = importlib.import_module(module)

    for name in getattr(loaded, "__all__", ()):
        assert hasattr(loaded, name)


def test_the_connection_form_has_exactly_the_fields_that_are_parsed() -> None:
    assert set(CONNECTION_FIELDS) == {*REQUIRED, *OPTIONAL}
    offered = CONNECTION_FIELDS["authentication"]["schema"]["enum"]
    assert offered == [kind.value for kind in CREDENTIAL_FIELDS]


def test_airflow_finds_what_the_provider_tells_of() -> None:
    info = get_provider_info()
    named = [
        module
        for kind in ("operators", "sensors", "hooks", "triggers")
        for one in info[kind]
        for module in one["python-modules"]
    ]
    named += [info["connection-types"][0]["hook-class-name"], *info["extra-links"]]
    named += [one["class-name"] for one in info["task-decorators"]]

    for name in named:
        module, _, attribute = name.rpartition(".")
        assert name in MODULES or hasattr(importlib.import_module(module), attribute)


def test_every_dag_parses_without_a_warning_and_stays_short() -> None:
    script = (
        "import warnings, sys; warnings.simplefilter('error');"
        "from airflow.dag_processing.dagbag import DagBag;"
        "bag = DagBag(dag_folder=sys.argv[1]); print(sorted(bag.dags), bag.import_errors)"
    )
    for file in sorted((ROOT / "dags").glob("*.py")):
        done = subprocess.run([sys.executable, "-c", script, str(file)], check=False, capture_output=True, text=True)

        assert done.stdout.splitlines()[-1:] == [f"['{file.stem}'] {{}}"], done.stderr[-2000:]
        assert len(file.read_text().splitlines()) < 80
