import re
import sqlite3
from pathlib import Path

import attrs
import pytest
from starlette.routing import Route

from azureml_emulator.control import Control, add_scripted, application
from azureml_emulator.faults import KINDS
from azureml_emulator.listings import Wanted
from azureml_emulator.scripts import MEMBERS, Script
from azureml_emulator.settings import Settings
from azureml_emulator.store import Run, Store
from demo.azure import ROOT, WORKSPACE_ID

README = (ROOT / "emulator/README.md").read_text()
RUN = Run(workspace=WORKSPACE_ID, name="a", kind="Command", status="Starting", spec={"jobType": "Command"})


@pytest.mark.parametrize("word", [*KINDS, *MEMBERS])
def test_each_effect_of_a_fault_and_each_member_of_a_script_stands_in_the_readme(word: str) -> None:
    assert re.search(rf"^\| `{word}\b", README, re.MULTILINE)


def test_each_route_of_the_control_interface_stands_in_the_readme(tmp_path: Path) -> None:
    store = Store(tmp_path)
    routes = application(Control(store, Settings(state_dir=tmp_path))).routes
    rows = [line.partition(" | ")[0] for line in README.splitlines() if line.startswith("| `")]
    missing = [
        (route.methods, route.path)
        for route in routes
        if isinstance(route, Route)
        and not any(
            all(f"`{method}" in row for method in route.methods or ())
            and re.search(rf"{re.escape(route.path.replace('{name}', 'NAME'))}[ `]", row)
            for row in rows
        )
    ]
    store.close()

    assert len(routes) > 10
    assert missing == []


def test_a_database_from_before_there_were_scripts_is_used_as_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_run(RUN)
    store.close()
    database = sqlite3.connect(tmp_path / "emulator.db")
    for column in ("began", "canceled", "cancel_s"):
        database.execute(f"ALTER TABLE runs DROP COLUMN {column}")
    database.execute("UPDATE runs SET body = json_remove(body, '$.script')")
    database.commit()
    database.close()
    again = Store(tmp_path)

    assert again.run(WORKSPACE_ID, "a") == RUN
    assert add_scripted(again, attrs.evolve(RUN, name="b"), Script.from_wire([["Running", 1]]))
    assert [run.status for run in again.listed(WORKSPACE_ID, Wanted(), most=9)] == ["Running", "Starting"]
    again.close()


def test_a_change_of_a_scripted_run_keeps_what_its_script_says(tmp_path: Path) -> None:
    store = Store(tmp_path)
    add_scripted(store, RUN, Script.from_wire({"statuses": [["Completed", 0]], "outputs": {"o": "x://y"}}))
    changed = store.change_run(WORKSPACE_ID, "a", display_name="b", outputs={})
    again = store.run(WORKSPACE_ID, "a")
    store.close()

    assert changed == again
    assert (changed.display_name, changed.status, changed.outputs["o"]["uri"]) == ("b", "Completed", "x://y")


def test_scripted_runs_are_none_that_the_emulator_has_to_end(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_run(RUN)
    add_scripted(store, attrs.evolve(RUN, name="b"), Script.from_wire([["Running", 1]]))
    live = [run.name for run in store.runs(live=True)]
    store.close()

    assert live == ["a"]
