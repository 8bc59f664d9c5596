"""Waiting for a scoring process: in turn, never more in one than it takes, and nobody is forgotten."""

from __future__ import annotations

import asyncio

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azureml_emulator.online_queue import NobodyReadyError, Queue

pytestmark = pytest.mark.anyio


@attrs.define(eq=False)
class Process:
    """A process that counts how many requests it ever had at a time."""

    url: str = "http://127.0.0.1:9"
    busy: int = 0
    most: int = 0


@attrs.define
class Requests:
    """Requests for some processes, and the order in which they had their turn."""

    processes: list[Process]
    most: int
    had: list[int] = attrs.field(factory=list)
    queue: Queue = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.queue = Queue(lambda: self.processes)

    async def one(self, number: int, turns: int) -> None:
        async with self.queue.process(most=self.most) as process:
            assert isinstance(process, Process)
            process.most = max(process.most, process.busy)
            self.had.append(number)
            for _ in range(turns):
                await asyncio.sleep(0)


def made(processes: int, most: int) -> Requests:
    return Requests([Process() for _ in range(processes)], most)


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2)), max_size=16),
)
@settings(max_examples=200, deadline=None)
def test_requests_have_their_turn_in_order_whoever_gives_up(
    processes: int, most: int, turns: list[int], given_up: list[tuple[int, int]]
) -> None:
    async def run() -> tuple[Requests, list[bool]]:
        requests = made(processes, most)
        tasks = [asyncio.create_task(requests.one(number, turn)) for number, turn in enumerate(turns)]
        for number, after in given_up:
            for _ in range(after):
                await asyncio.sleep(0)
            if number < len(tasks):
                tasks[number].cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks, return_exceptions=True)
        return requests, [task.cancelled() for task in tasks]

    requests, cancelled = asyncio.run(run())

    assert requests.had == sorted(requests.had)
    assert {number for number, gone in enumerate(cancelled) if not gone} <= set(requests.had)
    assert all(process.busy == 0 and process.most <= most for process in requests.processes)


async def test_who_waits_for_processes_that_are_gone_is_told_so() -> None:
    requests = made(1, 1)
    first = asyncio.create_task(requests.one(0, 5))
    others = [asyncio.create_task(requests.one(number, 0)) for number in (1, 2)]
    await asyncio.sleep(0)
    requests.processes = []
    async with asyncio.timeout(10):
        ended = await asyncio.gather(first, *others, return_exceptions=True)

    assert [type(each) for each in ended] == [type(None), NobodyReadyError, NobodyReadyError]


async def test_the_least_busy_process_is_given() -> None:
    processes = [Process(busy=2), Process(busy=1), Process(busy=3)]
    queue = Queue(lambda: processes)

    async with queue.process(most=4) as first, queue.process(most=4, without=[processes[0]]) as second:
        assert first is second is processes[1]

    assert [process.busy for process in processes] == [2, 1, 3]
