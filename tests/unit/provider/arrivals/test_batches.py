"""Which blobs go together, when, what becomes of a batch that nobody works on, and what a batch comes to."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.batches import (
    GRACE_S,
    MOST_BATCHES,
    OTHERS_GRACE_S,
    Batching,
    Case,
    Linger,
    Ruling,
    Take,
    Window,
    choose,
    owner_of,
    pack,
    parse_owner,
    rule,
    same_group,
    summary,
)
from airflow_azureml.core.jobs import Phase
from airflow_azureml.core.ledger import BatchState, Open
from airflow_azureml.core.staging import BatchReport, FileReport, Places, Publication, file_name, manifest
from airflow_azureml.errors import ConfigError, ProtocolError

START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def arrival(path: str, *, etag: str = "0x1", size: int | None = 1, seconds: float = 0) -> Arrival:
    return Arrival(
        account="acme",
        container="in",
        path=path,
        etag=etag,
        size_bytes=size,
        sequencer="",
        time=(START + timedelta(seconds=seconds)).isoformat(),
        api="",
        url=f"https://acme.blob.core.windows.net/in/{path}",
    )


def is_open(path: str, *, size: int | None = 1, seconds: float = 0, at_most: int | None = None, turn: int = 1) -> Open:
    return Open(arrival=arrival(path, size=size, seconds=seconds), at_most=at_most, turn=turn)


opens = st.lists(
    st.builds(
        is_open,
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=6),
        size=st.one_of(st.none(), st.integers(0, 12)),
        seconds=st.integers(0, 100),
        at_most=st.one_of(st.none(), st.none(), st.integers(1, 4)),
        turn=st.integers(1, 2),
    ),
    unique_by=lambda one: one.key,
    max_size=25,
)
batchings = st.builds(
    Batching,
    blobs=st.integers(1, 6),
    size_bytes=st.integers(1, 30),
    linger=st.integers(0, 60).map(lambda seconds: timedelta(seconds=seconds)),
    batches=st.integers(1, 5),
)


@given(opens, batchings)
def test_every_blob_is_in_exactly_one_pack_and_no_pack_holds_more_than_each_of_its_blobs_allows(
    waiting: list[Open], batching: Batching
) -> None:
    packs = pack(waiting, batching)

    assert sorted(each.key for one in packs for each in one.members) == sorted(each.key for each in waiting)
    for one in packs:
        assert 0 < len(one.members) <= min([batching.blobs, *(each.at_most or batching.blobs for each in one.members)])
        sizes = [each.arrival.size_bytes or 0 for each in one.members]
        assert len(sizes) == 1 or sum(sizes) <= batching.size_bytes


@given(opens, batchings)
def test_packs_go_in_the_order_of_their_oldest_blob_and_are_called_full_when_nothing_more_fits(
    waiting: list[Open], batching: Batching
) -> None:
    packs = pack(waiting, batching)
    oldest = [one.members[0].arrival.time for one in packs]

    assert oldest == sorted(oldest)
    assert all(one.members[0].arrival.time == min(each.arrival.time for each in one.members) for one in packs)
    for one in packs:
        room = len(one.members) < min(one.members[0].at_most or batching.blobs, batching.blobs)
        filled = sum(each.arrival.size_bytes or 0 for each in one.members) >= batching.size_bytes
        if not room or filled:
            assert one.is_full


@given(opens, batchings, st.integers(-30, 200))
def test_nothing_waits_longer_than_it_may_and_what_is_not_taken_is_counted(
    waiting: list[Open], batching: Batching, after_s: int
) -> None:
    now = START + timedelta(seconds=after_s)
    ages = [now - datetime.fromisoformat(each.arrival.time) for each in waiting]

    match choose(waiting, batching, now=now):
        case Linger(seconds=seconds):
            assert waiting
            assert 0 < seconds <= batching.linger.total_seconds()
            assert max(ages) + timedelta(seconds=seconds) <= batching.linger or max(ages) < timedelta(0)
            assert all(each.turn == 1 for each in waiting)
            limits = Counter(min(each.at_most or batching.blobs, batching.blobs) for each in waiting)
            assert all(count < limit for limit, count in limits.items())
        case Take(packs=packs, left=left):
            taken = sum(len(one.members) for one in packs)
            assert len(packs) <= batching.batches
            assert taken + left == len(waiting)
            assert taken or not waiting


def test_what_fills_a_batch_by_number_or_by_size_and_what_comes_again_lingers_not() -> None:
    patient = Batching(blobs=3, size_bytes=100, linger=timedelta(hours=1))
    few = [is_open("a"), is_open("b")]

    assert choose(few, patient, now=START) == Linger(3600.0, "2 blobs are open, and do not fill a batch")
    assert isinstance(choose([*few, is_open("c")], patient, now=START), Take)
    assert isinstance(choose([*few, is_open("c", size=99)], patient, now=START), Take)
    assert isinstance(choose([*few, is_open("c", turn=2)], patient, now=START), Take)
    assert isinstance(choose(few, patient, now=START + timedelta(hours=1)), Take)
    assert choose([], patient, now=START) == Take((), 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"blobs": 0},
        {"blobs": 1001},
        {"size_bytes": 0},
        {"linger": timedelta(-1)},
        {"batches": MOST_BATCHES + 1},
        {"blobs": "5"},
        {"size_bytes": 1e9},
        {"linger": 300},
        {"batches": True},
    ],
)
def test_a_batching_that_makes_no_sense_is_told_of(wrong: dict[str, object]) -> None:
    (fault,) = Batching(**wrong).faults()  # type: ignore[arg-type]  # on purpose

    assert fault.startswith(next(iter(wrong)))
    assert Batching().faults() == []


ENDS = [Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELED]
cases = st.builds(
    Case,
    state=st.sampled_from(BatchState),
    is_ours=st.booleans(),
    owner_lives=st.booleans(),
    phase=st.one_of(st.none(), st.sampled_from(Phase)),
    quiet_s=st.sampled_from([0.0, GRACE_S - 1, GRACE_S, OTHERS_GRACE_S - 1, OTHERS_GRACE_S]),
)


@given(cases)
def test_a_batch_whose_owner_lives_or_whose_job_may_go_on_is_never_opened_again(case: Case) -> None:
    ruling = rule(case)
    ended = case.state in {BatchState.FAILED, BatchState.VOID}

    if case.owner_lives and not ended:
        assert ruling is Ruling.LEFT
    if case.state is BatchState.SUBMITTED and case.is_ours and case.phase is not None and case.phase not in ENDS:
        assert ruling is Ruling.LEFT
    if case.phase is Phase.SUCCEEDED and case.state is BatchState.SUBMITTED and case.is_ours:
        assert ruling in {Ruling.LEFT, Ruling.PUBLISHED}
    if case.state is BatchState.SCORED:
        assert ruling in {Ruling.LEFT, Ruling.PUBLISHED}
    if ruling is Ruling.PUBLISHED:
        assert case.is_ours
    assert (ruling is Ruling.REOPENED) == ended


@pytest.mark.parametrize(
    ("case", "ruling"),
    [
        (Case(state=BatchState.CLAIMED, is_ours=False, owner_lives=False), Ruling.VOIDED),
        (Case(state=BatchState.CLAIMING, is_ours=True, owner_lives=False), Ruling.VOIDED),
        (Case(state=BatchState.SUBMITTED, is_ours=True, owner_lives=False, phase=Phase.FAILED), Ruling.FAILED),
        (Case(state=BatchState.SUBMITTED, is_ours=True, owner_lives=False, phase=Phase.CANCELED), Ruling.FAILED),
        (Case(state=BatchState.SUBMITTED, is_ours=True, owner_lives=False, phase=Phase.SUCCEEDED), Ruling.PUBLISHED),
        (Case(state=BatchState.SUBMITTED, is_ours=True, owner_lives=False, quiet_s=GRACE_S - 1), Ruling.LEFT),
        (Case(state=BatchState.SUBMITTED, is_ours=True, owner_lives=False, quiet_s=GRACE_S), Ruling.VOIDED),
        (Case(state=BatchState.SUBMITTED, is_ours=False, owner_lives=False, quiet_s=GRACE_S), Ruling.LEFT),
        (Case(state=BatchState.SUBMITTED, is_ours=False, owner_lives=False, quiet_s=OTHERS_GRACE_S), Ruling.VOIDED),
        (Case(state=BatchState.SCORED, is_ours=True, owner_lives=False), Ruling.PUBLISHED),
        (Case(state=BatchState.SCORED, is_ours=False, owner_lives=False), Ruling.LEFT),
    ],
)
def test_what_a_dead_run_left_is_settled_by_how_far_it_came(case: Case, ruling: Ruling) -> None:
    assert rule(case) is ruling


def test_the_ids_of_all_batches_of_a_run_fit_into_an_xcom() -> None:
    assert len(json.dumps(["f" * 32] * MOST_BATCHES)) < 4096


def test_an_owner_is_read_as_it_was_written_and_only_its_run_may_hold_a_slash() -> None:
    assert parse_owner(owner_of("dag", "a/b:c", "outer.group")) == ("dag", "a/b:c", "outer.group")
    assert same_group("dag/r1/group", "dag/r/2/group")
    assert not same_group("dag/r1/group", "dag/r1/other")
    assert parse_owner("nonsense") == ("nonsense", "", "")


@pytest.mark.parametrize(
    ("since", "until", "first", "last"),
    [
        ("2026-01-31T12:00:00+00:00", "2026-01-31T13:00:00+00:00", "12:00:00", "12:59:59"),
        ("2026-01-31T12", "+1h", "12:00:00", "12:59:59"),
        ("2026-01-31", "+1d", "00:00:00", "23:59:59"),
        ("2026-01-31T13:30:00+01:00", "+30m", "12:30:00", "12:59:59"),
    ],
)
def test_a_window_holds_its_beginning_and_not_its_end(since: str, until: str, first: str, last: str) -> None:
    window = Window.parse(since, until)
    second = timedelta(seconds=1)

    def at(time: datetime) -> Arrival:
        return evolve(arrival("a"), time=time.isoformat())

    begins, ends = (datetime.fromisoformat(f"2026-01-31T{each}+00:00") for each in (first, last))
    assert [at(each) in window for each in (begins - second, begins, ends, ends + second)] == [False, True, True, False]


def test_a_window_without_bounds_is_open_and_one_may_begin_earlier_for_what_came_late() -> None:
    assert Window.parse("", "").is_open
    assert Window.parse("None", "").is_open
    assert Window.parse("2026-01-31", "+1d", late=timedelta(hours=2)).since == datetime(2026, 1, 30, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("soon", ""),
        ("", "+1h"),
        ("None", "+1h"),
        ("2026-01-31", "+1w"),
        ("2026-01-31", "2026-01-30"),
        ("", "+xh"),
        ("9999-12-31", "+2d"),
        ("2026-01-31", "+99999999999d"),
        ("0001-01-01T00:00+02:00", ""),
    ],
)
def test_what_is_no_window_is_refused(since: str, until: str) -> None:
    with pytest.raises(ConfigError):
        Window.parse(since, until)


def test_a_window_never_begins_later_for_what_came_late_nor_before_there_was_time() -> None:
    with pytest.raises(ConfigError, match="late is -1 day"):
        Window.parse("2026-01-31", "+1d", late=timedelta(-1))
    with pytest.raises(ConfigError, match="beyond the years 1 to 9999"):
        Window.parse("0001-01-01", "+1d", late=timedelta(1))


paths = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


@example(".", ".csv")
@given(paths, st.sampled_from(["", ".csv", ".tar.gz", ".CSV"]))
def test_a_file_is_named_so_that_nothing_can_misread_it_and_by_its_version(path: str, suffix: str) -> None:
    name = file_name(arrival(f"{path}x{suffix}"))

    assert name.isascii()
    assert all(letter.isalnum() or letter == "." for letter in name)
    assert ".." not in name
    assert name.endswith(suffix)
    assert name != file_name(arrival(f"{path}x{suffix}", etag="0x2"))


files = st.builds(
    FileReport, scored=st.integers(0, 9), rejected=st.integers(0, 9), fault=st.sampled_from(["", "", "broken"])
)


@given(st.data(), st.lists(paths, unique=True, min_size=1, max_size=8))
def test_every_version_of_a_batch_is_either_scored_or_rejected_with_a_reason(
    data: st.DataObject, names: list[str]
) -> None:
    arrivals = [arrival(name) for name in names]
    told = {file_name(each): data.draw(files) for each in arrivals if data.draw(st.booleans())}
    before = {each.key: "superseded: x" for each in arrivals if data.draw(st.booleans())}
    report = BatchReport(told if data.draw(st.booleans()) else None)
    made = Publication.of("b", job="j", output="o/", arrivals=arrivals, rejected=before, report=report)

    scored, rejected = {each.key for each, _ in made.scored}, set(made.reasons)
    assert scored | rejected == {each.key for each in arrivals}
    assert not scored & rejected
    assert before.keys() <= rejected
    assert all(made.reasons.values())
    if report.files is not None:
        assert all(file_name(each) in told and not told[file_name(each)].fault for each, _ in made.scored)
    marker = json.loads(made.marker())
    assert (len(marker["files"]), len(marker["rejected"])) == (len(scored), len(rejected))
    assert made.counts["gone_blobs"] == len(before)


def test_who_publishes_what_the_ledger_already_knows_writes_the_same_marker() -> None:
    arrivals = [arrival("a"), arrival("b"), arrival("c")]
    report = BatchReport({file_name(arrivals[0]): FileReport(scored=2), file_name(arrivals[1]): FileReport(fault="no")})
    first = Publication.of("b", job="j", output="o/", arrivals=arrivals, rejected={}, report=report)
    again = Publication.of("b", job="j", output="o/", arrivals=arrivals, rejected=first.reasons, report=report)

    assert again.marker() == first.marker()
    counts = {"blobs": 2, "rejected_blobs": 4, "gone_blobs": 0, "rows": 4, "rejected_rows": 0}
    assert summary([first.counts, again.counts]) == counts


@pytest.mark.parametrize(
    "content",
    [
        *(b"babble", b"[]", b"{}", b'{"files": [1]}', b'{"files": [{"scored": 1}]}', b'{"files": 7}', b"\xff"),
        b"[" * 100_000,
        b'{"files": [{"file": "a", "scored": Infinity}]}',
        b'{"files": [{"file": "a", "scored": -1}]}',
        b'{"files": [{"file": "a", "rejected": 1e300}]}',
    ],
)
def test_a_report_that_is_none_is_an_error_and_never_an_empty_one(content: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"report\.json"):
        BatchReport.parse(content)


def test_whatever_a_pipeline_tells_of_a_file_can_be_written_into_marker_and_ledger() -> None:
    one = arrival("a")
    content = json.dumps({"files": [{"file": file_name(one), "fault": "\ud800\x00\x1b"}]}).encode()
    made = Publication.of("b", job="j", output="o/", arrivals=[one], rejected={}, report=BatchReport.parse(content))

    assert json.loads(made.marker().encode())["rejected"][0]["reason"] == "?\x00\x1b"


@pytest.mark.parametrize("fault", ["deleted columns", "superseded", "deleted" + "!" * 2000])
def test_no_word_of_a_pipeline_makes_a_rejected_blob_one_that_is_gone(fault: str) -> None:
    one = arrival("a")
    report = BatchReport({file_name(one): FileReport(fault=fault)})
    made = Publication.of("b", job="j", output="o/", arrivals=[one], rejected={}, report=report)
    again = Publication.of("b", job="j", output="o/", arrivals=[one], rejected=made.reasons, report=report)

    assert (made.counts["rejected_blobs"], made.counts["gone_blobs"]) == (1, 0)
    assert again.marker() == made.marker()


def test_a_pipeline_without_a_report_has_scored_what_it_was_given() -> None:
    assert BatchReport.parse(None).of(arrival("a")) == FileReport()


def test_everything_of_a_batch_lies_where_its_id_says() -> None:
    places = Places(staging="https://acme.blob.core.windows.net/staged/", results="azureml://datastores/d/paths/out/")

    assert places.data("b1") == "https://acme.blob.core.windows.net/staged/b1/data/"
    assert places.output("b1") == "azureml://datastores/d/paths/out/batches/b1/"
    assert places.marker("b1") == "azureml://datastores/d/paths/out/_published/b1.json"
    assert json.loads(manifest("b1", [arrival("a.csv")]))["files"][0]["path"] == "a.csv"
