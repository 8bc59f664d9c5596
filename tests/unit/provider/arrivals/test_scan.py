"""What a scan lists, tells and remembers, of a container with a clock of its own, whatever happens to it meanwhile."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import cast

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_azureml.client.scans import Scanner, Sizes
from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.core.layouts import ANY, NAMES, Layout, dates
from airflow_azureml.core.scan import Scan, Scanning
from airflow_azureml.core.scan_state import ScanState, Told
from airflow_azureml.errors import UnavailableError
from airflow_azureml.wire.listings import Listed
from tests.unit.provider.arrivals.local import SETTINGS

BEGIN = datetime(2026, 1, 31, 22, tzinfo=UTC)
OVERLAP_S = 60
RECONCILE_S = 3600
ACCOUNT_URL = "http://127.0.0.1:1/devstoreaccount1"
DATES = dates("in/%Y/%m/%d/%H-", late=timedelta(hours=1), early=timedelta(0))
LAYOUTS = (ANY, NAMES, DATES)

Version = tuple[str, str]
Histories = st.SearchStrategy[list[tuple[object, ...]]]


def scan_of(layout: Layout = ANY, *, reconciles: bool = True, **wanted: object) -> Scan:
    how = Scanning(
        layout=layout,
        overlap=timedelta(seconds=OVERLAP_S),
        reconcile_every=timedelta(seconds=RECONCILE_S) if reconciles else None,
    )
    which = ArrivalFilter.of(container="incoming", **{"prefix": "in/", **wanted})  # type: ignore[arg-type]  # a test's own
    return Scan(account_url=ACCOUNT_URL, wanted=which, how=how)


@attrs.define
class Container:
    """What Blob Storage is to a scan: names in their order, in pages, each as it is when it is asked for.

    Attributes:
        now: Its clock.
        encoding: By whose code units names are ordered; Blob Storage does not say.
        spans: Prefix and beginning of each listing.
        meanwhile: Called before each page.
    """

    now: datetime = BEGIN
    page_size: int = 2
    knows_start_from: bool = True
    encoding: str = "utf-8"
    blobs: dict[str, tuple[str, datetime]] = attrs.field(factory=dict)
    writes: int = 0
    listed: int = 0
    spans: list[tuple[str, str]] = attrs.field(factory=list)
    meanwhile: Callable[[], None] = lambda: None

    @property
    def server_time(self) -> datetime:
        return self.now.replace(microsecond=0)

    def write(self, path: str, *, age_s: float = 0) -> None:
        self.writes += 1
        modified = (self.now - timedelta(seconds=age_s)).replace(microsecond=0)
        self.blobs[path] = (f"0x{self.writes}", modified)

    def delete(self, path: str) -> None:
        self.blobs.pop(path, None)

    def place(self, path: str) -> bytes:
        return path.encode(self.encoding)

    @property
    def versions(self) -> set[Version]:
        return {(path, etag) for path, (etag, _) in self.blobs.items()}

    async def pages(
        self, *, prefix: str = "", after: str = "", include: Collection[str] = ()
    ) -> AsyncIterator[list[Listed]]:
        del include
        self.spans.append((prefix, after))
        marker = after if self.knows_start_from else ""
        while True:
            self.meanwhile()
            found = sorted(
                (path for path in self.blobs if path.startswith(prefix) and self.place(path) > self.place(marker)),
                key=self.place,
            )
            page = found[: self.page_size]
            self.listed += len(page)
            yield [
                Listed(path=path, etag=self.blobs[path][0], size_bytes=1, modified=self.blobs[path][1])
                for path in page
                if path > after
            ]
            if len(found) <= self.page_size:
                return
            marker = page[-1]


@attrs.define
class Triggerer:
    """What tells Airflow: it may die at any moment, and what Airflow has stored is all that stays.

    Attributes:
        stored: Every version that Airflow has been told, with how often.
        kept: The state that was stored last, as JSON.
    """

    container: Container
    scan: Scan
    stored: Counter[Version] = attrs.field(factory=Counter)
    kept: str = "null"
    told: Told = attrs.field(factory=Told)
    state: ScanState = attrs.field(factory=ScanState)

    def run(self, *, dies_after: int | None = None, stores: int | None = None, full: bool = False) -> bool:
        """Scan once; with a limit, the triggerer dies after so many parts, of which Airflow has stored fewer."""
        going = self._run(dies_after, stores, full=full)
        try:
            going.send(None)
        except StopIteration as end:
            return bool(end.value)
        raise AssertionError("nothing here waits")

    async def _run(self, dies_after: int | None, stores: int | None, *, full: bool) -> bool:
        handed: list[tuple[list[Version], ScanState]] = []
        sizes = Sizes(part=2, slice_pages=2)
        scanner = Scanner(SETTINGS, self.scan, told=self.told, listing=self.container, sizes=sizes)
        failed = False
        try:
            async with contextlib.aclosing(scanner.pages(self.state, full=full)) as pages:
                async for part in pages:
                    handed.append(([(one.path, one.etag) for one in part], scanner.state))
                    if dies_after is not None and len(handed) > dies_after:
                        break
                else:
                    handed.append(([], scanner.state))
        except UnavailableError:
            failed = True
        self.state = handed[-1][1] if handed else self.state
        dead = dies_after is not None and len(handed) > dies_after
        for told, state in handed[: stores if dead else None]:
            self.stored.update(told)
            self.kept = json.dumps(state.to_wire())
            assert len(self.kept) < 2000
        if dead:
            self.restart()
        return not failed and not dead

    def restart(self) -> None:
        self.state, self.told = ScanState.from_wire(json.loads(self.kept)), Told()


NAMES_OF_BLOBS = [
    f"in/2026/{day}/{hour:02}-{number}" for day in ("01/31", "02/01") for hour in (0, 21, 22, 23) for number in (1, 2)
]
PLAIN = [*NAMES_OF_BLOBS, "in/2026/01/30/05-x", "other/1"]
#: The two orders of names disagree on these.
ODD = ["in/\U0001f600", "in/\U0001f600b", "in/\uff01", "in/\uff01b"]
deaths = st.tuples(st.integers(0, 6), st.integers(0, 6))


def histories(paths: list[str], death: st.SearchStrategy[tuple[int, int] | None], *, renames: bool = True) -> Histories:
    names = st.sampled_from(paths)
    changes = st.one_of(
        st.tuples(st.just("write"), names, st.sampled_from([0, 0, 0, 20])),
        st.tuples(st.just("rename"), names, st.integers(0, 40_000 if renames else 20)),
        st.tuples(st.just("delete"), names, st.just(0)),
        st.tuples(st.just("wait"), st.just(""), st.sampled_from([1, 5, 50, 70, 900, 4000])),
    )
    meanwhiles = st.lists(st.one_of(st.none(), st.just("fail"), changes), max_size=6)
    return st.lists(st.one_of(changes, changes, st.tuples(st.just("scan"), meanwhiles, death)), max_size=30)


def change(container: Container, what: str, path: str, number: int) -> None:
    if what == "delete":
        container.delete(path)
    elif what == "wait":
        container.now += timedelta(seconds=number)
    else:
        container.write(path, age_s=number)


def live(triggerer: Triggerer, history: list[tuple[object, ...]]) -> None:
    container = triggerer.container
    for what, *details in history:
        container.now += timedelta(seconds=1)
        if what != "scan":
            change(container, what, *details)  # type: ignore[arg-type]  # as it was drawn
            continue
        between, death = details
        left = list(between)  # type: ignore[call-overload]  # a list

        def meanwhile(left: list[object] = left) -> None:
            happens = left.pop(0) if left else None
            if happens == "fail":
                raise UnavailableError("List", message="503")
            if happens is not None:
                change(container, *happens)  # type: ignore[misc]  # as it was drawn

        container.meanwhile = meanwhile
        dies_after, stores = cast("tuple[int | None, int | None]", death or (None, None))
        triggerer.run(dies_after=dies_after, stores=stores)
        container.meanwhile = lambda: None


def reconcile(triggerer: Triggerer) -> None:
    """Let time pass until the next reconciliation has come to its end."""
    container = triggerer.container
    container.now += timedelta(seconds=RECONCILE_S + OVERLAP_S)
    due = container.now
    for _ in range(100):
        container.now += timedelta(seconds=1)
        assert triggerer.run()
        if triggerer.state.reconciled is not None and triggerer.state.reconciled >= due:
            return
    raise AssertionError("the reconciliation does not come to its end")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.kind)
@settings(max_examples=250, deadline=None)
@given(
    history=histories(PLAIN + ODD, st.none() | deaths),
    knows_start_from=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-16-be"]),
)
def test_after_the_next_reconciliation_every_version_that_still_exists_was_told(
    layout: Layout, history: list[tuple[object, ...]], *, knows_start_from: bool, encoding: str
) -> None:
    container = Container(knows_start_from=knows_start_from, encoding=encoding)
    triggerer = Triggerer(container, scan_of(layout))

    live(triggerer, history)
    reconcile(triggerer)

    wanted = {version for version in container.versions if version[0].startswith("in/")}
    assert wanted <= set(triggerer.stored)
    assert not {path for path, _ in triggerer.stored if not path.startswith("in/")}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.kind)
@settings(max_examples=100, deadline=None)
@given(history=histories(PLAIN, st.none() | deaths, renames=False))
def test_where_nothing_is_renamed_a_reconciliation_tells_only_what_was_written_since_the_one_before(
    layout: Layout, history: list[tuple[object, ...]]
) -> None:
    scan = scan_of(layout)
    scan = attrs.evolve(scan, how=attrs.evolve(scan.how, renames=False))
    triggerer = Triggerer(Container(), scan)

    live(triggerer, history)
    reconcile(triggerer)
    wanted = {version for version in triggerer.container.versions if version[0].startswith("in/")}
    assert wanted <= set(triggerer.stored)
    before = triggerer.stored.copy()
    reconcile(triggerer)
    assert triggerer.stored == before


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.kind)
@settings(max_examples=150, deadline=None)
@given(history=histories(PLAIN, st.none()))
def test_without_a_death_and_a_reconciliation_no_version_is_told_twice(
    layout: Layout, history: list[tuple[object, ...]]
) -> None:
    scan = scan_of(layout, reconciles=False)
    triggerer = Triggerer(Container(), scan)

    live(triggerer, history)
    triggerer.run()

    assert set(triggerer.stored.values()) <= {1}


@pytest.mark.parametrize("layout", [ANY, DATES], ids=lambda layout: layout.kind)
@settings(max_examples=200, deadline=None)
@given(
    rounds=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1, 59, 600, 3000, 8000])), max_size=8),
    skew_s=st.integers(0, OVERLAP_S - 1),
)
def test_what_is_written_under_the_name_of_its_hour_is_told_by_the_next_scan(
    layout: Layout, rounds: list[tuple[int, int]], skew_s: int
) -> None:
    scan = scan_of(layout, reconciles=False)
    container = Container()
    triggerer = Triggerer(container, scan)

    for writes, pause_s in rounds:
        for _ in range(writes):
            container.write(f"in/{container.now:%Y/%m/%d/%H}-{container.writes % 3}", age_s=skew_s)
        assert triggerer.run()
        assert container.versions <= set(triggerer.stored)
        container.now += timedelta(seconds=pause_s)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([1, 30, 70, 600]), st.lists(deaths, max_size=2)),
        max_size=10,
    ),
    st.integers(0, 59),
)
def test_names_that_grow_out_of_order_within_the_overlap_are_told_by_the_next_whole_scan(
    rounds: list[tuple[int, int, list[tuple[int, int]]]], late_s: int
) -> None:
    container = Container()
    triggerer = Triggerer(container, scan_of(NAMES, reconciles=False))

    for writes, pause_s, died in rounds:
        for number in range(writes):
            named = container.now - timedelta(seconds=late_s if number % 2 else 0)
            container.write(f"in/{named:%Y-%m-%dT%H:%M:%S}-{number}")
        for dies_after, stores in died:
            triggerer.run(dies_after=dies_after, stores=stores)
        assert triggerer.run()
        assert container.versions <= set(triggerer.stored)
        container.now += timedelta(seconds=pause_s)


def test_of_names_that_grow_one_that_is_renamed_to_the_end_is_told_though_its_time_is_old() -> None:
    triggerer = Triggerer(Container(), scan_of(NAMES, reconciles=False))
    container = settled(triggerer)
    container.write("in/2026/01/31/22-09", age_s=9000)
    triggerer.run()

    assert ("in/2026/01/31/22-09", "0x301") in triggerer.stored


def settled(triggerer: Triggerer, *, blobs: int = 300) -> Container:
    """Fill a container with old blobs, one for each minute before now, and scan it."""
    container = triggerer.container
    for age in range(blobs, 0, -1):
        container.write(f"in/{container.now - timedelta(minutes=age):%Y/%m/%d/%H-%M}", age_s=age * 60)
    assert triggerer.run()
    assert container.versions == set(triggerer.stored)
    container.now += timedelta(seconds=OVERLAP_S + 5)
    assert triggerer.run()
    container.listed, container.spans = 0, []
    return container


def test_of_names_that_grow_a_scan_lists_none_but_those_of_the_overlap() -> None:
    triggerer = Triggerer(Container(), scan_of(NAMES))
    container = settled(triggerer)
    container.write("in/2026/01/31/22-09")
    triggerer.run()

    ((prefix, after),) = container.spans
    assert (prefix, after) == ("in/", "in/2026/01/31/21-59")
    assert container.listed == 1
    assert ("in/2026/01/31/22-09", "0x301") in triggerer.stored


def test_of_names_with_their_hour_a_scan_lists_none_but_the_hours_that_can_be_late() -> None:
    triggerer = Triggerer(Container(), scan_of(DATES, reconciles=False))
    container = settled(triggerer)
    container.now += timedelta(hours=1)
    container.write("in/2026/01/31/23-00")
    triggerer.run()

    assert container.spans == [(f"in/2026/01/31/{hour}-", "") for hour in (21, 22, 23)]
    assert container.listed == 61
    assert ("in/2026/01/31/23-00", "0x301") in triggerer.stored


def test_a_prefix_within_a_partition_or_of_another_time_is_listed_as_it_is() -> None:
    for prefix in ("in/2026/01/31/22-0", "in/2025/"):
        triggerer = Triggerer(Container(), scan_of(DATES, prefix=prefix))
        triggerer.run()
        triggerer.container.write(f"{prefix}x")
        triggerer.container.spans = []
        triggerer.run()

        assert triggerer.container.spans == [(prefix, "")]
        assert triggerer.container.versions == set(triggerer.stored)


def test_a_scan_that_was_broken_off_goes_on_where_it_was() -> None:
    container = Container()
    for number in range(100):
        container.write(f"in/{number:02}", age_s=1000)
    triggerer = Triggerer(container, scan_of())
    triggerer.run(dies_after=29, stores=30)
    container.listed = 0
    triggerer.run()

    assert container.listed == 40
    assert container.spans[-1] == ("in/", "in/59")
    assert container.versions == set(triggerer.stored)
    assert max(triggerer.stored.values()) == 1


def test_a_reconciliation_goes_on_where_it_was_though_the_triggerer_dies_in_each_scan() -> None:
    triggerer = Triggerer(Container(), scan_of(NAMES))
    container = settled(triggerer)
    container.write("in/2026/01/31/17-30-late", age_s=5000)
    container.now += timedelta(seconds=RECONCILE_S)
    deaths = 0
    while triggerer.stored["in/2026/01/31/17-30-late", "0x301"] == 0:
        container.now += timedelta(seconds=1)
        triggerer.run(dies_after=2, stores=2)
        deaths += 1
        assert deaths < 200

    # Two pages of two blobs a time, of the 30 before it and itself.
    assert deaths <= 40


def test_scans_go_on_while_a_reconciliation_is_under_way() -> None:
    triggerer = Triggerer(Container(), scan_of(NAMES))
    container = settled(triggerer)
    container.now += timedelta(seconds=RECONCILE_S)
    triggerer.run()
    assert triggerer.state.reconciliation is not None
    container.write("in/2026/01/31/23-59")
    triggerer.run()

    assert triggerer.state.reconciliation is not None
    assert triggerer.stored["in/2026/01/31/23-59", "0x301"] == 1


def test_long_names_that_are_the_same_where_they_are_cut_do_not_hold_up_a_reconciliation() -> None:
    container = Container()
    for number in range(30):
        container.write(f"in/{'x' * 500}{number:02}", age_s=9000)
    triggerer = Triggerer(container, scan_of(NAMES))
    triggerer.run()
    container.write(f"in/{'x' * 500}00-late", age_s=9000)
    reconcile(triggerer)

    assert container.versions == set(triggerer.stored)


def test_an_overwritten_blob_is_told_again_and_a_deleted_one_is_no_trouble() -> None:
    container = Container()
    for name in ("in/a", "in/b", "in/c"):
        container.write(name, age_s=9000)
    triggerer = Triggerer(container, scan_of())
    triggerer.run()
    container.now += timedelta(seconds=30)
    container.write("in/a")
    container.delete("in/b")
    triggerer.run()

    assert [path for path, etag in triggerer.stored] == ["in/a", "in/b", "in/c", "in/a"]


def test_a_full_scan_tells_everything_once_more() -> None:
    container = Container()
    container.write("in/old", age_s=9000)
    container.write("in/new")
    triggerer = Triggerer(container, scan_of(NAMES))
    triggerer.run()
    triggerer.run(full=True)
    triggerer.run()

    assert set(triggerer.stored.values()) == {2}


def test_a_blob_that_has_to_be_quiet_is_told_when_it_is_and_not_before() -> None:
    container = Container()
    triggerer = Triggerer(container, scan_of(NAMES, quiet_for=timedelta(seconds=300)))
    triggerer.run()
    told_at = []
    container.write("in/growing")
    for _ in range(20):
        container.now += timedelta(seconds=30)
        if container.now < BEGIN + timedelta(seconds=100):
            container.write("in/growing")
        triggerer.run()
        told_at.append(sum(triggerer.stored.values()))

    assert told_at == [0] * 12 + [1] * 8


def test_what_was_written_before_a_given_time_does_not_count() -> None:
    scan = scan_of()
    scan = attrs.evolve(scan, how=attrs.evolve(scan.how, newer_than=BEGIN - timedelta(seconds=10)))
    triggerer = Triggerer(Container(), scan)
    triggerer.container.write("in/old", age_s=11)
    triggerer.container.write("in/new", age_s=10)
    triggerer.run(full=True)

    assert set(triggerer.stored) == {("in/new", "0x2")}
