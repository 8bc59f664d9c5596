"""What runs in the job of `@task.azureml`: it is shipped beside the function, and needs nothing but Python 3.8.

    python airflow_runner.py RESULT_FOLDER

It reads ``call.json``, calls the function of ``airflow_function.py``, and writes ``return.json`` into the result
folder. When the function raises, it writes ``outputs/airflow_error.json`` (Azure ML keeps ``./outputs`` of a failed job
too) and ends with status 1, so that the job is Failed.
"""

import importlib
import json
import sys
import traceback
from pathlib import Path

CALL = "call.json"
FUNCTION = "airflow_function"
RETURNED = "return.json"
RAISED = "outputs/airflow_error.json"
MOST_TRACEBACK = 16_000


def main(result_folder: str) -> int:
    """Call the function, and return the process's status."""
    try:
        call = json.loads(Path(CALL).read_text(encoding="utf-8"))
        # What this prints belongs between the function's own words.
        function = getattr(importlib.import_module(FUNCTION), call["function"])
        text = _as_json(function(*call["args"], **call["kwargs"]), call["most_bytes"])
    except BaseException as error:  # noqa: BLE001  # sys.exit() in a function is a failure of the function, too
        _tell(error)
        return 1
    folder = Path(result_folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RETURNED).write_text(text, encoding="utf-8")
    return 0


def _as_json(value: object, most_bytes: int) -> str:
    try:
        text = json.dumps({"value": value}, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"The return value is a {type(value).__name__} that is no JSON value: {error}"
        raise TypeError(message) from error
    size = len(text.encode())
    if size > most_bytes:
        raise ValueError(
            f"The return value has {size} bytes as JSON, and {most_bytes} are the most. Write it to storage, and return"
            " its URI."
        )
    return text


def _tell(error: BaseException) -> None:
    sys.stdout.flush()
    # The first frame is this file's.
    frames = error.__traceback__.tb_next if error.__traceback__ and error.__traceback__.tb_next else error.__traceback__
    told = "".join(traceback.format_exception(type(error), error, frames))
    sys.stderr.write(told)
    sys.stderr.flush()
    body = {
        "type": type(error).__name__,
        "message": "".join(traceback.format_exception_only(type(error), error)).strip()[:2000],
        "traceback": told[-MOST_TRACEBACK:],
    }
    path = Path(RAISED)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
