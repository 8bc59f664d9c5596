"""Which modules of a package another one needs: what goes along as the code of a job that runs a part of it."""

import ast
from collections.abc import Callable, Iterator, Mapping

from airflow_azureml.errors import ConfigError

#: Reads a module's source by its dotted name; None where there is no such module. Of a package: its ``__init__``.
SourceOf = Callable[[str], str | None]


def needed(start: str, source_of: SourceOf, *, package: str) -> Mapping[str, str]:
    """Follow the imports of a module within its package, those inside of functions too.

    Args:
        start: The module, by its dotted name.
        source_of: Reads a module.
        package: Beyond this package no import is followed.

    Returns:
        The sources by dotted names, packages among them.

    Raises:
        ConfigError: A module that is imported is not there.
    """
    found: dict[str, str] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        text = source_of(name)
        if text is None:
            raise ConfigError(f"{start} needs {name}, whose source is not to be had: is the package installed whole?")
        found[name] = text
        parts = name.split(".")
        waiting += [".".join(parts[:depth]) for depth in range(1, len(parts))]
        waiting += [each for each in _imported(name, text, source_of) if f"{each}.".startswith(f"{package}.")]
    return found


def _imported(name: str, text: str, source_of: SourceOf) -> Iterator[str]:
    """Name the modules that a module imports, but for what only a type checker does."""
    for node in _run(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ConfigError(f"{name} imports by a relative name, which is not followed.")
            module = node.module or ""
            yield module
            below = (f"{module}.{each.name}" for each in node.names)
            yield from (each for each in below if source_of(each) is not None)


def _run(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield other
                yield from _run(other)
            continue
        yield child
        yield from _run(child)
