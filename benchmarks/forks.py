"""Doing a thing in a child as Airflow does: forked from a parent that has its plugins and listeners loaded."""

import gc
import importlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def start_as_airflow_does(home: str, modules: Sequence[str]) -> None:
    """Load what one of Airflow's components has loaded before it forks.

    Args:
        home: A folder for this Airflow.
        modules: The component's own modules.
    """
    os.environ.update(AIRFLOW_HOME=home, AIRFLOW__CORE__LOAD_EXAMPLES="False", AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR")
    for module in modules:
        importlib.import_module(module)
    # airflow.jobs.job.Job.prepare_for_execution calls the listeners, which loads the plugins.
    importlib.import_module("airflow.listeners.listener").get_listener_manager()
    logging.disable(logging.ERROR)
    # As both of them do before they fork (airflow.executors.local_executor, airflow.dag_processing.manager): else a
    # child's garbage collector walks through, and so copies, all that the parent has loaded.
    gc.collect()
    gc.freeze()


def in_child(do: Callable[[], Mapping[str, Any]], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Do a thing in a child.

    Args:
        do: What to do; its figures are returned.
        environment: What the child's environment has besides.

    Returns:
        The figures, and ``cpu_s``: the CPU seconds of the child's whole life.

    Raises:
        RuntimeError: It failed; what it raised is on stderr.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.environ.update(environment or {})
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.write(writing, json.dumps(dict(do())).encode())
            code = 0
        except BaseException:  # noqa: BLE001  # a child must never go on as its parent
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as answer:
        figures = answer.read()
    _, status, used = os.wait4(child, 0)
    if status:
        raise RuntimeError("the child failed")
    return {**json.loads(figures), "cpu_s": used.ru_utime + used.ru_stime}
