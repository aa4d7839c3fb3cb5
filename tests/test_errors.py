"""One shape of message, by construction, in every room."""

import ast
import pickle
import re
from pathlib import Path

import pytest

from r4t.errors import InputError, PluginError, check_least
from r4t.methods.context import Unavailable

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("r4t", "objectives", "benchmarks", "docs/site")
ERRORS = {"InputError", "PluginError"}


def raised():
    """Every call that makes an error: file and line, and its keywords with the text of each."""
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ERRORS:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


CALLS = list(raised())


def literal(node):
    """The text of a string as far as it is literal; what is computed is a star."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(v.value if isinstance(v, ast.Constant) else "*" for v in node.values)
    return "*"


def test_every_message_has_three_parts():
    assert len(CALLS) > 200
    parts = {"expected", "found", "remedy"}
    bad = [place for place, call in CALLS if call.args or {k.arg for k in call.keywords} != parts]
    assert bad == []


def test_the_parts_make_sentences():
    for place, call in CALLS:
        text = {keyword.arg: literal(keyword.value) for keyword in call.keywords}
        assert not re.match("[Ee]xpected|[A-Z][a-z]+ (is|are) expected", text["expected"]), place
        assert not re.search(r"[.!]$", text["expected"]), place
        assert not re.match("found ", text["found"]), place
        assert re.match(r"[A-Z0-9*'`-]", text["remedy"]), place
        assert re.search(r"[.?*)]$", text["remedy"].rstrip("'")), place
        assert not any("—" in part for part in text.values()), place


def test_the_sentence():
    with pytest.raises(InputError) as caught:
        check_least({"size": (10, 1), "runs": (-1, 0)})
    assert str(caught.value) == "Expected runs to be at least 0, but found -1. Raise it."


@pytest.mark.parametrize("kind", [InputError, PluginError])
def test_messages_survive_pickling(kind):
    error = kind(expected="a", found="b", remedy="C.")
    assert str(pickle.loads(pickle.dumps(error))) == "Expected a, but found b. C."
    assert type(pickle.loads(pickle.dumps(error))) is kind


def test_subclasses_survive_pickling_too():
    again = pickle.loads(pickle.dumps(Unavailable("the run has no model")))
    assert (again.reason, type(again)) == ("the run has no model", Unavailable)
