"""What people are told while a job runs."""

from __future__ import annotations

import io

import pytest

from iaa_runtime.jobs.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_time_left_count_what_is_done_now() -> None:
    clock = Clock()
    progress = Progress(5000, 1000, clock=clock, stream=io.StringIO())
    assert progress.describe(1000) == "1,000 of 5,000 images"
    clock.now += 100
    assert progress.describe(2250) == "2,250 of 5,000 images, 12.5 a second, 3 min 40 s left"
    assert progress.describe(1020) == "1,020 of 5,000 images, 5.0 s each, 5 h 31 min left"


def test_a_log_gets_a_line_now_and_then_and_a_terminal_one_that_changes() -> None:
    clock, log, terminal = Clock(), io.StringIO(), Terminal()
    both = [Progress(60, clock=clock, stream=stream) for stream in (log, terminal)]
    for done in range(1, 61):
        clock.now += 1
        for progress in both:
            progress.update(done)
    for progress in both:
        progress.finish(60)
    assert log.getvalue().splitlines() == [
        "0 of 60 images",
        "30 of 60 images, 1.0 a second, 30 s left",
        "60 of 60 images, 1.0 a second, 0 s left",
        "60 of 60 images (60 now, in 1 min 0 s)",
    ]
    assert terminal.getvalue().count("\r") == 62
    assert terminal.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7260, "2 h 1 min"), (2e5, "2 d 7 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
