"""Jobs as processes of this machine: their environment, their process group, and what became of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from azureml_emulator.names import WorkspaceName
from azureml_emulator.store import Run
from azureml_emulator.tokens import issue

#: How long a process group may take to end by itself after SIGTERM, in seconds.
GRACE_S = 5.0
#: How often a process is looked at, in seconds.
LOOK_S = 0.05
#: What a job inherits of the emulator's own environment: nothing that names a proxy, a credential or an index.
INHERITED = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "SHELL", "TZ", "USER")
#: The folders of the system's own commands.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def tracking_uri(http: str, workspace: str) -> str:
    """Name the MLflow server of a workspace; ``http`` is the emulator's plain address."""
    return f"{http}/mlflow/v2.0{workspace}"


def environment(run: Run, python: Path, *, http: str, folder: Path) -> dict[str, str]:
    """Make the environment variables of a job.

    Args:
        run: The command job or step; its specification's own variables win.
        python: Which Python comes first on the path.
        http: The emulator's plain address.
        folder: The run's temporary folder.
    """
    workspace = WorkspaceName.of_arm_id(run.workspace)
    token = issue("https://management.azure.com", subject=run.name)
    own = run.spec.get("environmentVariables") or run.spec.get("environment_variables") or {}
    return {
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
        "PATH": f"{_python_folder(python, folder)}:{SYSTEM_PATH}",
        "TMPDIR": str(folder / "tmp"),
        "PYTHONUNBUFFERED": "1",
        "AZUREML_RUN_ID": run.name,
        "AZUREML_ROOT_RUN_ID": run.spec.get("root") or run.parent or run.name,
        "AZUREML_RUN_TOKEN": token,
        "AZUREML_ARM_SUBSCRIPTION": workspace.subscription,
        "AZUREML_ARM_RESOURCEGROUP": workspace.group,
        "AZUREML_ARM_WORKSPACE_NAME": workspace.name,
        "AZUREML_ARM_PROJECT_NAME": run.experiment,
        "AZUREML_WORKSPACE_SCOPE": run.workspace,
        "MLFLOW_TRACKING_URI": tracking_uri(http, run.workspace),
        "MLFLOW_TRACKING_TOKEN": token,
        "MLFLOW_RUN_ID": run.name,
        "MLFLOW_EXPERIMENT_NAME": run.experiment,
        **{str(name): str(value) for name, value in own.items()},
    }


def _python_folder(python: Path, folder: Path) -> Path:
    """Find a folder in which ``python`` is the Python for jobs."""
    beside = python.parent / "python"
    if beside.exists() and (beside == python or beside.resolve() == python.resolve()):
        return python.parent
    shims = folder / "bin"
    shims.mkdir(parents=True, exist_ok=True)
    shim = shims / "python"
    # A link would not do: Python finds its virtual environment by the name it was started with.
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(str(python))} "$@"\n')
    shim.chmod(0o755)
    return shims


@attrs.frozen
class ProcessGroup:
    """A command in a process group of its own."""

    leader: subprocess.Popen[bytes]

    @classmethod
    def start(cls, command: str, *, cwd: Path, env: Mapping[str, str], log: Path) -> ProcessGroup:
        """Start ``bash -c``; its output and errors are appended to ``log``.

        Raises:
            OSError: It cannot be started.
        """
        with log.open("ab") as out:
            leader = subprocess.Popen(  # noqa: S603  # running what the job says is what this is for
                ["/bin/bash", "-c", command],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(leader)

    @property
    def exit_code(self) -> int | None:
        """The leader's exit code, negative for a signal; None while it runs."""
        return self.leader.poll()

    async def end(self, grace_s: float) -> None:
        """End all processes of the group: SIGTERM, and SIGKILL for those that are left after the grace."""
        if grace_s > 0 and self._signal(signal.SIGTERM):
            deadline = time.monotonic() + grace_s
            while time.monotonic() < deadline and self._is_alive():  # noqa: ASYNC110  # a process sets no event
                await asyncio.sleep(LOOK_S)
        self._signal(signal.SIGKILL)
        while self.exit_code is None:  # noqa: ASYNC110  # likewise
            await asyncio.sleep(LOOK_S)

    def _is_alive(self) -> bool:
        self.leader.poll()  # reaps it: a zombie counts as a member of its group
        return self._signal(0)

    def _signal(self, number: int) -> bool:
        """Send a signal to the group; False when nobody is left in it."""
        try:
            os.killpg(self.leader.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:  # only zombies that belong to init are left (macOS says it so)
            return False
        return True


def end_orphans(runs_folder: Path) -> int:
    """Kill what an emulator that died left running, and say how many processes.

    A job's processes are known by their temporary folder, which is below the runs folder of this state directory.
    Where there is no /proc (macOS) they cannot be found, and are left.
    """
    ended: set[int] = set()
    # Once more as long as some are found: one that was just being started by another was not there before.
    while found := set(processes_below(runs_folder)) - ended:
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        ended |= found
    return len(ended)


def processes_below(runs_folder: Path) -> Iterator[int]:
    """Find the processes whose temporary folder is below the runs folder of a state directory."""
    mark = f"\0TMPDIR={runs_folder}/".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in b"\0" + (process / "environ").read_bytes():
                yield int(process.name)
