from r4t.cli.evaluate import print_examples
from r4t.data.queries import Query
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel


def test_examples_are_answered_by_the_best_model_that_the_run_has(small_run, capsys):
    queries = [*small_run.read_queries("test")[:2], Query("q", "zyzzyva", "mood")]
    print_examples(small_run, queries)
    assert capsys.readouterr().out == ""  # no model yet
    texts = small_run.searcher().catalog.texts
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(texts, None)
    FanoutModel(lm, tokenizer, Expand(set_size=4), 12).save(small_run.step("warm_start") / "model")
    print_examples(small_run, [queries[0].text, *queries[1:]])
    printed = capsys.readouterr().out
    for query in queries[:2]:
        assert f"{query.text}   (answered by zero-shot)" in printed
    assert "zyzzyva" not in printed  # the encoder knows no word of it
