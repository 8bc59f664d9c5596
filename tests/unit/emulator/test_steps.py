"""The pure half of pipelines: what commands say, and in which order nodes run."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from azureml_emulator.layout import lay_out
from azureml_emulator.steps import (
    SpecificationError,
    bind_inputs,
    dependencies,
    effective_inputs,
    in_order,
    output_uri,
    ready,
    substitute,
)
from tests.unit.emulator.world import node

names = st.sampled_from([f"{side}.{name}" for side in ("inputs", "outputs") for name in ("a", "b", "lr_2", "group.x")])
plain = st.text(alphabet=string.ascii_letters + " '\"\n|;{}[]-=/", max_size=12).filter(lambda text: "]]" not in text)
#: Values may look like anything, placeholders and blocks too.
values = st.dictionaries(names, st.text(max_size=8) | st.sampled_from(["${{inputs.a}}", "$[[x]]", "]]", "\\1", "$"]))
uses = st.tuples(names, st.sampled_from(["", " "]))
pieces = st.lists(plain | uses, max_size=4)
templates = st.lists(plain | uses | pieces.map(lambda inner: ("optional", inner)), max_size=6)


def _written(piece: Any) -> str:
    if isinstance(piece, str):
        return piece
    if piece[0] == "optional":
        return f"$[[{''.join(map(_written, piece[1]))}]]"
    name, space = piece
    return f"${{{{{space}{name}{space}}}}}"


def _names_in(template: list[Any], *, optional: bool) -> set[str]:
    found = set()
    for piece in template:
        if isinstance(piece, tuple) and piece[0] == "optional":
            found |= _names_in(piece[1], optional=optional) if optional else set()
        elif isinstance(piece, tuple):
            found.add(piece[0])
    return found


def _expected(template: list[Any], known: dict[str, str]) -> str:
    text = ""
    for piece in template:
        if isinstance(piece, str):
            text += piece
        elif piece[0] == "optional":
            text += _expected(piece[1], known) if _names_in(piece[1], optional=False) <= known.keys() else ""
        else:
            text += known[piece[0]]
    return text


@given(templates, values)
def test_a_command_is_its_text_with_every_value_in_its_place_and_no_value_read_again(
    template: list[Any], known: dict[str, str]
) -> None:
    assume(_names_in(template, optional=False) <= known.keys())

    assert substitute("".join(map(_written, template)), known) == _expected(template, known)


@given(templates, values)
def test_a_placeholder_outside_of_an_optional_block_needs_a_value(template: list[Any], known: dict[str, str]) -> None:
    missing = _names_in(template, optional=False) - known.keys()
    assume(missing)

    with pytest.raises(SpecificationError) as refused:
        substitute("".join(map(_written, template)), known)
    assert any(name in str(refused.value) for name in missing)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, frozenset[str]]:
    order = [f"n{number}" for number in range(draw(st.integers(1, 8)))]
    after = {name: frozenset(draw(st.sets(st.sampled_from(order[:at]))) if at else ()) for at, name in enumerate(order)}
    return {name: after[name] for name in draw(st.permutations(order))}


@given(graphs())
def test_every_node_comes_once_and_after_all_that_it_needs(after: dict[str, frozenset[str]]) -> None:
    order = in_order(after)

    assert sorted(order) == sorted(after)
    for name, needs in after.items():
        assert all(order.index(need) < order.index(name) for need in needs)


@given(graphs())
def test_nodes_that_need_not_wait_for_each_other_stay_as_they_stand(after: dict[str, frozenset[str]]) -> None:
    assert in_order(dict.fromkeys(after, frozenset())) == list(after)


@given(graphs(), st.data())
def test_nodes_that_wait_for_each_other_are_refused(after: dict[str, frozenset[str]], data: st.DataObject) -> None:
    start = data.draw(st.sampled_from(sorted(after)))
    upstream = {start}
    while grown := {need for name in upstream for need in after[name]} - upstream:
        upstream |= grown
    root = data.draw(st.sampled_from(sorted(upstream)))

    with pytest.raises(SpecificationError, match="circle"):
        in_order({**after, root: after[root] | {start}})


@given(graphs(), st.randoms(use_true_random=False))
def test_nodes_that_are_started_when_ready_are_all_started_once_and_never_too_early(
    after: dict[str, frozenset[str]], chance: Any
) -> None:
    running: list[str] = []
    started: list[str] = []
    completed: frozenset[str] = frozenset()
    while len(completed) < len(after):
        fresh = ready(after, started=frozenset(started), completed=completed)
        assert all(after[name] <= completed for name in fresh)
        started += fresh
        running += fresh
        completed |= {running.pop(chance.randrange(len(running)))}

    assert sorted(started) == sorted(after)


def test_dependencies_are_read_from_inputs_however_they_are_spaced() -> None:
    jobs = {"b": node("c", {"x": "${{ parent.jobs.a.outputs.out }}", "y": "${{parent.inputs.z}}"}), "a": node("c")}

    assert dependencies(jobs) == {"b": frozenset({"a"}), "a": frozenset()}


def test_an_output_of_a_node_that_is_not_there_is_named() -> None:
    with pytest.raises(SpecificationError, match="Node b takes an output of gone"):
        dependencies({"b": node("c", {"x": "${{parent.jobs.gone.outputs.out}}"})})


def test_text_around_a_parents_input_is_kept() -> None:
    inputs = {"day": {"jobInputType": "literal", "value": "monday"}}

    bound = bind_inputs({"name": {"value": "run-${{parent.inputs.day}}-x"}}, inputs=inputs, outputs={})

    assert bound == {"name": {"jobInputType": "literal", "value": "run-monday-x"}}


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        ("integer", "3", True),
        ("integer", "3.5", False),
        ("number", "1e-3", True),
        ("number", "fast", False),
        ("boolean", "True", True),
        ("boolean", "yes", False),
        ("string", "anything", True),
    ],
)
def test_a_text_has_to_fit_the_type_that_is_declared(kind: str, value: str, *, fits: bool) -> None:
    def bind() -> dict[str, Any]:
        given_input = {"jobInputType": "literal", "value": value}
        return effective_inputs({"x": {"type": kind}}, {"x": given_input}, whose="Component c")

    if fits:
        assert bind()["x"]["value"] == value
    else:
        with pytest.raises(SpecificationError, match=f"Input x of Component c is of type {kind}"):
            bind()


@pytest.mark.parametrize(
    ("kind", "wish", "uri"),
    [
        ("uri_folder", None, "azureml://datastores/workspaceblobstore/paths/azureml/r/out/"),
        ("uri_file", None, "azureml://datastores/workspaceblobstore/paths/azureml/r/out"),
        (
            "uri_folder",
            "azureml://datastores/d/paths/${{name}}/${{output_name}}/",
            "azureml://datastores/d/paths/r/out/",
        ),
        ("uri_file", "azureml://datastores/d/paths/here/", "azureml://datastores/d/paths/here/out"),
        ("uri_file", "azureml://datastores/d/paths/here.csv", "azureml://datastores/d/paths/here.csv"),
    ],
)
def test_an_output_goes_where_it_was_asked_to_or_below_its_run(kind: str, wish: str | None, uri: str) -> None:
    assert output_uri("r", "out", kind=kind, given=wish) == uri


@pytest.mark.parametrize(
    ("given_outputs", "said"),
    [
        ({"out": {"value": "${{parent.outputs.gone}}"}}, "the pipeline has no such output"),
        ({"other": {"value": "${{parent.outputs.final}}"}}, "has no output other"),
        ({"out": "words"}, "Output out of node a is 'words'"),
    ],
)
def test_an_output_that_leads_nowhere_is_named(given_outputs: dict[str, Any], said: str) -> None:
    component = {"command": "true", "outputs": {"out": {"type": "uri_folder"}}}
    final = {"jobOutputType": "uri_folder", "uri": None}

    with pytest.raises(SpecificationError, match=said):
        lay_out(
            {"a": {"outputs": given_outputs}}, {"a": component}, inputs={}, outputs={"final": final}, names={"a": "r"}
        )
