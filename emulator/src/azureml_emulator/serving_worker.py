"""One process of an online deployment: it calls a script's ``init()`` once, and ``run(data)`` as it is asked to.

The deployment's own Python runs this file as a script, so it imports the standard library only; what else it touches
(pandas, mlflow) is what the deployment's environment has. It answers HTTP on a port of the loopback address that it
chooses itself, as Azure's inference server does:
https://learn.microsoft.com/azure/machine-learning/how-to-inference-server-http. One line of JSON on a pipe says which
port once it is ready. It lives as long as its standard input is open, so that no process outlives who started it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import pathlib
import signal
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

#: The exit code of Azure's inference server when the script cannot be used.
UNUSABLE = 3
#: What it says when ``run`` raised; the log has the traceback.
RUN_FAILED = "An unexpected error occurred in scoring script. Check the logs for more info."
#: The most that Azure takes: https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas.
_LONGEST_BODY = 100 * 1024 * 1024
_log = logging.getLogger("azmlinfsrv")
#: What scripts import of Azure's images, for where that is not installed.
STAND_INS = pathlib.Path(__file__).with_name("stand_ins")


@dataclass
class Asked:
    """A request."""

    method: str
    path: str
    headers: Any
    body: bytes


@dataclass
class Answer:
    """What is sent back.

    Attributes:
        has_failed: Whether ``run`` raised.
    """

    status: int
    body: bytes
    headers: dict[str, str]
    has_failed: bool = False


def text(status: int, words: str, *, has_failed: bool = False) -> Answer:
    """Make an answer in words."""
    return Answer(status, words.encode(), {"Content-Type": "text/html; charset=utf-8"}, has_failed)


def beside(name: str) -> Any:
    """Load a file that lies beside this one, without making all its neighbours importable by the script."""
    spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(f"{name}.py is not beside {__file__}.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# MLflow models that have no script


def mlflow_script() -> Any:
    """Make what Azure makes for an MLflow model that has no scoring script.

    Source: https://learn.microsoft.com/azure/machine-learning/how-to-deploy-mlflow-models-online-endpoints.
    """
    script = SimpleNamespace()

    def init() -> None:
        pyfunc = importlib.import_module("mlflow.pyfunc")  # of the deployment's environment, not of the emulator's
        folder = min(pathlib.Path(os.environ["AZUREML_MODEL_DIR"]).rglob("MLmodel")).parent
        script.model = pyfunc.load_model(str(folder))
        script.collected = collecting()

    def run(raw_data: str) -> Any:
        try:
            given = json.loads(raw_data)
        except ValueError as error:
            return text(400, f"The request is no JSON: {error}.")
        if not isinstance(given, dict) or "input_data" not in given:
            return text(400, "Request must contain a top level key named 'input_data'")
        data = model_input(given["input_data"], script.model.metadata.get_input_schema())
        more = {"params": given["params"]} if given.get("params") else {}
        context = script.collected("model_inputs", data)
        predicted = script.model.predict(data, **more)
        script.collected("model_outputs", predicted, context)
        return plain(predicted)

    script.init, script.run = init, run
    return script


def collecting() -> Any:
    """Make what collects the inputs and outputs of a model that has no script; nothing where nobody wants them.

    Source: https://learn.microsoft.com/azure/machine-learning/how-to-collect-production-data, "MLflow models".
    """
    wanted = {}
    if os.environ.get("AZUREML_MDC_CONFIG_PATH"):
        monitoring = importlib.import_module("azureml.ai.monitoring")  # of the deployment's environment, or a stand-in
        said = json.loads(pathlib.Path(os.environ["AZUREML_MDC_CONFIG_PATH"]).read_text())
        wanted = {name: monitoring.Collector(name=name, on_error=_log.warning) for name in said["collections"]}

    def collect(name: str, table: Any, *context: Any) -> Any:
        if name not in wanted:
            return None
        pd = importlib.import_module("pandas")  # likewise
        return wanted[name].collect(table if isinstance(table, pd.DataFrame) else pd.DataFrame(table), *context)

    return collect


def model_input(given: Any, schema: Any) -> Any:
    """Read ``input_data``: a table by columns, index and data; columns by name; a list of records; or rows of numbers.

    Args:
        given: It.
        schema: The input schema of the model's signature; None where it has none.
    """
    pd = importlib.import_module("pandas")  # of the deployment's environment
    is_tensor = schema is not None and schema.is_tensor_spec()
    if isinstance(given, dict) and not is_tensor:
        split = "data" in given and not given.keys() - {"columns", "index", "data"}
        return _cast(pd.DataFrame(**given) if split else pd.DataFrame(given), schema)
    if isinstance(given, list) and given and isinstance(given[0], dict):
        return _cast(pd.DataFrame(given), schema)
    np = importlib.import_module("numpy")  # likewise
    if isinstance(given, dict):
        return {name: np.array(values) for name, values in given.items()}
    if schema is None or is_tensor:
        return np.array(given)
    return _cast(pd.DataFrame(given, columns=schema.input_names()), schema)


def _cast(table: Any, schema: Any) -> Any:
    """Give a table's columns the types of the signature: JSON does not tell an int from a float that is whole."""
    for column in schema.inputs if schema is not None else ():
        if column.name in table:
            kind = column.type.to_pandas()
            table[column.name] = table[column.name].astype(kind)
    return table


def plain(predicted: Any) -> Any:
    """Turn what a model predicted into what JSON can hold: a table into a list of records."""
    if hasattr(predicted, "to_dict") and hasattr(predicted, "columns"):
        return predicted.to_dict(orient="records")
    return predicted.tolist() if hasattr(predicted, "tolist") else predicted


# the script


def load(script: str, code: str) -> Any:
    """Load what scores, and have it prepare itself.

    Args:
        script: The scoring script, beneath the code; empty for an MLflow model that has none.
        code: The folder of the code.
    """
    sys.path[0] = code  # instead of the folder of this file
    sys.path.append(str(STAND_INS))
    loaded = beside("batch_worker").load(pathlib.Path(code) / script) if script else mlflow_script()
    loaded.init()
    return loaded


class Scorer:
    """Calls ``run``, as many at once as the server has workers."""

    def __init__(self, script: Any, workers: int) -> None:
        self._run = script.run
        self._turn = threading.BoundedSemaphore(workers)

    def answer(self, asked: Asked) -> Answer:
        """Score a request; whatever ``run`` raises is an answer, too."""
        with self._turn:
            start = time.perf_counter()
            try:
                answer = answer_of(self._run(_given(self._run, asked)))
            except Exception:  # noqa: BLE001  # whatever it is, it is an answer
                _log.exception("Encountered Exception in run (request %s)", asked.headers.get("x-ms-request-id", "-"))
                answer = text(500, RUN_FAILED, has_failed=True)
            answer.headers["x-ms-run-fn-exec-ms"] = f"{1000 * (time.perf_counter() - start):.3f}"
        answer.headers["x-ms-run-function-failed"] = str(answer.has_failed)
        return answer


def _given(run: Any, asked: Asked) -> Any:
    """Make what ``run`` takes: the text of the body, or the request itself where it is marked so."""
    requests = sys.modules.get("azureml_inference_server_http.api.aml_request")
    if requests is not None and getattr(run, getattr(requests, "RAW", ""), False):
        return requests.AMLRequest(asked.method, asked.path, asked.headers, asked.body)
    return asked.body.decode("utf-8", "replace")


def answer_of(returned: Any) -> Answer:
    """Make an answer of what ``run`` returned: an AMLResponse as it says, Flask's likewise, and all else as JSON."""
    if isinstance(returned, Answer):
        return returned
    if hasattr(returned, "status_code") and hasattr(returned, "get_data"):
        has_failed = bool(getattr(returned, "run_function_failed", False))
        headers = {name: value for name, value in returned.headers.items() if name.lower() != "content-length"}
        return Answer(int(returned.status_code), returned.get_data(), headers, has_failed)
    return Answer(200, json.dumps(returned).encode(), {"Content-Type": "application/json"})


# HTTP


class Handler(BaseHTTPRequestHandler):
    """One connection; it stays open as long as the client likes."""

    protocol_version = "HTTP/1.1"
    server_version = "azmlinfsrv"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together
    scorer: Scorer
    swagger: bytes

    def do_GET(self) -> None:  # the base class's name
        """Say that it lives, or what it takes."""
        path = self.path.partition("?")[0]
        if path == "/swagger.json":
            self._send(Answer(200, self.swagger, {"Content-Type": "application/json"}))
        else:
            self._send(text(200, "Healthy") if path == "/" else text(404, "Not found"))

    def do_POST(self) -> None:  # likewise
        """Score."""
        said = self.headers.get("Content-Length", "0")
        length = int(said) if said.isdecimal() else _LONGEST_BODY + 1
        if "Transfer-Encoding" in self.headers or length > _LONGEST_BODY:
            self.close_connection = True  # what follows is not read
            self._send(text(413, f"The request is longer than {_LONGEST_BODY} bytes, or does not say how long it is."))
            return
        body = self.rfile.read(length)
        if self.path.partition("?")[0] == "/score":
            self._send(self.scorer.answer(Asked(self.command, self.path, self.headers, body)))
        else:
            self._send(text(404, "Not found"))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        own = {"Content-Length": str(len(answer.body))}
        if request_id := self.headers.get("x-ms-request-id"):
            own["x-ms-request-id"] = request_id
        for name, value in (answer.headers | own).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: Any) -> None:  # what was asked is counted before this process
        """Log nothing of a request that was answered."""


class Server(ThreadingHTTPServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 256


def swagger(name: str) -> bytes:
    """Say what a deployment takes, of which nothing more is known than that it is JSON."""
    anything = {"application/json": {"schema": {"type": "object", "example": {}}}}
    score = {
        "operationId": "RunMLService",
        "description": "Run web service's model and get the prediction output",
        "security": [{"Bearer": []}],
        "requestBody": {"content": anything},
        "responses": {"200": {"description": "The service processed the input correctly", "content": anything}},
    }
    return json.dumps(
        {
            "openapi": "3.0.3",
            "info": {"title": name, "description": f"API specification for {name}", "version": "1.0"},
            "components": {"securitySchemes": {"Bearer": {"type": "apiKey", "name": "Authorization", "in": "header"}}},
            "paths": {"/score": {"post": score}},
        }
    ).encode()


def end_with_parent() -> None:
    """End this process and all that it started when its standard input is closed."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def main(settings: dict[str, Any], ready: int) -> None:
    """Serve until the end.

    Args:
        settings: ``script``, ``code``, ``name`` and ``workers``.
        ready: A pipe that is told the port.
    """
    os.set_inheritable(ready, False)  # noqa: FBT003  # its only form
    logging.basicConfig(
        level="INFO", stream=sys.stdout, format="%(asctime)s %(levelname).1s [%(process)d] %(name)s - %(message)s"
    )
    try:
        script = load(settings["script"], settings["code"])
    except BaseException:  # noqa: BLE001  # whatever a script raises, SystemExit too, says that it cannot be used
        _log.exception("Encountered Exception in init")
        sys.stdout.flush()
        os._exit(UNUSABLE)  # whatever threads the script has left behind
    Handler.scorer, Handler.swagger = Scorer(script, settings["workers"]), swagger(settings["name"])
    server = Server(("127.0.0.1", 0), Handler)
    _log.info("Listening at port %d", server.server_address[1])
    sys.stdout.flush()
    with open(ready, "w") as told:  # a pipe has no path
        told.write(json.dumps({"port": server.server_address[1]}) + "\n")
    server.serve_forever()


if __name__ == "__main__":
    end_with_parent()
    main(json.loads(sys.argv[1]), int(sys.argv[2]))
