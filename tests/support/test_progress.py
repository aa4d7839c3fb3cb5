import os
import pty
import re
import subprocess
import sys

import pytest

import r4t.support.progress
from r4t.support.progress import EVERY, PATIENCE, Progress, duration, track


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_durations():
    assert [duration(s) for s in (0, 59.4, 60, 3599.6, 36000)] == [
        "0:00",
        "0:59",
        "1:00",
        "1:00:00",
        "10:00:00",
    ]


def test_the_time_left_is_by_the_steps_of_this_very_work(clock):
    progress = Progress("tune", 40, done=10, shown=True, clock=clock)
    assert progress.left(clock.now) is None
    progress.done = 20
    # 10 steps in 50 s, 20 are left.
    assert progress.left(150.0) == 100.0
    assert progress.line(150.0) == "tune: 20 of 40 (50%), 0:50 gone, 1:40 left"


def test_elsewhere_than_on_a_terminal_a_plain_line_comes_now_and_then(clock, capsys):
    with Progress("encoding texts", 6000, shown=True, clock=clock) as progress:
        for _ in range(3):
            clock.now += EVERY / 2
            progress.advance(1000)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "encoding texts: 2,000 of 6,000 (33%), 0:30 gone, 1:00 left\n"


def test_short_work_and_a_library_show_nothing(clock, capsys, monkeypatch):
    monkeypatch.setattr(r4t.support.progress, "_program", False)
    with Progress("a", 2, clock=clock) as progress:
        clock.now += 10 * EVERY
        progress.advance()
    with Progress("b", 2, shown=True, clock=clock) as progress:
        progress.advance(2)
    assert capsys.readouterr().err == ""


def test_work_within_work_is_silent(clock, capsys, monkeypatch):
    monkeypatch.setattr(r4t.support.progress, "_program", True)
    with Progress("fit", None, shown=True, clock=clock) as outer:
        with Progress("encoding", 2, clock=clock) as inner:
            clock.now += EVERY
            inner.advance()
        outer.advance(3)
    assert capsys.readouterr().err == "fit: 3, 0:30 gone\n"
    assert list(track([1, 2], "again")) == [1, 2]
    assert r4t.support.progress._active is None


def test_a_terminal_has_a_bar_with_the_time_left():
    code = (
        "from r4t.support.progress import Progress\n"
        "clock = iter([0.0, 10.0, 20.0]).__next__\n"
        "progress = Progress('tune', 4, shown=True, clock=clock).__enter__()\n"
        "progress.advance(); progress.advance()\n"
        "progress._bar.refresh(); progress.close(); print('done')\n"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code],
        stderr=theirs,
        capture_output=False,
        stdout=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    assert done.stdout == b"done\n"
    shown = os.read(ours, 100_000).decode()
    assert PATIENCE < 10
    assert re.search(r"tune .*2/4.* 0:20 gone +0:20 left", shown), shown
