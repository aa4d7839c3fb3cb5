import os
import pty
import re
import subprocess
import sys
import termios
import time

import pytest

import r4t.support.progress
from r4t.support.progress import progress


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Shows progress at once, and each state of it."""
    monkeypatch.setattr(r4t.support.progress, "DELAY", 0.001)
    monkeypatch.setattr(r4t.support.progress, "LINE_EVERY", 0.0)
    monkeypatch.setattr(r4t.support.progress, "_shown", True)


def test_a_log_gets_plain_lines_with_the_time_left(capsys):
    with progress("tune", total=4, done=1) as bar:
        for _ in range(3):
            time.sleep(0.05)
            bar.update()
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert [re.match(r"tune: +\d+%.* (\d)/4 \[", line)[1] for line in lines] == ["2", "3", "4"]
    assert not set(printed.err) & {"\r", "\x1b"}


def test_a_log_gets_a_line_at_most_every_half_minute(capsys, monkeypatch):
    monkeypatch.setattr(r4t.support.progress, "LINE_EVERY", 30.0)
    now = [100.0]
    with progress("encoding", total=6000) as bar:
        bar._time = lambda: now[0]
        bar.start_t = bar.last_print_t = now[0]
        for _ in range(3):
            now[0] += 15
            bar.update(1000)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"encoding:  33%.* 2000/6000 \[00:30<(00:59|01:00), ", line)


def test_the_time_left_follows_from_the_steps_of_this_very_work(capsys):
    with progress("tune", total=40, done=10) as bar:
        bar._time = lambda: 150.0
        bar.start_t = bar.last_print_t = 100.0
        bar.update(10)
    # 10 steps took 50 s, 20 remain.
    assert "20/40 [00:50<01:40" in capsys.readouterr().err


def test_short_work_and_a_library_show_nothing(capsys, monkeypatch):
    monkeypatch.setattr(r4t.support.progress, "DELAY", 2.0)
    assert list(progress("a", [1, 2])) == [1, 2]
    monkeypatch.setattr(r4t.support.progress, "DELAY", 0.001)
    monkeypatch.setattr(r4t.support.progress, "_shown", False)
    for _ in progress("b", [1, 2]):
        time.sleep(0.01)
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar_with_the_time_left():
    code = (
        "import time\n"
        "from r4t.support import progress\n"
        "progress.show()\n"
        "progress.DELAY = 0.001\n"
        "with progress.progress('tune', total=4) as bar:\n"
        "    time.sleep(0.3); bar.update(); time.sleep(0.3); bar.update()\n"
        "print('done')\n"
    )
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    done = subprocess.run(
        [sys.executable, "-c", code],
        stderr=theirs,
        stdout=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm"},
    )
    assert done.stdout == b"done\n"
    shown = os.read(ours, 100_000).decode()
    assert re.search(r"tune:  50%.* 2/4 \[00:00<00:00", shown), shown
