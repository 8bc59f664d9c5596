"""The steps of a publication: whoever is killed at any of them, and goes on, comes to the same end."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_azureml.core.bundle_parts import Kind
from airflow_azureml.core.environments import Environment
from airflow_azureml.core.publication import (
    BUNDLE_TAG,
    PREVIOUS_TAG,
    READY,
    SHA_TAG,
    DeploymentNow,
    EndpointNow,
    Now,
    Source,
    Step,
    Verb,
    Wanted,
    plan,
)
from airflow_azureml.errors import ConfigError
from tests.unit.provider.publishing import folder, read

SHA, OTHER = "a" * 40, "b" * 40
STAGING = Environment("staging", conn_id="c")
NAMES = ("alpha", "beta", "gamma")
TAKES = "{{inputs: {{word: '${{{{smoke.{}.outputs.result}}}}'}}}}"
#: How the second and the third endpoint are smoke-run: alone, with what the first made, or not at all.
RUNS = ("{inputs: {word: hello}}", TAKES.format("alpha"), "{skip: too dear}")


def wanted(
    names: tuple[str, ...] = ("alpha",),
    *,
    smoke: dict[str, str] | None = None,
    keep: int = 5,
    sha: str = SHA,
    environment: Environment = STAGING,
) -> Wanted:
    return Wanted.of(read(folder(names, smoke=smoke, keep=keep)), Source(sha=sha), environment)


@attrs.define
class World:
    """A workspace, as far as a publication is concerned: what is done to it, and what must never be."""

    now: Now
    want: Wanted
    passing: frozenset[str]
    defaults: dict[str, str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.defaults = {name: each.default for name, each in self.now.endpoints.items()}

    def do(self, step: Step) -> bool:
        """Do a step; False where it cannot be done: a smoke run that fails."""
        now, want = self.now, self.want
        if step.verb is Verb.CREATE and step.kind in (Kind.ENVIRONMENT, Kind.COMPONENT):
            assets = {**now.assets, f"{step.kind} {step.name}": want.source.tags(want.bundle.name)}
            self.now = attrs.evolve(now, assets=assets)
        elif step.verb is Verb.CREATE and step.kind is Kind.COMPUTE:
            self.now = attrs.evolve(now, computes=now.computes | {step.name})
        elif step.verb is Verb.CREATE:
            self._put(step.name, state=READY)
        elif step.verb is Verb.DEPLOY:
            self._deploy(step.name)
        elif step.verb is Verb.SMOKE:
            assert want.deployments[step.name].smoke.after <= now.smoked
            if step.name not in self.passing:
                return False
            self.now = attrs.evolve(now, smoked=now.smoked | {step.name})
        elif step.verb is Verb.SWITCH:
            before = now.endpoints[step.name]
            tags = {**before.tags, PREVIOUS_TAG: before.default}
            self._put(step.name, default=want.deployments[step.name].name, tags=tags)
        else:
            self._remove(step.name)
        return True

    def _put(self, name: str, **changed: object) -> None:
        before = self.now.endpoints.get(name, EndpointNow(state=""))
        changes = attrs.evolve(before, **changed)  # type: ignore[arg-type]  # any of its fields
        self.now = attrs.evolve(self.now, endpoints={**self.now.endpoints, name: changes})

    def _deploy(self, name: str) -> None:
        made, endpoint = self.want.deployments[name], self.now.endpoints[name]
        assert f"component {made.component}" in self.now.assets
        assert endpoint.deployments.get(made.name, DeploymentNow(state="")).state != READY
        deployed = DeploymentNow(state=READY, tags=made.tags, created="2026-11-21T12")
        self._put(name, deployments={**endpoint.deployments, made.name: deployed})

    def _remove(self, path: str) -> None:
        name, _, gone = path.partition("/")
        endpoint = self.now.endpoints[name]
        assert gone not in (endpoint.default, endpoint.tags.get(PREVIOUS_TAG))
        assert endpoint.deployments[gone].tags.get(BUNDLE_TAG) == self.want.bundle.name
        self._put(name, deployments={other: one for other, one in endpoint.deployments.items() if other != gone})

    def check(self) -> None:
        """The default is the one before, or the new one, which has passed."""
        for name, each in self.want.deployments.items():
            found = self.now.endpoints.get(name)
            default = found.default if found else ""
            if default == self.defaults.get(name, ""):
                continue
            assert default == each.name
            assert each.smoke.skip or name in self.now.smoked
            assert found is not None
            assert found.deployments[default].state == READY


@st.composite
def deployments(draw: st.DrawFn, want: Wanted, name: str) -> dict[str, DeploymentNow]:
    """What an endpoint has: others of ours, another folder's, a person's; and this one, perhaps half-made."""
    found: dict[str, DeploymentNow] = {}
    for number in range(draw(st.integers(0, 7))):
        tags = draw(
            st.sampled_from([{}, {SHA_TAG: OTHER, BUNDLE_TAG: want.bundle.name}, {SHA_TAG: OTHER, BUNDLE_TAG: "x"}])
        )
        created = f"2026-11-{draw(st.integers(10, 20))}"
        found[f"old-{number}"] = DeploymentNow(state=READY, tags=tags, created=created)
    if draw(st.booleans()):
        each = want.deployments[name]
        state = draw(st.sampled_from([READY, "Updating", "Failed"]))
        found[each.name] = DeploymentNow(state=state, tags=each.tags, created="2026-11-21")
    return found


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A workspace in which something was published before, perhaps this very commit, perhaps in part."""
    names = NAMES[: draw(st.integers(1, 3))]
    smoke = {name: draw(st.sampled_from(RUNS)) for name in names[1:]}
    want = wanted(names, smoke=smoke, keep=draw(st.integers(1, 4)))
    assets = draw(st.sets(st.sampled_from([part.key for part in want.assets])))
    endpoints = {}
    for name in draw(st.sets(st.sampled_from(names))):
        found = draw(deployments(want, name))
        usable = [each for each, one in found.items() if one.state == READY and each.startswith("old")]
        this = want.deployments[name].name
        is_deployed = this in found and found[this].state == READY
        default = draw(st.sampled_from(["", *usable, *([this] if is_deployed else [])]))
        state = draw(st.sampled_from([READY, READY, "Failed"])) if not default else READY
        previous = draw(st.sampled_from([{}, *({PREVIOUS_TAG: each} for each in usable)]))
        endpoints[name] = EndpointNow(state=state, default=default, tags=previous, deployments=found)
    ready = {name for name in endpoints if _is_ready(endpoints[name], want, name)}
    now = Now(
        assets={key: want.source.tags(want.bundle.name) for key in assets},
        computes=frozenset(draw(st.sets(st.just("cpu")))),
        endpoints=endpoints,
        smoked=frozenset(draw(st.sets(st.sampled_from(sorted(ready)))) if ready else ()),
    )
    return World(now, want, passing=frozenset(names))


def _is_ready(endpoint: EndpointNow, want: Wanted, name: str) -> bool:
    each = want.deployments[name]
    return not each.smoke.skip and endpoint.deployments.get(each.name, DeploymentNow(state="")).state == READY


@given(worlds(), st.lists(st.integers(1, 4), max_size=30))
def test_whoever_is_killed_at_any_step_and_goes_on_ends_where_all_is_as_wanted(world: World, lives: list[int]) -> None:
    for steps_lived in [*lives, *[100] * 4]:
        for step in plan(world.now, world.want)[:steps_lived]:
            world.do(step)
            world.check()

    assert plan(world.now, world.want) == ()
    for name, each in world.want.deployments.items():
        assert world.now.endpoints[name].default == each.name


@given(worlds(), st.data())
def test_a_smoke_run_that_fails_leaves_every_default_as_it_was(world: World, data: st.DataObject) -> None:
    runs = [step.name for step in plan(world.now, world.want) if step.verb is Verb.SMOKE]
    assume(runs)
    failing = data.draw(st.sampled_from(runs))
    world.passing -= {failing}

    for step in plan(world.now, world.want):
        if not world.do(step):
            break

    assert {name: each.default for name, each in world.now.endpoints.items() if each.default} == {
        name: default for name, default in world.defaults.items() if default
    }


@given(worlds())
def test_what_is_the_default_or_was_it_before_is_never_removed_and_no_more_than_agreed_of_ours_stays(
    world: World,
) -> None:
    for _ in range(4):
        for step in plan(world.now, world.want):
            world.do(step)

    for name, each in world.want.deployments.items():
        found = world.now.endpoints[name]
        before = world.defaults.get(name, "")
        assert {each.name, *([before] if before else [])} <= set(found.deployments)
        ours = [one for one in found.deployments.values() if one.tags.get(BUNDLE_TAG) == world.want.bundle.name]
        assert len(ours) <= max(world.want.bundle.keep, 2)


def done(want: Wanted) -> World:
    """A workspace to which this is published."""
    world = World(Now(), want, passing=frozenset(want.deployments))
    for _ in range(3):
        for step in plan(world.now, want):
            world.do(step)
    return world


def test_the_same_commit_twice_changes_nothing() -> None:
    assert plan(done(wanted(("alpha", "beta"))).now, wanted(("alpha", "beta"))) == ()


def test_a_commit_that_was_published_before_is_gone_back_to_by_a_switch_alone() -> None:
    world = done(wanted())
    now = attrs.evolve(
        world.now, endpoints={"alpha": attrs.evolve(world.now.endpoints["alpha"], default="one-bbbbbbb-0000")}
    )

    (step,) = plan(now, wanted())

    assert step.verb is Verb.SWITCH
    assert step.told.endswith("the default of endpoint alpha, in the place of one-bbbbbbb-0000")


def test_a_smoke_run_whose_outputs_another_takes_is_done_where_nobody_knows_of_it_though_it_is_the_default() -> None:
    want = wanted(("alpha", "beta"), smoke={"beta": TAKES.format("alpha")})
    now = done(want).now
    back = attrs.evolve(now.endpoints["beta"], default="")

    steps = plan(attrs.evolve(now, endpoints={**now.endpoints, "beta": back}, smoked=frozenset()), want)

    assert [(step.verb, step.name) for step in steps] == [
        (Verb.SMOKE, "alpha"),
        (Verb.SMOKE, "beta"),
        (Verb.SWITCH, "beta"),
    ]


def test_the_steps_say_what_they_do_in_the_order_in_which_it_is_done() -> None:
    told = [step.told for step in plan(Now(), wanted())]

    name = wanted().deployments["alpha"].name
    assert told == [
        "create environment base:aaaaaaaaaaaa (base.yml)",
        "create component say:aaaaaaaaaaaa (say.yml)",
        "create component alpha_pipeline:aaaaaaaaaaaa (alpha.yml)",
        "create compute cpu (compute.yml)",
        "create endpoint alpha (endpoints/alpha.yml)",
        f"deploy {name} of component alpha_pipeline:aaaaaaaaaaaa to endpoint alpha, beside its default",
        f"smoke-run deployment {name} of endpoint alpha",
        f"make {name} the default of endpoint alpha, in the place of none",
    ]


def test_a_deployment_without_a_smoke_run_says_so_where_it_becomes_the_default() -> None:
    told = [step.told for step in plan(Now(), wanted(smoke={"alpha": "{skip: too dear}"}))]

    assert told[-1].endswith("in the place of none WITHOUT a smoke run (too dear)")


def test_a_deployment_is_named_after_what_it_is_made_of() -> None:
    first = wanted().deployments["alpha"]
    other = wanted(environment=Environment("staging", conn_id="c", compute="gpu")).deployments["alpha"]
    later = wanted(sha=OTHER).deployments["alpha"]

    assert first.name.startswith("one-aaaaaaa-")
    assert later.name.startswith("one-bbbbbbb-")
    assert (other.settings["default_compute"], other.name != first.name) == ("gpu", True)
    assert max(len(each.name) for each in (first, other, later)) <= 32


def test_a_dirty_tree_has_a_version_of_its_own_and_says_so() -> None:
    source = Source(sha=SHA, dirt="d" * 64)

    assert source.version == "aaaaaaaaaaaa-dirty-dddddddd"
    assert source.tags("words") == {SHA_TAG: SHA, BUNDLE_TAG: "words", "git_dirty": "dddddddd"}


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({SHA_TAG: OTHER, BUNDLE_TAG: "words"}, f"but of commit {OTHER} of words"),
        ({SHA_TAG: SHA, BUNDLE_TAG: "verbs"}, f"but of commit {SHA} of verbs"),
        ({}, "but of commit none of nobody we know"),
    ],
)
def test_a_version_of_another_commit_or_folder_is_not_overwritten(tags: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan(Now(assets={"component say": tags}), wanted())

    assert "component say has a version aaaaaaaaaaaa in staging already" in str(refused.value)
    assert told in str(refused.value)


def test_a_deployment_that_somebody_else_made_is_not_overwritten() -> None:
    name = wanted().deployments["alpha"].name
    now = Now(endpoints={"alpha": EndpointNow(state=READY, deployments={name: DeploymentNow(state=READY)})})

    with pytest.raises(ConfigError, match=f"Endpoint alpha has a deployment {name} already.*not overwritten"):
        plan(now, wanted())


def test_an_endpoint_of_another_folder_is_left_to_it() -> None:
    now = Now(endpoints={"alpha": EndpointNow(state=READY, tags={BUNDLE_TAG: "verbs"})})

    with pytest.raises(ConfigError, match="Endpoint alpha is published from verbs, and not from words"):
        plan(now, wanted())


def test_what_others_must_make_first_is_told_before_anything_is_changed() -> None:
    gone = Now(absent=["a.yml: environment is environment x:1, and there is no such environment"])

    with pytest.raises(ConfigError, match=r"in staging; nothing was changed: a\.yml: environment is environment x:1"):
        plan(gone, wanted())
    with pytest.raises(ConfigError, match="there is no compute gpu"):
        plan(Now(), wanted(environment=Environment("staging", conn_id="c", compute="gpu")))


@pytest.mark.parametrize("sha", ["HEAD", "a" * 39, "A" * 40, ""])
def test_a_commit_is_all_its_digits(sha: str) -> None:
    with pytest.raises(ConfigError, match="is no commit"):
        Source(sha=sha)
