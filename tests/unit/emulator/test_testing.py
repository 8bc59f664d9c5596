"""What others test with: an emulator in one line, as `azureml_emulator.testing` promises it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from azureml_emulator.testing import ControlError, Emulator, Fault, Workspace, emulator
from azureml_emulator.tokens import issue
from demo.azure import AZURITE_PROGRAM, ROOT, Azurite

SECTION = (ROOT / "emulator/README.md").read_text().partition("\n## In tests\n")[2].partition("\n## ")[0]
#: What the README tells a user to write: the conftest, and tests.
CONFTEST, *EXAMPLES = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
OPTIONS = """
import pytest

@pytest.fixture(scope="session")
def azureml_emulator_options():
    return ["--location", "northeurope"]
"""
USERS_TEST = """
def test_anything_may_be_set(azureml_workspace, azureml_control):
    azureml_control.clock.freeze()
    azureml_control.put("faults", [{"path": "/nowhere", "status": 500}])
    azureml_control.put("events", [{"lost": True}])
    azureml_control.put("online", [{"fails": "OutOfQuota"}])
    azureml_control.put("tokens", {"lifetime_s": 9})
    azureml_control.put("quotas", {"Total Cluster Dedicated Regional vCPUs": {"limit": 0}})
    azureml_control.put("permissions", [])
    azureml_control.put("rights", {"*": {"*": "none"}})
    azureml_control.put("computes", {"cpu": {"state": "Unknown"}})


def test_and_nothing_of_it_is_left_for_the_next(azureml_control):
    left = ("faults", "events", "online", "quotas", "rights", "computes")
    assert [azureml_control.get(what) for what in left] == [[], [], [], {}, {}, {}]
    assert azureml_control.get("tokens") == {"lifetime_s": 86400}
    assert azureml_control.get("permissions")[0]["actions"] == ["*"]
    assert azureml_control.get("clock")["frozen"] is False


def test_the_emulator_has_the_options_of_the_conftest(azureml_workspace):
    assert azureml_workspace.ml_client().workspaces.get(azureml_workspace.name).location == "northeurope"


def test_each_test_has_a_workspace_of_its_own(azureml_workspace):
    assert list(azureml_workspace.ml_client().jobs.list()) == []
"""
#: Two emulators of one process, the one after the other.
TWO = """
import sys, time
from azureml_emulator.authority import AUTHORITY
from azureml_emulator.testing import emulator

told = {"azurite_blob": sys.argv[1], "azurite_queue": sys.argv[2]}
with emulator(options=["--tenant", "0f0f0f0f-1111-2222-3333-444444444444"], **told) as one:
    print(AUTHORITY.is_strict)
    one.control.clock.freeze()
    one.control.clock.advance(10**6)
with emulator(**told) as other:
    print(AUTHORITY.is_strict, other.control.get("clock")["frozen"])
    print(abs(other.control.clock.now().timestamp() - time.time()) < 60)
"""


@pytest.fixture(scope="module")
def running(azurite: Azurite) -> Iterator[Emulator]:
    with emulator(azurite_blob=azurite.blob_url, azurite_queue=azurite.queue_url) as made:
        yield made


def _get(workspace: Workspace, path: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    url = f"{workspace.control.http}{workspace.arm_id}{path}?api-version=2024-04-01"
    return httpx.get(url, headers=headers, timeout=20, trust_env=False)


def test_a_workspace_is_made_in_one_line_and_found_by_its_name_again(running: Emulator) -> None:
    made = running.workspace("one")

    assert running.workspace("one").arm_id == made.arm_id
    assert running.workspace().arm_id != running.workspace().arm_id
    assert _get(made, "").json()["name"] == "one"


def test_the_clock_stands_still_until_it_is_moved(running: Emulator) -> None:
    clock = running.control.clock
    clock.freeze()
    before = clock.now()

    clock.advance(90)

    assert (clock.now() - before).total_seconds() == pytest.approx(90, abs=0.01)
    clock.go_on()


def test_a_fault_strikes_while_its_block_lasts(running: Emulator) -> None:
    workspace = running.workspace("faulty")
    with running.control.faults(Fault(path=".*/workspaces/faulty", status=503)):
        assert [_get(workspace, "").status_code, running.control.struck()] == [503, 1]
    assert _get(workspace, "").status_code == 200


def test_a_body_breaks_off_where_the_fault_says_so(running: Emulator) -> None:
    workspace = running.workspace("cut")
    with (
        running.control.faults(Fault(path=".*/workspaces/cut", truncate_bytes=10)),
        pytest.raises(httpx.RemoteProtocolError, match=r"received 10 bytes"),
    ):
        _get(workspace, "")
    assert _get(workspace, "").status_code == 200


def test_what_the_interface_refuses_is_an_error_with_its_words(running: Emulator) -> None:
    with pytest.raises(ControlError, match=r"PUT /control/quotas: 400 "):
        running.control.put("quotas", [])


def test_a_process_of_its_own_serves_the_same(azurite: Azurite, tmp_path: Path) -> None:
    told = {"azurite_blob": azurite.blob_url, "azurite_queue": azurite.queue_url}
    with emulator(folder=tmp_path, own_process=True, **told) as made:
        assert _get(made.workspace("apart"), "").status_code == 200


def test_fixtures_serve_a_users_own_tests_and_those_of_the_readme(azurite: Azurite, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST + OPTIONS)
    for number, text in enumerate([*EXAMPLES, USERS_TEST]):
        (tmp_path / f"test_{number}.py").write_text(text)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "AZURITE_BLOB": azurite.blob_url,
        "AZURITE_QUEUE": azurite.queue_url,
    }

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-3000:]
    assert len(EXAMPLES) == 2
    assert "6 passed" in done.stdout


def test_the_last_emulator_of_a_process_leaves_its_clock_and_its_tenant_to_nobody(azurite: Azurite) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWO, azurite.blob_url, azurite.queue_url], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["True", "False", "False", "True"]


def test_azurite_is_started_where_none_is_named(tmp_path: Path) -> None:
    with emulator(folder=tmp_path, azurite_program=str(AZURITE_PROGRAM)) as made:
        assert _get(made.workspace("whole"), "/datastores/workspaceblobstore").status_code == 200
    assert (tmp_path / "azurite" / "azurite.log").exists()
