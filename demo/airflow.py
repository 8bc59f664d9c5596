"""Airflow's four parts, and its REST API."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import ChainMap
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import httpx

from demo.processes import Child, StartError, free_ports, own_environment, wait_until

ROOT = Path(__file__).resolve().parent.parent

#: How long a part waits for another that writes to Airflow's SQLite file; five seconds, its own, are little for a busy
#: machine, and a scheduler ends when they are over.
BUSY_S = 60
#: The same for the API server. Airflow 3.3.2 writes its audit log in the thread of its event loop; when another of
#: its requests holds the lock just then, neither goes on before this is over, and the first is answered by a 500.
BUSY_API_S = 5
#: For how long a request that found the file locked is sent again; nothing of it was stored.
ASK_AGAIN_S = 120
_LOCKED = "Database error"
#: Airflow's settings for a small machine, without the addresses; see its configuration reference.
_AIRFLOW_SETTINGS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__PARALLELISM": "4",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
    "AIRFLOW__API__HOST": "127.0.0.1",
    "AIRFLOW__API__WORKERS": "1",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
    "AIRFLOW__DAG_PROCESSOR__PRINT_STATS_INTERVAL": "0",
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    # A worker's exit is noticed this many seconds late at most, instead of five.
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "5",
}


class Airflow:
    """Airflow's four parts, as `airflow standalone` runs them, but as light as two cores like it.

    Args:
        folder: AIRFLOW_HOME; every part's log is in its ``parts`` folder.
        dags: The folder with the DAG files.
        environment: What the parts and the tasks find in their environment beside Airflow's own settings.
        db: SQLAlchemy's address of a database; empty for an SQLite file in `folder`.
        triggerers: How many; the parts after the first are ``triggerer-2`` and so on.
    """

    PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")

    def __init__(
        self,
        folder: Path,
        *,
        dags: Path = ROOT / "dags",
        environment: Mapping[str, str] | None = None,
        db: str = "",
        triggerers: int = 1,
    ) -> None:
        self.folder = folder.resolve()
        self.db = db
        api, worker_logs, trigger_logs = free_ports(3)
        self.url = f"http://127.0.0.1:{api}"
        settings = {
            **_AIRFLOW_SETTINGS,
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags.resolve()),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": db or self._sqlite(BUSY_S),
            "AIRFLOW__API__PORT": str(api),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
        }
        self.environment = own_environment({**settings, **(environment or {})})
        self.parts = (*self.PARTS, *(f"triggerer-{number}" for number in range(2, triggerers + 1)))
        self.children = {part: self._child(part) for part in self.parts}
        self._client = self._new_client()

    def _new_client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=BUSY_S + 30, trust_env=False)

    def _sqlite(self, busy_s: int) -> str:
        return f"sqlite:///{self.folder}/airflow.db?timeout={busy_s}"

    def _child(self, part: str) -> Child:
        command = part
        environment: Mapping[str, str] = self.environment
        if part == "api-server" and not self.db:
            environment = ChainMap({"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._sqlite(BUSY_API_S)}, self.environment)
        if part not in self.PARTS:
            (port,) = free_ports(1)
            command = "triggerer"
            environment = ChainMap({"AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(port)}, self.environment)
        return Child(
            name=f"Airflow's {part}",
            command=[sys.executable, "-m", "airflow", command],
            environment=environment,
            log=self.folder / "parts" / f"{part}.log",
        )

    def another_triggerer(self) -> Child:
        """Make one more triggerer, which is the caller's to start and to end."""
        return self._child("triggerer-beside")

    def tell(self, environment: Mapping[str, str]) -> None:
        """Add to the environment of the parts that are started from now on."""
        self.environment.update(environment)

    def cli(self, *arguments: str) -> str:
        """Run one command of Airflow's and return what it printed.

        Raises:
            StartError: It failed; the message ends with what it said.
        """
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise StartError(f"airflow {' '.join(arguments)} ended with {done.returncode}.\n{done.stderr[-2000:]}")
        return done.stdout

    def migrate(self, template: Path | None = None) -> None:
        """Make the database.

        Args:
            template: An SQLite file that is copied when it is there, and written when it is not; it saves seven
                seconds each time. Not used with another database.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # Parts that find no file write one each, at the same moment, each with keys of its own.
        (self.folder / "airflow.cfg").touch()
        own = self.folder / "airflow.db"
        if self.db or template is None:
            self.cli("db", "migrate")
        elif template.exists():
            shutil.copyfile(template, own)
        else:
            self.cli("db", "migrate")
            partial = template.with_suffix(f".{os.getpid()}")
            shutil.copyfile(own, partial)
            partial.replace(template)

    def start(self, *parts: str) -> Self:
        """Start these parts, or all, and wait until Airflow calls them healthy.

        Raises:
            StartError: One ended, or is not healthy after two minutes.
        """
        chosen = parts or self.parts
        if self.db == "" and not (self.folder / "airflow.db").exists():
            self.migrate()
        since = time.time()
        self.launch(*chosen)
        for part in chosen:
            self.children[part].wait_until(lambda part=part: self._is_healthy(part, since), deadline_s=120)  # type: ignore[misc]  # mypy and defaults of lambdas
        return self

    def launch(self, *parts: str) -> None:
        """Start these parts and do not wait."""
        for part in parts:
            self.children[part].start()

    def _is_healthy(self, part: str, since: float) -> bool:
        try:
            health = self._client.get("/api/v2/monitor/health").json()
        except (httpx.HTTPError, ValueError):
            return False
        if part == "api-server":
            return True
        name = part.replace("-", "_") if part in self.PARTS else "triggerer"
        seen = health.get(name) or {}
        beat = seen.get(f"latest_{name}_heartbeat") or ""
        return seen.get("status") == "healthy" and _seconds(beat) >= since

    def kill(self, part: str, sig: signal.Signals = signal.SIGKILL) -> None:
        """End one part and all it started."""
        self.children[part].kill(sig)

    def stop(self) -> None:
        """End all parts, at the same time."""
        for child in self.children.values():
            child.ask_to_end()
        for child in self.children.values():
            child.kill(signal.SIGTERM)
        self._client.close()
        self._client = self._new_client()

    def call(self, method: str, path: str, body: object = None, **params: Any) -> Any:
        """Call the REST API as an administrator; returns the answer's JSON, None for an empty one.

        Raises:
            httpx.HTTPStatusError: Airflow said no; the message has its words.
        """
        if "authorization" not in self._client.headers:
            token = self._client.get("/auth/token").raise_for_status().json()["access_token"]
            self._client.headers["authorization"] = f"Bearer {token}"
        give_up = time.monotonic() + ASK_AGAIN_S
        answer = self._client.request(method, path, json=body, params=params)
        while not self.db and answer.is_server_error and _LOCKED in answer.text and time.monotonic() < give_up:
            time.sleep(0.2)
            answer = self._client.request(method, path, json=body, params=params)
        if answer.is_error:
            said = f"{method} {path}: {answer.status_code} {answer.text[:1000]}"
            raise httpx.HTTPStatusError(said, request=answer.request, response=answer)
        return answer.json() if answer.content else None

    def sign_in(self, user: str, password: str) -> None:
        """Ask as a certain user from now on, where not everybody is an administrator."""
        body = {"username": user, "password": password}
        token = self._client.post("/auth/token", json=body).raise_for_status().json()["access_token"]
        self._client.headers["authorization"] = f"Bearer {token}"

    def get(self, path: str, **params: Any) -> Any:
        """GET of the REST API."""
        return self.call("GET", path, **params)

    def unpause(self, dag: str, *, deadline_s: float = 60) -> None:
        """Unpause a DAG as soon as Airflow knows it.

        Raises:
            StartError: Airflow does not know it in time; the message has the import errors.
        """

        def _known() -> bool:
            try:
                self.call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})
            except httpx.HTTPStatusError as error:
                if error.response.status_code == httpx.codes.NOT_FOUND:
                    return False
                raise
            return True

        if not wait_until(_known, deadline_s=deadline_s):
            errors = self.get("/api/v2/importErrors")["import_errors"]
            raise StartError(f"Airflow knows no DAG {dag} after {deadline_s:.0f} s. Import errors: {errors}")

    def listens(self, dag: str) -> bool:
        """Whether Airflow has begun to listen for what wakes a DAG; it does so when it next reads an unpaused one."""
        assets = self.get("/api/v2/assets", dag_ids=[dag])["assets"]
        return any(watcher["trigger_id"] for asset in assets for watcher in asset["watchers"])

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()


def default_template() -> Path:
    """Where a migrated database is kept for the next start; it depends on Airflow's version."""
    folder = ROOT / ".run"
    folder.mkdir(exist_ok=True)
    return folder / f"airflow-{version('apache-airflow-core')}.db"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0
