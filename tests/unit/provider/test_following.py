"""What of a job is told while it runs: nothing twice, nothing beyond its bounds, and nothing secret."""

from __future__ import annotations

import itertools
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.following import Follow, Following, Progress, StepRun, failed_steps, link_of
from airflow_azureml.core.joblog import LAST_BYTES, LAST_LINES, Bounds, LogReader, clean, last_lines, log_name
from airflow_azureml.core.jobs import JobSnapshot

STUDIO = "https://ml.azure.com/runs/j?wsid=/subscriptions/s/resourcegroups/g/workspaces/j"
PLENTY = Bounds(look_bytes=10**6, look_lines=10**6, line_bytes=10**6, log_bytes=10**9)

plain = st.text(st.sampled_from("ab é€😀\n"), max_size=200)
small = st.builds(
    Bounds,
    look_bytes=st.integers(8, 60),
    look_lines=st.integers(1, 6),
    line_bytes=st.integers(8, 40),
    log_bytes=st.integers(20, 200),
    resumed_bytes=st.integers(0, 40),
)


def read(reader: LogReader, blob: bytes, *, room: int = 10**9, early: int = 0) -> list[str] | None:
    """Let a reader look once at a blob, as storage answers; `early` bytes before what it asks for come with it."""
    wanted = reader.next_range(room)
    if wanted is None:
        return None
    first, last = wanted
    if first >= len(blob):
        return reader.took(first, b"", len(blob))
    begin = max(0, first - early)
    return reader.took(begin, blob[begin : last + 1], len(blob))


@st.composite
def growths(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """A log, and how long it was at each look; a length may lie within a character."""
    raw = draw(plain).encode()
    return raw, [*sorted(draw(st.lists(st.integers(0, len(raw)), max_size=8))), len(raw), len(raw)]


@given(growths(), st.integers(0, 5))
def test_a_log_that_was_read_in_any_parts_is_told_as_it_is(grown: tuple[bytes, list[int]], early: int) -> None:
    raw, sizes = grown
    reader = LogReader(PLENTY)

    told = [line for size in sizes for line in read(reader, raw[:size], early=early) or []] + reader.end()

    assert "\n".join(told).encode() == raw.removesuffix(b"\n")
    assert (reader.offset, reader.taken, reader.left_out) == (len(raw), len(raw), 0)


@given(growths(), small)
def test_no_byte_is_read_twice_and_what_is_not_told_is_counted(grown: tuple[bytes, list[int]], bounds: Bounds) -> None:
    raw, sizes = grown
    reader, asked, told = LogReader(bounds), list[range](), list[str]()

    for size in [*sizes, *[len(raw)] * 40]:
        wanted = reader.next_range(10**9)
        lines = read(reader, raw[:size]) if wanted is not None else []
        if wanted is not None:
            asked.append(range(wanted[0], min(wanted[1] + 1, size)))
        assert len(lines or []) <= bounds.look_lines
        told += lines or []
    told += reader.end()

    assert all(before.stop <= after.start for before, after in itertools.pairwise(asked) if before and after)
    assert reader.taken == sum(map(len, asked)) <= bounds.log_bytes
    told_bytes = len("".join(told).encode())
    assert told_bytes <= reader.offset - reader.left_out <= told_bytes + len(told)


@given(growths(), small)
def test_what_is_told_is_the_text_in_its_order(grown: tuple[bytes, list[int]], bounds: Bounds) -> None:
    raw, sizes = grown
    reader, text, place = LogReader(bounds), raw.decode(), 0

    told = [line for size in sizes for line in read(reader, raw[:size]) or []] + reader.end()

    for line in told:
        found = text.find(line, place)
        assert found >= 0, f"{line!r} is not in {text[place:]!r}"
        place = found + len(line)


@given(growths(), small, st.integers(0, 100))
def test_a_log_that_was_followed_before_goes_on_near_its_end(
    grown: tuple[bytes, list[int]], bounds: Bounds, room: int
) -> None:
    raw, _ = grown
    reader = LogReader(bounds, is_resumed=True)

    lines = [line for _ in range(3) for line in read(reader, raw, room=room) or []]

    assert len("".join([*lines, *reader.end()]).encode()) <= bounds.resumed_bytes
    assert reader.taken <= min(bounds.resumed_bytes, 3 * room)


def test_a_log_that_is_replaced_by_a_shorter_one_is_told_from_its_beginning() -> None:
    reader = LogReader(PLENTY)

    told = [read(reader, blob) for blob in (b"one\ntwo\n", b"new\n", b"new\n", b"new\nnewer\n")]

    assert told == [["one", "two"], [], ["new"], ["newer"]]
    assert reader.replaced == 1


def test_a_log_that_is_replaced_again_and_again_is_followed_no_further() -> None:
    reader = LogReader(PLENTY)

    looks = 0
    while read(reader, b"a\n" if looks % 4 < 2 else b"") is not None:
        looks += 1
        assert looks < 100

    assert reader.is_full


def test_the_beginning_of_a_long_log_is_told_and_then_its_end() -> None:
    bounds = Bounds(look_bytes=12, log_bytes=100)
    reader = LogReader(bounds)
    blob = b"".join(b"line%02d\n" % number for number in range(20))

    told = [read(reader, blob), reader.take_left_out(), read(reader, blob), reader.take_left_out()]

    assert told == [["line00"], 0, ["line19"], 18 * 7]


@given(st.binary(max_size=200))
def test_no_line_steers_a_terminal_or_ends(raw: bytes) -> None:
    line = clean(raw)

    assert [one for one in line if unicodedata.category(one) in ("Cc", "Zl", "Zp") and one != "\t"] == []


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b" 10%\r 50%\r100%\r\n", "100%"),
        (b"\x1b[31mred\x1b[0m \x1b]8;;https://x\x1b\\link\x07", "red link"),
        (b"tab\there \x00\x08end\n", "tab\there end"),
        ("half \u2028 a \u202e turn".encode(), "half  a  turn"),
        (b"broken \xff\xc3", "broken \ufffd\ufffd"),
    ],
)
def test_a_line_is_shown_as_a_terminal_would_have_left_it(raw: bytes, shown: str) -> None:
    assert clean(raw) == shown


@given(plain, st.integers(0, 6), st.booleans())
def test_the_last_lines_are_few_and_are_the_last(text: str, times: int, is_whole: bool) -> None:
    raw = (text * 2**times)[-40_000:].encode()

    last = last_lines(raw, is_whole=is_whole)

    assert len(last.encode()) <= LAST_BYTES
    assert len(last.split("\n")) <= LAST_LINES
    assert raw.rstrip().decode("utf-8", "ignore").endswith(last.rstrip())


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["system_logs/lifecycler.log", "user_logs/std_log.txt"], "user_logs/std_log.txt"),
        (["user_logs/std_log_process_1.txt", "user_logs/std_log_process_0.txt"], "user_logs/std_log_process_0.txt"),
        (["azureml-logs/20_image_build_log.txt", "system_logs/x.log"], "azureml-logs/20_image_build_log.txt"),
        (["logs/azureml/stderrlogs.txt", "logs/azureml/executionlogs.txt"], "logs/azureml/executionlogs.txt"),
        (["system_logs/x.log"], ""),
        ([], ""),
    ],
)
def test_a_runs_log_is_what_its_program_wrote_before_anything_else(names: list[str], chosen: str) -> None:
    assert log_name(names) == chosen


def test_the_page_of_a_step_is_beside_that_of_its_job() -> None:
    assert link_of(STUDIO, "j", "a b") == STUDIO.replace("/runs/j", "/runs/a%20b")
    assert link_of("http://127.0.0.1:1/ui/jobs/j/j?group=j", "j", "s") == "http://127.0.0.1:1/ui/jobs/j/s?group=j"
    assert link_of("https://ml.azure.com/other", "j", "s") == link_of("", "j", "s") == ""


# steps


def step(run: str, status: str = "Running", **more: Any) -> StepRun:
    return StepRun(name=more.pop("name", f"step-{run}"), run=run, status=status, **more)


looks_at_steps = st.lists(
    st.dictionaries(
        st.sampled_from("abcdefgh"), st.sampled_from(["NotStarted", "Running", "Completed", "Failed"]), max_size=8
    ),
    max_size=10,
)


@given(looks_at_steps, st.integers(1, 5), st.integers(1, 20), st.booleans())
def test_no_state_of_a_step_is_told_twice_and_few_are_told_at_once(
    looks: list[dict[str, str]], at_once: int, in_all: int, is_resumed: bool
) -> None:
    progress = Progress(Bounds(look_changes=at_once, all_changes=in_all), is_resumed=is_resumed)
    said: list[str] = []
    last: dict[str, str] = {}

    for look in looks:
        told = progress.changes([step(run, status) for run, status in look.items()])
        singly = [words for words in told if words.startswith("Step ")]
        assert len(singly) <= at_once
        assert len(told) <= at_once + 2
        for words in singly:
            run, status = words.removeprefix("Step step-").split(" is ")
            assert look[run] == status
            assert last.get(run) != status
        last |= look
        said += singly
    assert len(said) <= in_all
    assert progress.changes([step(run, status) for run, status in last.items()]) == []


@given(looks_at_steps)
def test_every_change_is_told_where_there_is_room(looks: list[dict[str, str]]) -> None:
    progress = Progress()
    last: dict[str, str] = {}

    for look in looks:
        told = progress.changes([step(run, status) for run, status in look.items()])
        changed = {f"Step step-{run} is {status}" for run, status in look.items() if last.get(run) != status}
        assert set(told) == changed
        last |= look
    assert progress.has_told_all() == (bool(last) and set(last.values()) <= {"Completed", "Failed"})


def test_a_step_is_told_with_its_duration_when_it_ended_and_whether_it_was_run() -> None:
    ended = [
        step("a", "Completed", seconds=12.34),
        step("b", "Completed", seconds=0.0, reused=True, reused_job="old"),
        step("c", "Running"),
    ]

    assert Progress().changes(ended) == [
        "Step step-a is Completed after 12.3 s",
        "Step step-b is Completed after 0.0 s, reused from an earlier run (old)",
        "Step step-c is Running",
    ]


def test_of_hundreds_of_steps_the_failed_are_told_first_and_the_rest_counted() -> None:
    steps = [step(str(number)) for number in range(400)] + [step("bad", "Failed")]

    told = Progress().changes(steps)

    assert told[0] == "Step step-bad is Failed"
    assert told[-1] == "361 more steps changed: 361 Running"
    assert len(told) == 41


def test_what_had_ended_before_a_triggerer_began_anew_is_counted_only() -> None:
    progress = Progress(is_resumed=True)

    told = progress.changes([step("a", "Completed"), step("b", "Completed"), step("c"), step("d", "Failed")])

    assert told == ["2 steps had ended before", "Step step-d is Failed", "Step step-c is Running"]
    assert not progress.has_told_all()


def test_a_pipeline_that_failed_because_of_a_step_in_it_is_not_told_beside_that() -> None:
    steps = [
        step("1", "Failed", name="prepare", is_pipeline=True),
        step("2", "Failed", name="prepare/clean"),
        step("3", "Failed", name="other", is_pipeline=True),
        step("4", "Completed", name="last"),
    ]

    assert [each.name for each in failed_steps(steps)] == ["prepare/clean", "other"]


# when to look


def job(status: str = "Running", kind: str = "Pipeline") -> JobSnapshot:
    return JobSnapshot(name="j", status=status, studio_url=STUDIO, kind=kind)


@given(st.lists(st.integers(0, 40), max_size=30), st.sampled_from(Follow))
def test_looks_into_run_history_are_no_more_frequent_than_stated(pauses: list[int], follow: Follow) -> None:
    following, now, looks = Following(follow), 0, list[int]()

    for pause in pauses:
        now += pause
        if following.is_due(job(), now):
            looks.append(now)
            following.looked(now)

    assert all(after - before >= 15 for before, after in itertools.pairwise(looks))
    assert bool(looks) == (bool(pauses) and follow is not Follow.NONE)


@pytest.mark.parametrize(
    ("follow", "kind", "status", "is_due"),
    [
        (Follow.STEPS, "Pipeline", "Running", True),
        (Follow.STEPS, "Command", "Running", False),
        (Follow.STEPS, "", "Running", False),
        (Follow.LOG, "Command", "Running", True),
        (Follow.LOG, "Command", "Queued", False),
        (Follow.LOG, "Pipeline", "Completed", False),
        (Follow.NONE, "Pipeline", "Running", False),
    ],
)
def test_only_a_job_that_runs_and_has_something_to_tell_is_looked_into(
    follow: Follow, kind: str, status: str, *, is_due: bool
) -> None:
    assert Following(follow).is_due(job(status, kind), 100.0) is is_due
