"""Parallel steps: a parallel component as the command that hands its files out in mini-batches.

Source: https://learn.microsoft.com/azure/machine-learning/how-to-use-parallel-job-in-pipeline, and the component schema
of azure-ai-ml (``parallelComponent.schema.json``).
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azureml_emulator.batch_driver import Settings
from azureml_emulator.names import is_inside
from azureml_emulator.steps import SpecificationError

Json = dict[str, Any]

PARALLEL = "parallel"
DRIVER = Path(__file__).with_name("batch_driver.py")
#: The file of ``append_row`` in an output that is a folder. Source: the SDK v1's ParallelRunConfig.
ROWS = "parallel_run_step.txt"
_OF_NODE = (
    *("mini_batch_size", "max_concurrency_per_instance", "error_threshold", "mini_batch_error_threshold"),
    *("retry_settings", "logging_level", "input_data", "partition_keys", "resources"),
)
_INPUT = re.compile(r"\$\{\{\s*inputs\.(?P<name>[A-Za-z0-9_.-]+)\s*\}\}")
_OUTPUT = re.compile(r"\$\{\{\s*outputs\.(?P<name>[A-Za-z0-9_.-]+)\s*\}\}")


def as_command(component: Mapping[str, Any], node: Mapping[str, Any], *, whose: str) -> Json:
    """Write a parallel component, with a node's own settings over it, as a command component.

    Args:
        component: Its specification.
        node: The node of the pipeline.
        whose: Names the node in errors.

    Raises:
        SpecificationError: It is wrong, or is a table that is cut into rows, which is not emulated.
    """
    told = {**component, **{member: node[member] for member in _OF_NODE if node.get(member) is not None}}
    task = {**(component.get("task") or {}), **(node.get("task") or {})}
    if not task.get("entry_script"):
        raise SpecificationError(f"{whose} is parallel and has no task with an entry_script.")
    if not is_inside(str(task["entry_script"])):
        raise SpecificationError(f"{whose}: its entry_script is no path within its code.")
    data = _named(_INPUT, told.get("input_data"), component.get("inputs") or {}, f"{whose}: input_data")
    kind = str((component["inputs"][data] or {}).get("type"))
    if kind not in ("uri_folder", "uri_file") or told.get("partition_keys"):
        how = "partitions" if told.get("partition_keys") else f"a {kind}"
        raise SpecificationError(
            f"{whose} hands out {how}: the emulator runs parallel steps over the files of a uri_folder only."
        )
    rows = task.get("append_row_to")
    output = _named(_OUTPUT, rows, component.get("outputs") or {}, f"{whose}: append_row_to") if rows else ""
    return {
        **{key: value for key, value in component.items() if key not in ("task", *_OF_NODE)},
        "type": "command",
        "code": task.get("code"),
        "environment": task.get("environment"),
        "resources": told.get("resources"),
        "command": _command(_settings(told, task, whose=whose), task, data=data, output=output),
    }


def _named(placeholder: re.Pattern[str], text: Any, declared: Mapping[str, Any], where: str) -> str:
    found = placeholder.fullmatch(str(text or "").strip())
    if found is None or found["name"] not in declared:
        raise SpecificationError(f"{where} is {text!r}, which names none of: {', '.join(declared) or 'nothing'}.")
    return found["name"]


def _settings(told: Mapping[str, Any], task: Mapping[str, Any], *, whose: str) -> Settings:
    retries = told.get("retry_settings") or {}
    nodes = (told.get("resources") or {}).get("instance_count") or 1
    try:
        settings = Settings(
            script=str(task["entry_script"]),
            mini_batch_size=max(1, int(told.get("mini_batch_size") or 1)),
            nodes=max(1, int(nodes)),
            processes_per_node=max(1, int(told.get("max_concurrency_per_instance") or 1)),
            # The documentation counts retries here, after the first try; two unless somebody says otherwise.
            max_tries=1 + max(0, int(retries.get("max_retries", 2))),
            timeout_s=float(retries.get("timeout") or 60),
            error_threshold=_threshold(told, "error_threshold"),
            mini_batch_error_threshold=_threshold(told, "mini_batch_error_threshold"),
            logging_level=str(told.get("logging_level") or "INFO").upper(),
            output_file=ROWS if task.get("append_row_to") else "",
        )
    except ValueError as error:
        raise SpecificationError(f"{whose} is parallel, and one of its numbers is none: {error}.") from error
    if settings.logging_level not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise SpecificationError(f"{whose}: logging_level {settings.logging_level} is none of Python's.")
    return settings


def _threshold(told: Mapping[str, Any], member: str) -> int:
    said = told.get(member)
    return -1 if said is None else int(said)


def _command(settings: Settings, task: Mapping[str, Any], *, data: str, output: str) -> str:
    """Write the command; what the driver is told goes in by a here-document, in which the shell reads nothing."""
    told = json.dumps(vars(settings)).replace("$", "\\u0024")
    arguments = " ".join(str(task.get("program_arguments") or "").split())
    rows = f"${{{{outputs.{output}}}}}" if output else ""
    lines = [told, f"${{{{inputs.{data}}}}}", "", rows, arguments]
    # The same each time: a step whose command is another one is not reused.
    end = f"END-{hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:32]}"
    return "\n".join([f"exec python {shlex.quote(str(DRIVER))} <<'{end}'", *lines, end, ""])
