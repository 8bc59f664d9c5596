"""Jobs that are accepted and told as Azure ML does, and that the emulator does not run: they fail, and say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azureml_emulator.commands import JobError
from azureml_emulator.store import Run

#: Kinds of jobs, with what a PUT of one must have.
KINDS: Mapping[str, tuple[str, ...]] = {"Spark": ("codeId", "entry"), "AutoML": ("taskDetails",)}
#: Kinds of nodes.
NODES = frozenset({"spark", "automl", "import", "data_transfer"})


class NotRun:
    """The work of a job that is not run.

    Args:
        what: Names what is not run.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    async def __call__(self, run: Run) -> None:
        """End the job.

        Raises:
            JobError: Always.
        """
        raise JobError(
            f"The emulator accepts {self._what}, and does not run it: job {run.name} would run in Azure ML only. Script"
            " how it goes (property emulator.script, with --control) to see what follows.",
            "NotEmulated",
        )


def not_run(run: Run) -> NotRun | None:
    """Return what ends a job that the emulator does not run; None for one that it does."""
    if run.kind in KINDS:
        return NotRun(f"a job of type {run.kind}")
    jobs: Mapping[str, Any] = (run.spec.get("jobs") or {}) if run.kind == "Pipeline" else {}
    nodes = [f"{name} of type {node.get('type')}" for name, node in jobs.items() if node.get("type") in NODES]
    return NotRun(f"a pipeline with node {', '.join(nodes)}") if nodes else None
