"""Everything the emulator remembers, in one SQLite file that outlives the process."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from azureml_emulator import scripts, state_file
from azureml_emulator.clock import CLOCK, moment
from azureml_emulator.listings import Wanted
from azureml_emulator.scripts import FINAL, Cancel, Script

_SEEN = f"body, {', '.join(state_file.SCRIPTED)}"
_SELECT_RUN = f"SELECT {_SEEN} FROM runs WHERE workspace_key = ? AND name = ?"  # noqa: S608  # constants only


def now() -> str:
    """Say the present moment of the emulator's clock as Azure ML does: UTC, 7 fraction digits, ``+00:00``."""
    return moment(CLOCK.now_s())


def instant(moment: str) -> datetime:
    """Read what `now` said; Python keeps 6 of the 7 fraction digits."""
    head, dot, tail = moment.partition(".")
    return datetime.fromisoformat(f"{head}{dot}{tail[:6]}+00:00" if dot else moment)


@attrs.frozen
class Metric:
    """One logged point; ``timestamp_ms`` is Unix time in milliseconds, ``value`` may be NaN or infinite."""

    key: str
    value: float
    timestamp_ms: int
    step: int = 0


@attrs.frozen(kw_only=True)
class Run:
    """A job, or one step of a pipeline job.

    Attributes:
        workspace: The workspace's ARM id.
        kind: ``Command``, ``Pipeline`` or ``Step``; ``Tracked`` for one that an MLflow client began by itself, which
            nothing here runs.
        parent: The pipeline run that a step belongs to.
        node: The step's name in its pipeline.
        spec: The job's ARM ``properties`` as the client put them; for an endpoint's invocation
            ``{"jobType": "Pipeline", "componentId": …, "settings": {…}}``; for a step what is to be run.
        inputs: ``{"jobInputType": "literal", "value": …}`` or ``{"jobInputType": "uri_folder", "uri": …, "mode": …}``.
        outputs: ``{"jobOutputType": …, "uri": … or None, "mode": …}``.
        created: ISO 8601 in UTC, as `now` says it; so are ``started`` and ``ended``.
        error: Run history's inner error object: ``{"code", "message", "innerError"}``.
        script: The digest of its script; None for a run that really runs.
    """

    workspace: str
    name: str
    kind: str
    status: str = "NotStarted"
    parent: str | None = None
    node: str | None = None
    display_name: str = ""
    experiment: str = "Default"
    description: str | None = None
    spec: dict[str, Any] = attrs.field(factory=dict)
    properties: dict[str, str] = attrs.field(factory=dict)
    tags: dict[str, str] = attrs.field(factory=dict)
    inputs: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    outputs: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    endpoint: str | None = None
    deployment: str | None = None
    created: str = attrs.field(factory=now)
    started: str | None = None
    ended: str | None = None
    error: dict[str, Any] | None = None
    exit_code: int | None = None
    script: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.status in FINAL


class Store:
    """The resources, runs and metrics. Every method is one transaction and may be called from any thread.

    Args:
        state_dir: The state folder, which is made where it is not there.

    Raises:
        StateError: What is there cannot be used; see `state_file`.
    """

    def __init__(self, state_dir: Path) -> None:
        state_file.make_folder(state_dir)
        self._lock = threading.RLock()
        self._connection = state_file.opened(state_dir)
        self._scripts: dict[str, Script] = {}

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    # resources: anything with an ARM id

    def get(self, arm_id: str) -> dict[str, Any] | None:
        """Find a resource; ARM ids are compared lower-cased."""
        rows = self._rows("SELECT body FROM resources WHERE arm_id = ?", (_key(arm_id),))
        return json.loads(rows[0][0]) if rows else None

    def put(self, arm_id: str, body: Mapping[str, Any]) -> bool:
        """Create or replace a resource, and say whether it is new."""
        key = _key(arm_id)
        with self._transaction() as db:
            text = json.dumps(body)
            if db.execute("UPDATE resources SET body = ? WHERE arm_id = ?", (text, key)).rowcount:
                return False
            parent = key.rpartition("/")[0]
            db.execute("INSERT INTO resources (arm_id, parent, body) VALUES (?, ?, ?)", (key, parent, text))
            return True

    def delete(self, arm_id: str) -> bool:
        """Delete a resource and all beneath it, and say whether it was there."""
        key = _key(arm_id)
        with self._transaction() as db:
            gone = db.execute("DELETE FROM resources WHERE arm_id = ?", (key,)).rowcount
            db.execute("DELETE FROM resources WHERE substr(arm_id, 1, ?) = ?", (len(key) + 1, f"{key}/"))
            return bool(gone)

    def children(self, arm_id_prefix: str) -> list[dict[str, Any]]:
        """List the resources exactly one segment below, oldest first."""
        rows = self._rows("SELECT body FROM resources WHERE parent = ? ORDER BY number", (_key(arm_id_prefix),))
        return [json.loads(body) for (body,) in rows]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """List all resources with this ARM ``type``, oldest first."""
        rows = self._rows("SELECT body FROM resources WHERE json_extract(body, '$.type') = ? ORDER BY number", (kind,))
        return [json.loads(body) for (body,) in rows]

    # runs

    def add_run(self, run: Run) -> bool:
        """Add a run; False when its name is taken in that workspace (nothing is changed then)."""
        with self._transaction() as db:
            return bool(db.execute(_INSERT_RUN, _row(run)).rowcount)

    def run(self, workspace: str, name: str) -> Run | None:
        """Find a run by its exact name."""
        found = self._rows(_SELECT_RUN, (_key(workspace), name))
        return self._seen(*found[0]) if found else None

    def change_run(self, workspace: str, name: str, **changes: Any) -> Run:
        """Change some fields of a run and return it as it is then.

        Raises:
            LookupError: There is no such run.
        """
        with self._transaction() as db:
            where = (_key(workspace), name)
            row = db.execute(_SELECT_RUN, where).fetchone()
            if row is None:
                raise LookupError(f"No run {name} in {workspace}.")
            changed = attrs.evolve(_load(row[0]), **changes)
            text = _dump(changed)
            db.execute(
                "UPDATE runs SET status = ?, body = ? WHERE workspace_key = ? AND name = ?",
                (changed.status, text, *where),
            )
            return self._seen(text, *row[1:])

    def delete_run(self, workspace: str, name: str) -> None:
        """Forget a run, and its steps, with their metrics and parameters."""
        key, names = _key(workspace), [name]
        with self._transaction() as db:
            for one in names:  # it grows with the steps of each
                query = "SELECT name FROM runs WHERE workspace_key = ? AND parent = ?"
                names += [step for (step,) in db.execute(query, (key, one))]
                for table, column in (("runs", "name"), ("metrics", "run"), ("params", "run")):
                    db.execute(f"DELETE FROM {table} WHERE workspace_key = ? AND {column} = ?", (key, one))  # noqa: S608  # constants only

    def runs(
        self,
        workspace: str | None = None,
        *,
        parent: str | None = None,
        endpoint: str | None = None,
        name: str | None = None,
        live: bool = False,
    ) -> list[Run]:
        """List runs, newest first.

        Args:
            workspace: Only those of this workspace; None for all workspaces.
            parent: Only the steps of this run.
            endpoint: Only those that this batch endpoint started.
            name: Only those of this exact name.
            live: Only those that the emulator really runs and that have not ended; so no scripted ones.
        """
        wanted = {"workspace_key": workspace and _key(workspace), "parent": parent, "endpoint": _lower(endpoint)}
        terms = {f"{column} = ?": value for column, value in {**wanted, "name": name}.items() if value is not None}
        if live:
            terms |= {"status NOT IN (?, ?, ?) AND kind <> 'Tracked' AND began IS NULL": ""}
        values = [value for value in terms.values() if value] + (sorted(FINAL) if live else [])
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        rows = self._rows(f"SELECT {_SEEN} FROM runs{where} ORDER BY number DESC", values)  # noqa: S608  # constants only
        return [self._seen(*row) for row in rows]

    def listed(self, workspace: str, wanted: Wanted, *, most: int, after: str = "") -> list[Run]:
        """List one page of a workspace's jobs, without steps, newest first.

        Args:
            workspace: The workspace's ARM id.
            wanted: Which of them.
            most: How many at most.
            after: The name of the last job of the page before; empty for the first page.

        Raises:
            LookupError: There is no job of the name ``after``.
        """
        terms: list[tuple[str, tuple[Any, ...]]] = [("workspace_key = ?", (_key(workspace),)), ("kind <> 'Step'", ())]
        terms += wanted.terms()
        if after:
            query = "SELECT number FROM runs WHERE workspace_key = ? AND name = ?"
            if not (found := self._rows(query, (_key(workspace), after))):
                raise LookupError(f"No run {after} in {workspace}.")
            terms.append(("number < ?", found[0]))
        where = " AND ".join(term for term, _ in terms)
        query = f"SELECT {_SEEN} FROM runs WHERE {where} ORDER BY number DESC LIMIT ?"  # noqa: S608  # constants only
        values = [value for _, given in terms for value in given]
        return [self._seen(*row) for row in self._rows(query, [*values, most])]

    def jobs(self, *, most: int, skip: int = 0) -> list[Run]:
        """List one page of the jobs of all workspaces, without steps, newest first; ``skip`` of them come before."""
        query = f"SELECT {_SEEN} FROM runs WHERE kind <> 'Step' ORDER BY number DESC LIMIT ? OFFSET ?"  # noqa: S608  # constants only
        return [self._seen(*row) for row in self._rows(query, (most, skip))]

    # scripted runs

    def add_scripted(self, runs: Sequence[Run], scripts: Sequence[Script]) -> bool:
        """Add runs that begin now and go as their scripts say; all of them, or none when a name is taken.

        Args:
            runs: Each with its script's digest.
            scripts: The scripts of those digests.
        """
        began = CLOCK.now_s()
        rows = ((*_row(run), began) for run in runs)
        with contextlib.suppress(_NameTaken), self._transaction() as db:
            for script in scripts:
                db.execute("INSERT OR IGNORE INTO scripts VALUES (?, ?)", (script.digest, script.text))
            if db.executemany(_INSERT_SCRIPTED, rows).rowcount < len(runs):
                raise _NameTaken
            return True
        return False

    def cancel_scripted(self, run: Run, *, takes_s: float | None) -> None:
        """Cancel a scripted run and its steps.

        Args:
            run: It; nothing happens where it or a step has ended, or ends already.
            takes_s: Seconds from CancelRequested to Canceled; None for a cancel that never ends, unless a later
                one does.
        """
        changes = (
            "cancel_s = CASE WHEN canceled IS NULL THEN ? ELSE ? - canceled + ? END, canceled = COALESCE(canceled, ?)"
        )
        which = "workspace_key = ? AND (name = ? OR parent = ?) AND began IS NOT NULL AND cancel_s IS NULL"
        at = CLOCK.now_s()
        values = (takes_s, at, takes_s, at, _key(run.workspace), run.name, run.name)
        with self._transaction() as db:
            db.execute(f"UPDATE runs SET {changes} WHERE {which}", values)  # noqa: S608  # constants only

    def script_of(self, run: Run) -> Script | None:
        """Find the script of a run; None for one that really runs."""
        return None if run.script is None else self._script(run.script)

    def _script(self, digest: str) -> Script:
        if digest not in self._scripts:
            ((text,),) = self._rows("SELECT body FROM scripts WHERE digest = ?", (digest,))
            self._scripts[digest] = Script.parse(text)
        return self._scripts[digest]

    def _seen(self, body: str, began: float | None, canceled: float | None, cancel_s: float | None) -> Run:
        """Read a run; a scripted one as it is at this moment."""
        fields = json.loads(body)
        if began is None:
            return Run(**fields)
        script = self._script(fields["script"])
        cancel = None if canceled is None else Cancel(at_s=canceled - began, takes_s=cancel_s)
        look = scripts.look(script, CLOCK.now_s() - began, cancel)
        return Run(**(fields | scripts.shown(script, look, began=began, outputs=fields["outputs"])))

    # metrics and parameters

    def log_metric(self, workspace: str, run: str, metric: Metric) -> None:
        """Keep one more point; earlier points of the same key stay."""
        values = (_key(workspace), run, metric.key, metric.value, repr(metric.value), metric.timestamp_ms, metric.step)
        with self._transaction() as db:
            db.execute(
                "INSERT INTO metrics (workspace_key, run, key, value, text, timestamp_ms, step)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                values,
            )

    def metrics(self, workspace: str, run: str) -> list[Metric]:
        """List all points of a run in the order they were logged."""
        rows = self._rows(
            "SELECT key, text, timestamp_ms, step FROM metrics WHERE workspace_key = ? AND run = ? ORDER BY number",
            (_key(workspace), run),
        )
        logged = [Metric(key=key, value=float(text), timestamp_ms=at, step=step) for key, text, at, step in rows]
        return logged + self._scripted_metrics(self.run(workspace, run))

    def _scripted_metrics(self, run: Run | None) -> list[Metric]:
        if run is None or run.started is None or (script := self.script_of(run)) is None:
            return []
        at_ms = int(instant(run.started).timestamp() * 1000)
        return [
            Metric(key=key, value=value, timestamp_ms=at_ms + step, step=step)
            for key, points in script.metrics.items()
            for step, value in enumerate(points)
        ]

    def set_param(self, workspace: str, run: str, key: str, value: str) -> None:
        """Set a parameter of a run, whatever it was."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO params VALUES (?, ?, ?, ?)", (_key(workspace), run, key, value))

    def params(self, workspace: str, run: str) -> dict[str, str]:
        """List the parameters of a run."""
        return dict(
            self._rows(
                "SELECT key, value FROM params WHERE workspace_key = ? AND run = ? ORDER BY rowid",
                (_key(workspace), run),
            )
        )


def _key(arm_id: str) -> str:
    return "/" + arm_id.strip("/").lower()


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


class _NameTaken(Exception):  # noqa: N818  # ends a transaction, and is no error
    """A run's name is taken in its workspace."""


_RUN_COLUMNS = "workspace_key, name, parent, endpoint, kind, status, body"
_INSERT_RUN = f"INSERT OR IGNORE INTO runs ({_RUN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  # constants only
_INSERT_SCRIPTED = f"INSERT OR IGNORE INTO runs ({_RUN_COLUMNS}, began) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  # ditto


def _row(run: Run) -> tuple[str | None, ...]:
    return (_key(run.workspace), run.name, run.parent, _lower(run.endpoint), run.kind, run.status, _dump(run))


def _dump(run: Run) -> str:
    return json.dumps(attrs.asdict(run, recurse=False))


def _load(text: str) -> Run:
    return Run(**json.loads(text))
