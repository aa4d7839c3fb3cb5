"""Examples of a few-shot prompt come from the training sets of the run, never from its test queries."""

import json
import re

import pytest

from r4t.data.queries import Query, write_queries
from r4t.errors import InputError
from r4t.fanout.few_shot import FewShot
from r4t.fanout.formats import Expand, Full
from r4t.grpo.examples import give_examples
from r4t.run import Run


def form(**settings):
    return Full(FewShot(**settings), 2)


def test_drawn_examples_are_training_queries_with_their_items(small_run):
    catalog, one = small_run.searcher().catalog, form(drawn=3)
    give_examples(one, small_run, catalog)
    training = {query.text: query for query in small_run.read_queries("train")}
    assert len(one.list_format.examples) == 3
    for text, entries in one.list_format.examples.items():
        items = [catalog.texts[row] for row in catalog.rows(training[text].references)]
        assert entries == items
    again = form(drawn=3)
    give_examples(again, small_run, catalog)
    assert again.spec() == one.spec()


def test_a_test_query_among_the_examples_is_refused(small_run):
    catalog, query = small_run.searcher().catalog, small_run.read_queries("test")[0]
    shouted = form(examples={query.text.upper(): ["hat", "coat"]})
    message = re.escape(f"without test queries among its examples, but found {query.text!r} (id ")
    with pytest.raises(InputError, match=message) as caught:
        give_examples(shouted, small_run, catalog)
    assert "\n" not in str(caught.value)


def test_a_run_without_references_has_no_examples(small_run):
    write_queries(small_run.folder / "none", {"train": [Query("q", "red hat", "mood")]})
    run = Run.begin(small_run.folder / "other", small_run.catalog, small_run.folder / "none")
    with pytest.raises(InputError, match="1 training queries with references.* found 0"):
        give_examples(form(drawn=1), run, run.searcher().catalog)


def test_drawn_examples_are_whole_items(small_run):
    one = Expand(FewShot(drawn=1), 2)
    with pytest.raises(InputError, match="the form Full with examples drawn .* found Expand"):
        give_examples(one, small_run, small_run.searcher().catalog)


def test_a_tuner_saves_the_examples_that_it_drew(tiny, tmp_path):
    module = tiny.tuner(form=Full(FewShot(drawn=1), 3))
    module.export(str(tmp_path))
    spec = json.loads((tmp_path / "fanout.json").read_text())["list_format"]
    assert spec["name"] == "FewShot"
    assert spec["drawn"] == 0
    assert len(spec["examples"]) == 1
