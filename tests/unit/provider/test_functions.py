"""What of a function is shipped, what is refused, and that what is shipped runs alone."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from airflow_azureml.core import functions, runner
from airflow_azureml.core.functions import MOST_RETURNED, RemoteFailure, ShippedFunction
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, ProtocolError, RefusedError
from airflow_azureml.wire import outputs
from tests.unit.provider.conversation import Talk, answer

LIMIT = 3
WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w", endpoint="https://arm")


def _run(folder: Path, function: Callable[..., Any], *args: Any, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Lay the function out and run it as a job would: in a folder of its own, by a Python that knows nothing of us."""
    shipped = ShippedFunction.of(function)
    for name, text in functions.files_of(shipped, functions.call_text(shipped, args, kwargs)).items():
        (folder / name).write_text(text)
    return subprocess.run(
        [sys.executable, "-I", "-c", _ISOLATED, str(folder / "result")],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )


#: ``-I`` leaves out the folder of the script, which a job has.
_ISOLATED = (
    "import sys, runpy; sys.path.insert(0, '.'); sys.argv = ['airflow_runner.py', sys.argv[1]];"
    "runpy.run_path('airflow_runner.py', run_name='__main__')"
)


def _returned(folder: Path) -> Any:
    return functions.returned((folder / "result" / runner.RETURNED).read_bytes(), job="j")


def plain(first: Unimportable, *rest: int, word: str = "w") -> dict[str, Any]:  # type: ignore[name-defined]  # noqa: F821
    """Have an annotation that means nothing where it runs."""
    from math import floor  # noqa: PLC0415  # what stands inside is shipped

    class Own:
        value = LEN = 2
        again = LEN

    return {"first": floor(first), "rest": [one * Own.again for one in rest], "word": word}


def fails(depth: int) -> None:
    if depth:
        return fails(depth - 1)
    raise LookupError("quoth the 🦆")


def test_a_function_runs_alone_with_its_arguments(tmp_path: Path) -> None:
    done = _run(tmp_path, plain, 1.5, 2, 3, word="$(rm) 'é")

    assert done.returncode == 0, done.stderr
    assert _returned(tmp_path) == {"first": 1, "rest": [4, 6], "word": "$(rm) 'é"}


def test_a_function_that_stands_indented_keeps_the_strings_in_it(tmp_path: Path) -> None:
    def indented() -> str:
        return """one
two
    three"""

    assert _run(tmp_path, indented).returncode == 0
    assert _returned(tmp_path) == "one\ntwo\n    three"


def test_what_a_function_raises_is_written_with_its_traceback_and_the_process_fails(tmp_path: Path) -> None:
    done = _run(tmp_path, fails, 2)

    assert done.returncode == 1
    failure = RemoteFailure.from_wire((tmp_path / runner.RAISED).read_bytes())
    assert failure is not None
    assert failure.message == "LookupError: quoth the 🦆"
    assert failure.traceback.count("in fails") == 3
    assert "airflow_runner" not in failure.traceback
    assert "LookupError" in done.stderr
    assert not (tmp_path / "result").exists()


def test_a_function_that_exits_has_failed_whatever_its_status(tmp_path: Path) -> None:
    def leaves() -> None:
        import sys  # noqa: PLC0415  # what stands inside is shipped

        sys.exit(0)

    assert _run(tmp_path, leaves).returncode == 1
    assert b"SystemExit" in (tmp_path / runner.RAISED).read_bytes()


@pytest.mark.parametrize(("size", "status"), [(MOST_RETURNED - 13, 0), (MOST_RETURNED - 12, 1)])
def test_a_return_value_may_be_so_large_and_no_larger(tmp_path: Path, size: int, status: int) -> None:
    def text_of(size: int) -> str:
        return "x" * size

    assert _run(tmp_path, text_of, size).returncode == status
    if status:
        assert b"Write it to storage, and return its URI" in (tmp_path / runner.RAISED).read_bytes()


def test_a_return_value_that_is_no_json_fails_and_names_its_type(tmp_path: Path) -> None:
    def makes() -> object:
        return {1, 2}

    assert _run(tmp_path, makes).returncode == 1
    assert b"is a set that is no JSON value" in (tmp_path / runner.RAISED).read_bytes()


def _closing() -> Callable[..., Any]:
    factor = 2

    def closes(number: int) -> int:
        return number * factor

    return closes


class Holder:
    def method(self) -> int:
        return 1


def uses_module() -> int:
    return sum(each for each in range(9) if each < LIMIT) + len(json.dumps(1))


def has_default(limit: int = LIMIT) -> int:
    return limit


async def waits() -> int:
    return 1


def yields() -> Iterator[int]:
    yield 1


@functools.cache
def cached() -> int:
    return 1


def _wrapping(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def around(*args: Any) -> Any:
        return function(*args)

    return around


@_wrapping
def wrapped() -> int:
    return 1


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda: 1, "it is a lambda"),
        (_closing(), "it uses factor of the function around it"),
        (Holder.method, "it is a method of Holder"),
        (Holder().method, "is no plain function"),
        (uses_module, "it uses LIMIT, json from outside"),
        (has_default, "a default is made of LIMIT from outside"),
        (waits, "it is async"),
        (yields, "it is a generator"),
        (cached, "is no plain function"),
        (wrapped, "another decorator wraps it"),
        (functools.partial(plain, 1), "is no plain function"),
        (len, "is no plain function"),
    ],
)
def test_what_does_not_stand_alone_is_refused(function: Callable[..., Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ShippedFunction.of(function)


def test_a_function_without_source_is_refused() -> None:
    made: dict[str, Any] = {}
    exec("def nowhere(): return 1", made)  # noqa: S102  # that is how a function comes to have no source

    with pytest.raises(ConfigError, match="its source is not to be had"):
        ShippedFunction.of(made["nowhere"])


def ours(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    del options
    return lambda function: function


@ours(
    compute="cpu",
    environment="image",
)
def decorated() -> str:
    return "alone"


def other(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


@ours()
@other
def twice_decorated() -> str:
    return "alone"


def test_our_decorator_is_not_shipped(tmp_path: Path) -> None:
    assert "@ours" not in ShippedFunction.of(decorated).text
    assert _run(tmp_path, decorated).returncode == 0
    assert _returned(tmp_path) == "alone"


def test_another_decorator_would_be_lost_and_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"other decorators than ours \(@ours, @other\)"):
        ShippedFunction.of(twice_decorated)


class Lazy(Sequence[int]):
    """As Airflow hands over what mapped tasks returned."""

    def __getitem__(self, at: Any) -> Any:
        return [1, 2][at]

    def __len__(self) -> int:
        return 2


def test_a_lazy_sequence_is_handed_over_as_a_list() -> None:
    shipped = ShippedFunction.of(fails)

    assert json.loads(functions.call_text(shipped, [Lazy()], {}))["args"] == [[1, 2]]


def test_all_arguments_that_are_no_json_are_named() -> None:
    shipped = ShippedFunction.of(fails)

    with pytest.raises(ConfigError, match=r"argument 1 is a object .*argument day is a float .*Nothing was submitted"):
        functions.call_text(shipped, [object()], {"day": float("nan"), "fine": 1})


def test_a_result_that_is_not_ours_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="Read the return value of job j"):
        functions.returned(b"[]", job="j")
    assert RemoteFailure.from_wire(b"<html>") is None


# where the files are


@pytest.mark.parametrize(
    "uri",
    [
        "azureml://datastores/store/paths/a b/c.json",
        "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/store/paths/a b/c.json",
        "azureml://subscriptions/s/resourceGroups/g/workspaces/W/datastores/store/paths/a b/c.json",
    ],
)
def test_a_file_of_a_datastore_is_a_blob(uri: str) -> None:
    store = {"datastoreType": "AzureBlob", "accountName": "acc", "containerName": "box", "endpoint": "core.x"}

    talk = Talk()
    url = talk.hold(outputs.blob_url(WORKSPACE, uri, domain="core.windows.net"), [answer(200, {"properties": store})])

    assert url == "https://acc.blob.core.x/box/a%20b/c.json"
    assert [one.url for one in talk.asked] == [f"{WORKSPACE.url}/datastores/store"]


def test_a_uri_of_another_workspace_or_of_no_datastore_is_refused_before_anything_is_asked() -> None:
    other = "azureml://subscriptions/s/resourcegroups/g/workspaces/other/datastores/d/paths/x"
    for uri, told in ((other, "is of workspace other"), ("https://x/y", "names no file of a datastore")):
        with pytest.raises(ConfigError, match=told):
            Talk().hold(outputs.blob_url(WORKSPACE, uri, domain="d"), [])


def test_a_datastore_without_blobs_or_that_is_not_there_is_told() -> None:
    uri = "azureml://datastores/store/paths/x"
    share = {"properties": {"datastoreType": "AzureFile", "accountName": "a", "fileShareName": "f"}}
    with pytest.raises(ConfigError, match="it is AzureFile, which is no container of blobs"):
        Talk().hold(outputs.blob_url(WORKSPACE, uri, domain="d"), [answer(200, share)])
    with pytest.raises(RefusedError, match="Read datastore store of workspace w: 404"):
        Talk().hold(outputs.blob_url(WORKSPACE, uri, domain="d"), [answer(404)])
