"""A store that says what has changed in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from azureml_emulator.scripts import Cancel, Script, words
from azureml_emulator.store import Run, Store


def _nobody(*_: object) -> None:
    """Hear nothing."""


class WatchedStore(Store):
    """The store, and who is told of a change once it is kept; from whatever thread made it, and never of a refused one.

    Attributes:
        told_of_put: Is given a resource's ARM id and body, and whether it is new.
        told_of_run: Is given a run as it was and as it is; None before it was there. Of a scripted run it is told only
            that it is there, or was cancelled: see `course`.
    """

    told_of_put: Callable[[str, Mapping[str, Any], bool], None] = staticmethod(_nobody)
    told_of_run: Callable[[Run | None, Run], None] = staticmethod(_nobody)

    def put(self, arm_id: str, body: Mapping[str, Any]) -> bool:
        """Create or replace a resource, and say whether it is new."""
        is_new = super().put(arm_id, body)
        self.told_of_put(arm_id, body, is_new)
        return is_new

    def add_run(self, run: Run) -> bool:
        """Add a run; False when its name is taken in that workspace (nothing is changed then)."""
        added = super().add_run(run)
        if added:
            self.told_of_run(None, run)
        return added

    def change_run(self, workspace: str, name: str, **changes: Any) -> Run:
        """Change some fields of a run and return it as it is then."""
        with self._lock:
            before = self.run(workspace, name)
            after = super().change_run(workspace, name, **changes)
        self.told_of_run(before, after)
        return after

    def add_scripted(self, runs: Sequence[Run], scripts: Sequence[Script]) -> bool:
        """Add runs that begin now and go as their scripts say; all of them, or none when a name is taken."""
        added = super().add_scripted(runs, scripts)
        for run in runs if added else ():
            self.told_of_run(None, run)
        return added

    def cancel_scripted(self, run: Run, *, takes_s: float | None) -> None:
        """Cancel a scripted run and its steps."""
        super().cancel_scripted(run, takes_s=takes_s)
        for one in (run, *self.runs(run.workspace, parent=run.name)):
            self.told_of_run(one, one)

    def course(self, workspace: str, name: str) -> list[tuple[float, str]]:
        """List when each status of a scripted run begins, in Unix time, as far as is known now.

        Raises:
            LookupError: There is no such run, or it has no script.
        """
        where = ("/" + workspace.strip("/").lower(), name)
        query = "SELECT body, began, canceled, cancel_s FROM runs WHERE workspace_key = ? AND name = ?"
        rows = self._rows(query, where)
        if not rows or rows[0][1] is None:
            raise LookupError(f"No scripted run {name} in {workspace}.")
        body, began, canceled, cancel_s = rows[0]
        cancel = None if canceled is None else Cancel(at_s=canceled - began, takes_s=cancel_s)
        return [(began + at_s, word) for at_s, word in words(self._script(json.loads(body)["script"]), cancel)]
