from r4t.cli.show import print_examples, print_set
from r4t.data.queries import Query
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.retriever import RetrievedItem, RetrievedSet


def test_a_set_is_a_table(capsys):
    items = [
        RetrievedItem("i1", "red linen shirt", 0.98765, 0.5, "beach shirt"),
        RetrievedItem("i2", "straw hat", -0.25, 0.12349),
    ]
    print_set(RetrievedSet("beach day", items))
    printed = capsys.readouterr().out
    assert "beach day" in printed
    first = next(line for line in printed.splitlines() if "red linen shirt" in line)
    assert [cell.strip() for cell in first.split("│")[1:-1]] == [
        "1",
        "red linen shirt",
        "0.988",
        "0.500",
        "beach shirt",
    ]
    assert "-0.250" in printed
    assert "0.123" in printed


def test_directions_without_words_have_no_column(capsys):
    print_set(RetrievedSet("beach day", [RetrievedItem("i1", "straw hat", 0.5, 0.5)]), "my title")
    printed = capsys.readouterr().out
    assert "my title" in printed
    assert "sub-query" not in printed


def test_examples_are_answered_by_the_best_model_there_is(small_run, capsys):
    queries = [*small_run.read_queries("test")[:2], Query("q", "zyzzyva", "mood")]
    print_examples(str(small_run.folder), queries)
    assert capsys.readouterr().out == ""  # no model yet
    texts = small_run.searcher().catalog.texts
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(texts, None)
    FanoutModel(lm, tokenizer, Expand(set_size=4), 12).save(small_run.step("warm_start") / "model")
    print_examples(str(small_run.folder), queries)
    printed = capsys.readouterr().out
    for query in queries[:2]:
        assert f"{query.text}   (answered by zero-shot)" in printed
    assert "zyzzyva" not in printed  # no word of it is known
