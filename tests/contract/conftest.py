"""An emulator and an Azurite of the tests' own, and the stories that official clients tell of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from azureml_emulator.cli import environment
from azureml_emulator.names import WorkspaceName
from azureml_emulator.settings import Addresses, addresses_path
from demo.processes import free_ports
from tests.contract import shapes
from tests.contract.live import Live

REPOSITORY = Path(__file__).parents[2]
AZURITE = REPOSITORY / "tools/azurite/node_modules/azurite/dist/src/azurite.js"
JUDGES = Path(__file__).parent / "judges"
WORKSPACE = "00000000-0000-0000-0000-000000000001/contract-group/contract-ws"
OTHER = "00000000-0000-0000-0000-000000000002/other-group/other-ws"
ARM_ID = WorkspaceName.parse(WORKSPACE).arm_id
OTHER_ID = WorkspaceName.parse(OTHER).arm_id
PATIENCE_S = 60.0


def wait_for(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until something is so, or fail saying what was not."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"after {patience_s:.0f} s still not so: {what}")
        time.sleep(0.05)


@attrs.define
class Emulator:
    """One state directory, and the process that serves it at the moment."""

    workspace: ClassVar[str] = WORKSPACE
    state_dir: Path
    blob_port: int
    queue_port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> Addresses:
        """Start it, and wait until it is ready."""
        command = [sys.executable, "-m", "azureml_emulator", "--state-dir", str(self.state_dir)]
        command += ["--azurite-blob", f"http://127.0.0.1:{self.blob_port}"]
        command += ["--azurite-queue", f"http://127.0.0.1:{self.queue_port}"]
        command += ["--workspace", WORKSPACE, "--workspace", OTHER, *options]
        self.state_dir.mkdir(parents=True, exist_ok=True)
        addresses_path(self.state_dir).unlink(missing_ok=True)  # left by one that was killed
        with (self.state_dir / "log.txt").open("ab") as log:
            started = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.process = started
        wait_for(lambda: addresses_path(self.state_dir).exists() or started.poll() is not None, "the emulator is ready")
        assert started.poll() is None, (self.state_dir / "log.txt").read_text()
        return Addresses.read(self.state_dir)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal and wait for its end; the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    @property
    def addresses(self) -> Addresses:
        return Addresses.read(self.state_dir)

    @property
    def env(self) -> dict[str, str]:
        """The environment of an unmodified client."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        return kept | environment(self.state_dir)

    @property
    def log(self) -> str:
        return (self.state_dir / "log.txt").read_text()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Serve blobs and queues; the two ports."""
    if not AZURITE.exists():
        pytest.fail(f"{AZURITE} is not there; run `make azurite` first")
    blob, queue, table = free_ports(3)
    folder = tmp_path_factory.mktemp("azurite")
    command = ["node", str(AZURITE), "--silent", "--disableTelemetry", "--skipApiVersionCheck", "-l", str(folder)]
    command += ["--blobPort", str(blob), "--queuePort", str(queue), "--tablePort", str(table)]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    yield blob, queue
    process.terminate()
    process.wait(timeout=30)


@pytest.fixture
def stopped_emulator(azurite: tuple[int, int], tmp_path: Path) -> Iterator[Emulator]:
    """An emulator of one test's own, to be started."""
    made = Emulator(tmp_path / "state", *azurite)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.end()


@pytest.fixture(scope="session")
def emulator(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The emulator that tests share."""
    made = Emulator(tmp_path_factory.mktemp("emulator") / "state", *azurite)
    made.start("--log-level", "debug")
    yield made
    made.end()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the suite be told of a workspace that is there already."""
    what = "run what can be asked of a real workspace, and skip the rest; AZURE_SUBSCRIPTION_ID and the like name it"
    parser.addoption("--live", action="store_true", help=what)


def pytest_configure(config: pytest.Config) -> None:
    """Say what the mark means."""
    config.addinivalue_line("markers", "live: can be asked of a real workspace, with --live")


def is_live(config: pytest.Config) -> bool:
    """Whether a real workspace is asked; the option is not known where this folder was not named."""
    return bool(config.getoption("live", default=False))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs the emulator, where a real workspace is asked."""
    skipped = pytest.mark.skip(reason="needs the emulator, and --live asks a workspace that is there already")
    for item in items if is_live(config) else ():
        if item.get_closest_marker("live") is None:
            item.add_marker(skipped)


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest) -> Emulator | Live:
    """Whom a story is told to: the emulator that tests share, or with --live the workspace that is named."""
    if is_live(request.config):
        return Live.of_environment()
    shared: Emulator = request.getfixturevalue("emulator")
    return shared


@pytest.fixture(scope="session")
def recorded_azure(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[shapes.Azure]:
    """The emulator, in this process, whose answers are compared with recorded ones."""
    with shapes.azure(tmp_path_factory.mktemp("shapes"), *azurite) as made:
        yield made


def tell(
    emulator: Emulator | Live, judge: str, scratch: Path, *arguments: str, patience_s: float = 240
) -> dict[str, Any]:
    """Run a judge as a process with an unmodified client's environment, and read what it says."""
    scratch.mkdir(parents=True, exist_ok=True)
    variables = {
        **emulator.env,
        "CONTRACT_WORKSPACE": emulator.workspace,
        "CONTRACT_OTHER_WORKSPACE": OTHER,
        "CONTRACT_SCRATCH": str(scratch),
        "AZUREML_RUN_POLLING_INTERVAL_MIN": "1",
    }
    command = [sys.executable, str(JUDGES / judge), *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=patience_s, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.fixture
def chapter(story: dict[str, Any], request: pytest.FixtureRequest) -> Any:
    """One chapter of the module's story; a chapter that failed fails the test with its traceback."""
    told = story[request.param]
    if "traceback" in told:
        pytest.fail(told["traceback"])
    return told


def of(*names: str) -> pytest.MarkDecorator:
    """Tell which chapters a test is about."""
    return pytest.mark.parametrize("chapter", names, indirect=True)
