"""The file of a gate's policy: YAML or JSON, read with the line and the column of all that is wrong with it."""

import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from typing import Any

from airflow_azureml.core.evaluation import shown
from airflow_azureml.core.gate import KINDS, Policy, place, rule_of
from airflow_azureml.core.gate_faults import contradictions
from airflow_azureml.core.gate_members import Fault
from airflow_azureml.core.gate_rules import Rule
from airflow_azureml.core.marked import Marked
from airflow_azureml.errors import ConfigError

#: Where the JSON Schema is, in this package.
SCHEMA_FILE = "schemas/gate-policy-1.json"
#: Characters of the longest policy that is read.
LONGEST = 256 * 1024
#: How JSON Schema's types are called here.
_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
}
#: Most faults that are told at once.
_MOST = 20


def parse(text: str, *, name: str) -> Policy:
    """Read a policy's file.

    Args:
        text: YAML or JSON.
        name: What errors call it, such as its file's name.

    Raises:
        ConfigError: It is no policy; the message names each thing that is wrong, with its line and column.
    """
    if len(text) > LONGEST:
        raise ConfigError(f"{name} has {len(text)} characters; a policy has {LONGEST} at most.")
    marked = Marked.parse(text, name=name)
    value = marked.value
    wrong = _faults(value)
    ordered = sorted(wrong, key=lambda one: (marked.where(one.path, key=one.is_key), one.path == (), one.message))
    _refuse(name, [marked.told(one.path, f"{one.message}.", key=one.is_key) for one in ordered])
    return Policy.from_wire(value)


def from_wire(raw: Any, *, name: str) -> Policy:
    """Read a policy's content, as `Policy.to_wire` writes it.

    Raises:
        ConfigError: It is no policy; the message names each thing that is wrong, and where.
    """
    wrong = sorted(_faults(raw), key=lambda one: (place(one.path), one.message))
    _refuse(name, [f"{name}: {place(one.path)}{one.message}." for one in wrong])
    return Policy.from_wire(raw)


def schema() -> dict[str, Any]:
    """Give the policy's JSON Schema, as it is published."""
    found: dict[str, Any] = json.loads(resources.files("airflow_azureml").joinpath(SCHEMA_FILE).read_text("utf-8"))
    return found


def _refuse(name: str, told: list[str]) -> None:
    lines = list(dict.fromkeys(told))
    if lines:
        more = [f"{name}: {len(lines) - _MOST} more faults."] if len(lines) > _MOST else []
        raise ConfigError("\n".join([*lines[:_MOST], *more]))


def _faults(raw: Any) -> list[Fault]:
    """Find all that is wrong with the form and with rules whose form is right; if the form is right, with the whole."""
    wrong = list(_faults_of_form(raw))
    if not wrong:
        return Policy.from_wire(raw).faults()
    sections = {name: list(_sound_rules(raw, name, wrong)) for name in KINDS}
    for section, rules in sections.items():
        for number, rule in enumerate(rules):
            wrong += [fault.below(section, number) for fault in rule.faults()] if rule else []
    return [*wrong, *contradictions(sections)]


def _sound_rules(raw: Any, section: str, wrong: list[Fault]) -> Iterator[Rule | None]:
    """Read the rules whose form is right; for each other, give None."""
    entries = raw.get(section) if isinstance(raw, Mapping) else None
    bad = {fault.path[:2] for fault in wrong}
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        yield None if (section, number) in bad else rule_of(KINDS[section], entry)


def _faults_of_form(raw: Any) -> Iterator[Fault]:
    """Compare with the JSON Schema."""
    try:
        import jsonschema  # noqa: PLC0415  # parsing a DAG must not need it
    except ImportError as missing:
        raise ConfigError("Reading a policy's file needs jsonschema, which is Airflow's own: install it.") from missing
    for error in jsonschema.Draft202012Validator(schema()).iter_errors(raw):
        path = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            known = sorted(error.schema["properties"])
            unknown = [member for member in error.instance if member not in known]
            yield from (Fault((*path, each), _unknown(each, known), is_key=True) for each in unknown)
        elif error.validator == "required":
            absent = [member for member in error.validator_value if member not in error.instance]
            yield Fault(path, f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing")
        else:
            tell = _SENTENCES.get(error.validator)
            yield Fault(path, tell(error) if tell else error.message[:200])
    # JSON Schema takes 1.0 for a whole number, and it was 1.0, 1.00 or 1.
    version = raw.get("version") if isinstance(raw, Mapping) else None
    if isinstance(version, float) and version.is_integer():
        yield Fault(("version",), f"version is the number {version}: put it in quotes")


def _unknown(member: Any, known: list[str]) -> str:
    near = difflib.get_close_matches(str(member), known, n=1)
    return f"{shown(member)} is unknown; " + (
        f"the nearest known is {near[0]}" if near else f"known are {', '.join(known)}"
    )


def _wrong_type(error: Any) -> str:
    types = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
    quotes = "; put it in quotes" if "string" in types and not isinstance(error.instance, list | dict | None) else ""
    return f"{shown(error.instance)} must be {' or '.join(_TYPES[each] for each in types)}{quotes}"


def _needs_one(error: Any) -> str:
    return f"one of {', '.join(each['required'][0] for each in error.validator_value)} is needed"


#: What is said of a fault, by the keyword of JSON Schema that found it.
_SENTENCES: Mapping[str, Callable[[Any], str]] = {
    "type": _wrong_type,
    "anyOf": _needs_one,
    "enum": lambda error: f"{shown(error.instance)} must be one of {', '.join(error.validator_value)}",
    "const": lambda error: f"{shown(error.instance)} must be {error.validator_value}, which this version reads",
    "minimum": lambda error: f"{shown(error.instance)} must be at least {error.validator_value}",
    "maximum": lambda error: f"{shown(error.instance)} must be at most {error.validator_value}",
    "exclusiveMinimum": lambda error: f"{shown(error.instance)} must be above {error.validator_value}",
    "minLength": lambda _: "it must not be empty",
    "minItems": lambda _: "it must not be empty",
}
