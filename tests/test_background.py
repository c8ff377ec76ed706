"""Work in a thread that can always be ended, whatever it is doing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from microstream_lab.live.background import Background, in_thread, together

TWO_SECONDS_AND_A_BIT = 3.5
Outcomes = list[BaseException | None]


def started(work: Callable[[], Awaitable[None]]) -> tuple[Background, Outcomes]:
    outcomes: Outcomes = []
    background = Background("work", work, outcomes.append)
    background.start()
    return background, outcomes


def stopped_in_time(background: Background) -> None:
    began = time.monotonic()
    background.stop()
    assert time.monotonic() - began < TWO_SECONDS_AND_A_BIT


async def forever() -> None:
    await asyncio.Event().wait()


async def failing() -> None:
    raise ValueError("it went wrong")


def test_work_asked_to_end_before_it_has_begun_ends() -> None:
    outcomes: Outcomes = []
    background = Background("work", forever, outcomes.append)
    background.stop()
    background.start()
    stopped_in_time(background)
    assert isinstance(outcomes[0], asyncio.CancelledError)


@pytest.mark.parametrize("attempt", range(50))
def test_work_asked_to_end_at_any_moment_ends(attempt: int) -> None:
    background, outcomes = started(forever)
    until = time.perf_counter() + attempt * 1e-4
    while time.perf_counter() < until:
        pass
    stopped_in_time(background)
    assert not background.is_running
    assert isinstance(outcomes[0], asyncio.CancelledError)


def test_what_work_ended_with_is_told() -> None:
    for work, kind in ((failing, ValueError), (lambda: asyncio.sleep(0), type(None))):
        background, outcomes = started(work)
        background._thread.join()
        assert isinstance(outcomes[0], kind)


def test_call_in_a_thread_that_hangs_is_left_behind_by_name() -> None:
    hang, came = threading.Event(), threading.Event()

    def call() -> None:
        came.set()
        hang.wait()

    background, outcomes = started(lambda: in_thread("looking for news", call))
    came.wait()
    stopped_in_time(background)
    assert not background.is_running
    assert background.under_way == ("looking for news",)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    hang.set()


def test_work_that_will_not_be_cancelled_is_ended_all_the_same() -> None:
    begun = threading.Event()

    async def stubborn() -> None:
        begun.set()
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    background, outcomes = started(stubborn)
    begun.wait()
    stopped_in_time(background)
    assert isinstance(outcomes[0], asyncio.CancelledError)


def test_blocked_loop_is_not_waited_for() -> None:
    begun, go_on = threading.Event(), threading.Event()

    async def blocked() -> None:
        begun.set()
        go_on.wait()

    background, _ = started(blocked)
    begun.wait()
    stopped_in_time(background)
    assert background.is_running
    go_on.set()


def test_stopping_from_its_own_thread_does_not_wait_for_itself() -> None:
    background: Background

    async def work() -> None:
        background.stop()
        await forever()

    outcomes: Outcomes = []
    background = Background("work", work, outcomes.append)
    background.start()
    background._thread.join()
    assert isinstance(outcomes[0], asyncio.CancelledError)


def test_python_exits_while_a_call_hangs() -> None:
    script = (
        "import threading\n"
        "from microstream_lab.live.background import Background, in_thread\n"
        "began, hang = threading.Event(), threading.Event()\n"
        "call = lambda: (began.set(), hang.wait())\n"
        "Background('work', lambda: in_thread('hang', call), print).start()\n"
        "began.wait()\n"
    )
    subprocess.run([sys.executable, "-c", script], timeout=60, check=True)


def test_failure_beside_the_work_ends_both_and_is_raised() -> None:
    with pytest.raises(ValueError, match="it went wrong"):
        asyncio.run(together(forever(), failing()))


def test_last_thing_is_done_while_the_others_end() -> None:
    done: list[str] = []

    async def note() -> None:
        done.append("stored")

    async def ending() -> None:
        await asyncio.sleep(0)

    asyncio.run(together(ending(), forever(), last=note))
    assert done == ["stored"]
