import os
import re
import subprocess
import sys

import pytest

import r4t
from r4t.__main__ import GROUPS, run
from r4t.errors import InputError


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_verb(capsys, arguments):
    run(arguments)
    printed = capsys.readouterr().out
    for group, verbs in GROUPS.items():
        assert (
            "\n".join([group, *(f"  {verb:<15}{what}" for verb, what in verbs.items())]) in printed
        )


def test_version(capsys):
    run(["--version"])
    assert capsys.readouterr().out.strip() == r4t.__version__


@pytest.mark.parametrize("policy, used", [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_idle_threads_sleep_unless_the_user_says_otherwise(monkeypatch, program, policy, used):
    monkeypatch.setenv("OMP_WAIT_POLICY", "as before")
    if policy is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    else:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    program("--version")
    assert os.environ["OMP_WAIT_POLICY"] == used


def test_an_unknown_verb_lists_the_known_ones():
    said = r"one of the verbs catalog, .*, but found 'syntesize'\. .* Did you mean 'synthesize'\?$"
    with pytest.raises(InputError, match=said):
        run(["syntesize"])


def test_the_module_is_the_program():
    done = subprocess.run(
        [sys.executable, "-m", "r4t", "retrieve", "nowhere", "red"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.match(r"r4t: .*run.json.* nowhere", done.stderr)
    assert len(done.stderr.splitlines()) == 1


def test_what_only_the_parser_refuses_is_one_line_with_the_verb(program):
    code, out, err = program("quickstart", "--task", "oarr")
    assert (code, out) == (2, "")
    assert re.match(
        r"r4t quickstart: .*'oarr' .*'oar', 'wscr'.*; see 'r4t quickstart --help'\n$", err
    )
