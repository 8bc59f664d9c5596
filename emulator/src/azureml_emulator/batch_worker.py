"""One process that scores: it loads a scoring script, calls ``init()`` once, and ``run(mini_batch)`` as it is asked to.

The job's own Python runs this file as a script, so it imports the standard library only; what else it touches (pandas,
mlflow) is what the job's environment has. It reads and writes JSON, a line each, through two pipes, so that its
standard output is the script's own. How a script is called, and how its answer is written, is what Azure documents:
https://learn.microsoft.com/azure/machine-learning/how-to-batch-scoring-script
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import pathlib
import shlex
import sys
import traceback
from types import SimpleNamespace
from typing import Any


def rows_of(result: Any) -> tuple[int, str]:
    """Say how many items an answer of ``run`` has, and what it adds to the output file.

    A DataFrame is written without the names of its columns and without its index, its columns separated by a space; of
    an array or a list, each element is a line of its own. Source: how-to-batch-scoring-script, "How to write
    predictions?"; the separator is the one with which Azure's own samples read the file.

    Raises:
        TypeError: It is none of these.
    """
    if hasattr(result, "to_csv") and hasattr(result, "columns"):
        return len(result), result.to_csv(sep=" ", header=False, index=False)
    items = result.tolist() if hasattr(result, "tolist") else result
    if not isinstance(items, (list, tuple)):
        raise TypeError(f"run() must return a pandas.DataFrame, an array or a list; it returned {result!r:.200}.")
    return len(items), "".join(f"{item}\n" for item in items)


def load(path: pathlib.Path) -> Any:
    """Load a scoring script as a module of its own name, with its folder on the path of modules.

    Raises:
        AttributeError: It has no ``init`` or no ``run``.
    """
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"The scoring script {path.name} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    if missing := [name for name in ("init", "run") if not callable(getattr(module, name, None))]:
        raise AttributeError(f"The scoring script {path.name} has no function {' and no function '.join(missing)}.")
    return module


def mlflow_script() -> Any:
    """Make what Azure makes for an MLflow model that has no scoring script: one call of ``predict`` for each file.

    Its rows are the number of the row, the prediction, and the file's name. Source:
    https://learn.microsoft.com/azure/machine-learning/how-to-mlflow-batch, "Analyze outputs".
    """
    script = SimpleNamespace()

    def init() -> None:
        pyfunc = importlib.import_module("mlflow.pyfunc")  # of the job's environment, not of the emulator's
        folder = min(pathlib.Path(os.environ["AZUREML_MODEL_DIR"]).rglob("MLmodel")).parent
        script.model = pyfunc.load_model(str(folder))

    def run(mini_batch: list[str]) -> Any:
        pd = importlib.import_module("pandas")  # likewise
        return pd.concat([_predict(script.model, pathlib.Path(file)) for file in mini_batch])

    script.init, script.run = init, run
    return script


def _predict(model: Any, file: pathlib.Path) -> Any:
    pd = importlib.import_module("pandas")  # likewise
    try:
        table = pd.read_csv(file) if file.suffix.lower() == ".csv" else pd.read_parquet(file)
        predicted = pd.DataFrame(model.predict(table)).reset_index(drop=True)
    except Exception as error:
        logging.getLogger("azureml").error("Error processing input file: '%s'. Exception: %s", file, error)  # noqa: TRY400  # Azure's words
        raise
    return pd.concat([pd.Series(range(len(predicted))), predicted, pd.Series([file.name] * len(predicted))], axis=1)


def _fault(error: BaseException) -> dict[str, Any]:
    said = f"{type(error).__name__}: {error}"
    return {"fault": said, "trace": "".join(traceback.format_exception(type(error), error, error.__traceback__))}


def _begin(settings: dict[str, Any]) -> Any:
    """Load what scores, and have it prepare itself."""
    level = settings["logging_level"]
    logging.basicConfig(level=level, stream=sys.stdout)
    path = pathlib.Path.cwd() / settings["script"]
    # Scripts read it there: how-to-troubleshoot-batch-endpoints, "Add logging to scoring script".
    sys.argv = [str(path), *shlex.split(settings["arguments"]), "--logging_level", level]
    sys.path[0] = str(pathlib.Path.cwd())  # instead of the folder of this file
    script = load(path) if settings["script"] else mlflow_script()
    script.init()
    return script


def _score(script: Any, files: list[str]) -> dict[str, Any]:
    returned, rows = rows_of(script.run(files))
    return {"returned": returned, "rows": rows}


def serve(requests: int, answers: int) -> None:
    """Answer what is asked until nothing more is; the first line is the settings, each other one a mini-batch."""
    for pipe in (requests, answers):
        os.set_inheritable(pipe, False)  # noqa: FBT003  # its only form
    script: Any = None
    with open(requests) as asked, open(answers, "w") as told:  # pipes have no path
        for line in asked:
            message = json.loads(line)
            answer: dict[str, Any] = {}
            try:
                if script is None:
                    script = _begin(message)
                else:
                    answer = _score(script, message)
            except BaseException as error:  # noqa: BLE001  # whatever a script raises, SystemExit too, is its answer
                answer = _fault(error)
            sys.stdout.flush()
            told.write(json.dumps(answer) + "\n")
            told.flush()


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
