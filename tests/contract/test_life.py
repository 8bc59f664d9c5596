import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from azureml_emulator.cli import main
from azureml_emulator.settings import addresses_path
from azureml_emulator.store import Run, Store
from azureml_emulator.tokens import issue
from tests.contract.conftest import ARM_ID, Emulator, wait_for

HEAD = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}


def client(emulator: Emulator) -> httpx.Client:
    return httpx.Client(base_url=emulator.addresses.http, headers=HEAD, timeout=10, trust_env=False)


def submit(asking: httpx.Client, name: str, command: str) -> httpx.Response:
    spec = {"jobType": "Command", "command": command, "environmentId": "azureml:any:1", "experimentName": "life"}
    return asking.put(f"{ARM_ID}/jobs/{name}?api-version=2024-01-01-preview", json={"properties": spec})


def status(asking: httpx.Client, name: str) -> str:
    found: str = asking.get(f"{ARM_ID}/jobs/{name}").json()["properties"]["status"]
    return found


def test_a_restart_keeps_jobs_assets_and_the_certificate_authority(stopped_emulator: Emulator) -> None:
    stopped_emulator.start()
    authority = (stopped_emulator.state_dir / "tls/ca.pem").read_bytes()
    with client(stopped_emulator) as asking:
        assert submit(asking, "before", "echo one").status_code == 201
        wait_for(lambda: status(asking, "before") == "Completed", "the job completed")
        image = {"properties": {"image": "x", "isAnonymous": False}}
        assert asking.put(f"{ARM_ID}/environments/kept/versions/1", json=image).status_code == 201

    assert stopped_emulator.end() == 0
    assert not addresses_path(stopped_emulator.state_dir).exists()
    stopped_emulator.start()

    with client(stopped_emulator) as asking:
        assert status(asking, "before") == "Completed"
        assert asking.get(f"{ARM_ID}/environments/kept/versions/1").json()["properties"]["image"] == "x"
        assert asking.get(f"{ARM_ID}/jobs/before").json()["properties"]["experimentName"] == "life"
    assert (stopped_emulator.state_dir / "tls/ca.pem").read_bytes() == authority


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_that_was_running_when_the_emulator_died_is_failed(
    stopped_emulator: Emulator, tmp_path: Path, number: signal.Signals
) -> None:
    stopped_emulator.start()
    beat = tmp_path / "beat"
    with client(stopped_emulator) as asking:
        submit(asking, "lost", f"while true; do date +%N > {beat}; sleep 0.1; done")
        wait_for(beat.exists, "the job runs")

    stopped_emulator.end(number)
    stopped_emulator.start()

    with client(stopped_emulator) as asking:
        told = asking.get(f"/history/v1.0{ARM_ID}/runs/lost").json()
        assert told["status"] == "Failed"
        assert "The emulator stopped while job lost was" in told["error"]["error"]["message"]
    last = beat.read_text()
    time.sleep(0.5)  # five beats of the job, if it still had a heart
    assert beat.read_text() == last


def test_a_run_that_an_mlflow_client_began_outlives_the_emulator(stopped_emulator: Emulator) -> None:
    stopped_emulator.start()
    root = f"/mlflow/v2.0{ARM_ID}/api/2.0/mlflow"
    with client(stopped_emulator) as asking:
        made = asking.post(f"{root}/runs/create", json={"experiment_id": "0", "run_name": "mine"}).json()
        run = made["run"]["info"]["run_id"]

    stopped_emulator.end()
    stopped_emulator.start()

    with client(stopped_emulator) as asking:
        assert asking.get(f"{root}/runs/get?run_id={run}").json()["run"]["info"]["status"] == "RUNNING"


def test_a_long_list_of_jobs_comes_in_pages_that_miss_and_repeat_none(stopped_emulator: Emulator) -> None:
    store = Store(stopped_emulator.state_dir)
    names = [f"old-{number}" for number in range(130)]
    for name in names:
        run = Run(workspace=ARM_ID, name=name, kind="Command", status="Completed", spec={"jobType": "Command"})
        assert store.add_run(run)
    store.close()
    stopped_emulator.start()

    with client(stopped_emulator) as asking:
        page = asking.get(f"{ARM_ID}/jobs?api-version=2024-01-01-preview&listViewType=ActiveOnly").json()
        found = [one["name"] for one in page["value"]]
        assert submit(asking, "new-in-between", "true").status_code == 201
        while link := page.get("nextLink"):
            assert link.startswith(f"{stopped_emulator.addresses.http}{ARM_ID}/jobs?api-version=")
            page = asking.get(link).json()
            found += [one["name"] for one in page["value"]]

    assert found == names[::-1]


def test_a_second_emulator_on_the_same_state_is_refused(emulator: Emulator) -> None:
    command = [sys.executable, "-m", "azureml_emulator", "--state-dir", str(emulator.state_dir)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith("azureml-emulator: Another emulator is running with --state-dir")
    assert addresses_path(emulator.state_dir).exists()


def test_private_keys_and_secrets_are_the_owners_alone(emulator: Emulator) -> None:
    secret = [
        emulator.state_dir / name for name in ("tls/ca-key.pem", "tls/leaf-key.pem", "identity-header", "emulator.db")
    ]

    assert [oct(path.stat().st_mode & 0o777) for path in secret] == ["0o600"] * len(secret)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--workspace", "one"], "--workspace 'one' is not SUBSCRIPTION/RESOURCE_GROUP/NAME."),
        (["--http-port", "70000"], "--http-port 70000 is no port; give 0 (a free one) to 65535."),
        (["--azurite-blob", "https://x"], "--azurite-blob 'https://x' is no http://HOST:PORT."),
        (["--python", "/no/python"], "--python /no/python does not exist."),
        (["--max-steps", "0"], "--max-steps 0 would run nothing; give 1 or more."),
        (["--event-queue", ":c"], "--event-queue ':c' names no queue; write QUEUE[:container[/prefix]]."),
        (
            ["--location", "West Europe"],
            "--location 'West Europe' is no region; write it as Azure does, e.g. westeurope.",
        ),
    ],
)
def test_a_bad_option_is_one_sentence_and_exit_code_2(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--state-dir", str(tmp_path), *options]) == 2

    assert capsys.readouterr().err == f"azureml-emulator: {sentence}\n"


def test_an_unknown_option_is_one_sentence_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--worspace", "a/b/c"])

    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_env_without_an_emulator_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--state-dir", str(tmp_path)]) == 1

    assert f"No emulator is ready at {tmp_path}" in capsys.readouterr().err
