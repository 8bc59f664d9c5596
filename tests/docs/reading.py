"""What the tests of pages ask of a DAG file, and of what a page names."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

#: Parse a DAG file as Airflow does, as `dag`; what was loaded for that, of what costs seconds, is `heavy`.
_PARSE = """
import runpy, sys
from airflow.sdk.definitions._internal.contextmanager import DagContext
DagContext.current_autoregister_module_name = "__main__"
runpy.run_path(sys.argv[1])
(dag,) = [dag for dag, _ in DagContext.autoregistered_dags]
heavy = [name for name in ("azure", "numpy", "polars", "aiohttp") if name in sys.modules]
"""


def told_of(dag_file: Path, ask: str, *, home: Path, **environment: str) -> str:
    """Parse a DAG file in a process of its own, and give back what Python's lines `ask` print of `dag` and `heavy`."""
    said = subprocess.run(
        [sys.executable, "-c", f"{_PARSE}{ask}\n", str(dag_file)],
        env={**os.environ, "AIRFLOW_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout


def without_a_sentence(what: object, *, but: Collection[str] = ()) -> list[str]:
    """Name the arguments that a docstring does not describe."""
    told = inspect.getdoc(what) or ""
    arguments = set(inspect.signature(what).parameters) - {*but}  # type: ignore[arg-type]  # all are callable
    return [name for name in sorted(arguments) if f"{name}:" not in told]
