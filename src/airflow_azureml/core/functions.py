"""Functions that run elsewhere: what of them is shipped, what cannot be, and what comes back."""

import ast
import builtins
import dis
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any, Self

from attrs import frozen

from airflow_azureml.core import runner
from airflow_azureml.errors import ConfigError, ProtocolError

#: A return value goes into XCom, which is a table and no store. Bytes of its JSON.
MOST_RETURNED = 48 * 1024
#: Bytes of ``airflow_error.json``: a traceback of `runner.MOST_TRACEBACK` characters, escaped.
MOST_ERROR = 256 * 1024
RUNNER_FILE = "airflow_runner.py"
FUNCTION_FILE = f"{runner.FUNCTION}.py"
#: Airflow's own decorators, which may stand beside ours; they change when a task runs, and not what it does.
_HARMLESS = frozenset({"setup", "teardown"})
_OF_EVERY_MODULE = frozenset({"__name__", "__file__", "__doc__", "__builtins__"})
_HEAD = "# Shipped by @task.azureml; annotations are not evaluated.\nfrom __future__ import annotations\n\n"


@frozen(kw_only=True)
class ShippedFunction:
    """A function as text.

    Attributes:
        name: Its name in the text.
        text: A Python module with the function, without its decorators, and nothing else.
    """

    name: str
    text: str

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Self:
        """Read a function's source, and refuse what would not run alone.

        Raises:
            ConfigError: It is a lambda, a method, a coroutine or a generator, is wrapped by another decorator, uses
                variables of an enclosing function or names of its module, or its source is not to be had; the message
                says all of it.
        """
        if not isinstance(function, FunctionType):
            raise ConfigError(f"@task.azureml: {function!r} is no plain function; give it a function made with def.")
        kind = _faults_of_kind(function)
        if kind:
            raise ConfigError(_complaint(function, kind))
        text, node = _source(function)
        wrong = [*_faults_of_names(function), *_faults_of_source(node)]
        if wrong:
            raise ConfigError(_complaint(function, wrong))
        return cls(name=function.__name__, text=text)


def _complaint(function: FunctionType, wrong: Sequence[str]) -> str:
    return (
        f"@task.azureml cannot ship {function.__qualname__}: {'; '.join(wrong)}. Only the function's own source goes to"
        " Azure ML: import inside of it, and pass the rest as arguments. Nothing was submitted."
    )


def _faults_of_kind(function: FunctionType) -> list[str]:
    wrong = []
    if function.__name__ == "<lambda>":
        wrong.append("it is a lambda; make it a function with def")
    scope = function.__qualname__.rpartition(".")[0]
    if scope and not scope.endswith("<locals>"):
        wrong.append(f"it is a method of {scope}")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        wrong.append("it is async")
    elif inspect.isgeneratorfunction(function):
        wrong.append("it is a generator, whose values are no JSON value")
    if hasattr(function, "__wrapped__"):
        wrong.append("another decorator wraps it")
    if function.__code__.co_freevars:
        names = ", ".join(function.__code__.co_freevars)
        wrong.append(f"it uses {names} of the function around it")
    return wrong


def _faults_of_names(function: FunctionType) -> Iterator[str]:
    """Find the names of the DAG file that the function uses, which are not there where it runs."""
    loaded, stored = _global_names(function.__code__)
    known = {*vars(builtins), *_OF_EVERY_MODULE, *stored, function.__name__}
    missing = sorted(loaded - known)
    if missing:
        yield f"it uses {', '.join(missing)} from outside"


def _global_names(code: CodeType) -> tuple[set[str], set[str]]:
    loaded, stored = set(), set()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            loaded.add(str(step.argval))
        elif step.opname == "STORE_GLOBAL":
            stored.add(str(step.argval))
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            more_loaded, more_stored = _global_names(inner)
            # A class body looks its own names up by LOAD_NAME before they are the module's.
            own = set(inner.co_names) & _stored_names(inner)
            loaded |= more_loaded - own
            stored |= more_stored
    return loaded, stored


def _stored_names(code: CodeType) -> set[str]:
    return {str(step.argval) for step in dis.get_instructions(code) if step.opname == "STORE_NAME"}


def _faults_of_source(node: ast.FunctionDef) -> Iterator[str]:
    defaults = [*node.args.defaults, *(each for each in node.args.kw_defaults if each is not None)]
    names = {part.id for each in defaults for part in ast.walk(each) if isinstance(part, ast.Name)}
    missing = sorted(names - set(vars(builtins)))
    if missing:
        yield f"a default is made of {', '.join(missing)} from outside"
    others = [each for each in node.decorator_list if ast.unparse(each).partition("(")[0] not in _HARMLESS]
    if len(others) > 1:
        named = ", ".join(f"@{ast.unparse(each).partition('(')[0]}" for each in others)
        yield f"it has other decorators than ours ({named})"


def _source(function: FunctionType) -> tuple[str, ast.FunctionDef]:
    try:
        lines = inspect.getsource(function).splitlines()
    except (OSError, TypeError) as error:
        raise ConfigError(_complaint(function, [f"its source is not to be had ({error})"])) from error
    # An indented function stays as it is, under a condition: to dedent it would change the strings in it.
    if lines[0][:1].isspace():
        lines.insert(0, "if True:")
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError as error:
        raise ConfigError(_complaint(function, [f"its source cannot be read alone ({error})"])) from error
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function.__name__]
    if not nodes:
        raise ConfigError(_complaint(function, ["its source shows no def of that name"]))
    node = nodes[0]
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    kept = [*lines[: first - 1], *lines[node.lineno - 1 : node.end_lineno]]
    return _HEAD + "\n".join(kept) + "\n", node


def call_text(function: ShippedFunction, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Write a call as JSON; tuples become lists, and a mapping's keys texts.

    Raises:
        ConfigError: An argument is no JSON value; the message names it.
    """
    wrong = []
    for name, value in [*enumerate(args), *kwargs.items()]:
        try:
            _dumps(value)
        except (TypeError, ValueError, RecursionError) as error:
            named = f"argument {name + 1}" if isinstance(name, int) else f"argument {name}"
            wrong.append(f"{named} is a {type(value).__name__} ({error})")
    if wrong:
        raise ConfigError(
            f"@task.azureml calls {function.name} with JSON values only: {'; '.join(wrong)}. Nothing was submitted."
        )
    return _dumps({"function": function.name, "args": list(args), "kwargs": dict(kwargs), "most_bytes": MOST_RETURNED})


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    """Write what Airflow hands over for the results of mapped tasks: a sequence that is no list."""
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"a {type(value).__name__} is no JSON value")


def files_of(function: ShippedFunction, call: str) -> Mapping[str, str]:
    """Name the files of the job's code folder, and what is in them."""
    return {
        RUNNER_FILE: inspect.getsource(runner),
        FUNCTION_FILE: function.text,
        runner.CALL: call,
    }


def returned(content: bytes, *, job: str) -> Any:
    """Read ``return.json``.

    Raises:
        ProtocolError: It is none that our runner writes.
    """
    try:
        return json.loads(content)["value"]
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(
            f"Read the return value of job {job}: {runner.RETURNED} is not readable ({error})"
        ) from error


@frozen(kw_only=True)
class RemoteFailure:
    """What a function raised where it ran.

    Attributes:
        message: The exception's type and message.
        traceback: As Python prints it there.
    """

    message: str
    traceback: str

    @classmethod
    def from_wire(cls, content: bytes) -> Self | None:
        """Read ``airflow_error.json``; None when it is none that our runner writes."""
        try:
            body = json.loads(content)
            return cls(message=str(body["message"]), traceback=str(body["traceback"]))
        except (ValueError, KeyError, TypeError):
            return None
