"""``r4t compare`` on a small run: what it shows, on which width, and what it refuses."""

import pytest

from r4t.__main__ import run as run_verb
from r4t.cli.compare import read_file
from r4t.data.queries import Query, write_queries
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import SetTransformer
from r4t.errors import InputError
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.methods.training_sets import RidgeMap
from r4t.report.comparison import compare_answers
from r4t.run import Run
from r4t.support.seeds import query_seed

ALL = ["Zero-shot", "R4T-FOLM", "R4T-Diffusion", "MMR", "No fan-out"]
SIZE = ["--size", "4"]


@pytest.fixture
def run(small_run) -> Run:
    """The small run with a small model of each kind, none of them trained."""
    texts = small_run.searcher().catalog.texts
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(texts, None)
    for step in ("warm_start", "tune"):
        model = FanoutModel(lm, tokenizer, Expand(set_size=4), 12)
        model.save(small_run.step(step) / "model")
    network = SetTransformer(8, width=16, mlp_width=16, heads=2, layers=1, set_size=6)
    DirectionGenerator(network).save(small_run.step("distill") / "model")
    return small_run


@pytest.fixture
def compared(capsys):
    """Runs ``r4t compare`` → what it prints."""

    def call(*arguments):
        capsys.readouterr()
        run_verb(["compare", *map(str, arguments)])
        return capsys.readouterr().out

    return call


def test_all_methods_on_the_terminal_and_as_a_page(run, compared):
    printed = compared(run.folder, "linen red", "wool blue", *SIZE)
    for text in (*ALL, "linen red", "wool blue", "groundedness", "composite", "vendi"):
        assert text in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 120
    notes = " ".join(printed.split())
    assert "Not scored: coverage, because: Expected sets with ['pool', 'references'] for" in notes
    assert "Not scored: complementarity, because: Expected" in notes  # has no category
    assert "Not scored: judge, because: it costs money" in notes
    path = run.folder / "results" / "compare.html"
    assert str(path) in printed
    source = path.read_text(encoding="utf-8")
    assert source.count("<article") == 2 * len(ALL)
    assert [method for method in ALL if f"<h3>{method}</h3>" not in source] == []
    again = compared(run.folder, "linen red", " wool blue", "linen red", *SIZE)  # each once
    assert (again, path.read_text(encoding="utf-8")) == (printed, source)


def test_answers_are_those_of_the_methods_alone(run):
    queries = [Query("q", "red linen", "")]
    comparison = compare_answers(run.folder, queries, size=4, fields=["noun"])
    answers = {answer.method: answer for answer in comparison.answers}
    assert list(answers) == ALL
    searcher = run.searcher()
    z = searcher.encode_queries(["red linen"])
    cosines, rows = searcher.index.search(z, 4)
    plain = answers["No fan-out"].items
    assert [item.id for item in plain] == [searcher.catalog.ids[row] for row in rows[0].tolist()]
    assert [item.cosine for item in plain] == pytest.approx(cosines[0].tolist(), abs=1e-4)
    assert plain[0].metadata == {"noun": plain[0].title.split()[2]}
    # The directions are those of one fan-out, and its first item is the first direction's.
    folm = answers["R4T-FOLM"]
    model = FanoutModel.load(run.step("tune") / "model")
    (written,) = model.sample(["red linen"], [query_seed("q", 0)], 1, 0.9).subqueries
    assert folm.subqueries == written
    first = searcher.encode(folm.subqueries[:1])
    assert folm.items[0].id == searcher.catalog.ids[int(searcher.index.search(first, 1)[1])]
    assert all(item.subquery == folm.subqueries[item.direction - 1] for item in folm.items)
    assert answers["R4T-Diffusion"].subqueries == []
    # eq. 1 of the parts in the same column
    scores = folm.scores
    parts = {"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2}
    composite = sum(weight * scores[f"directions/{name}"] for name, weight in parts.items())
    assert scores["directions/composite"] == pytest.approx(composite, abs=1e-5)
    assert scores["items/vendi"] == pytest.approx(4 * scores["items/diversity"], abs=1e-5)
    assert answers["MMR"].scores["directions/composite"] is None


def test_methods_fields_and_seed_are_chosen(run, compared, tmp_path):
    page = tmp_path / "new" / "page.html"
    options = [*SIZE, "--with", "no-fan-out, folm", "--fields", "noun", "--html", page]
    printed = compared(run.folder, "red linen", *options)
    assert printed.index("No fan-out") < printed.index("R4T-FOLM")  # in the order named
    assert "MMR" not in printed
    assert 'title="noun"' in page.read_text(encoding="utf-8")
    assert not (run.folder / "results").exists()
    bare = compared(run.folder, "red linen", *SIZE, "--with", "mmr", "--fields", "", "--html", page)
    assert 'title="noun"' not in page.read_text(encoding="utf-8")
    assert "MMR" in bare
    answers = [
        compare_answers(
            run.folder, run.read_queries("test"), methods=["diffusion"], size=4, seed=seed
        ).answers
        for seed in (0, 1, 0)
    ]
    assert answers[0] == answers[2] != answers[1]


def test_queries_of_a_file_bring_their_references(run, compared, tmp_path):
    catalog = run.searcher().catalog
    linen = tuple(name for name, text in zip(catalog.ids, catalog.texts) if "linen" in text)
    two = [Query("r1", "red linen", "set", linen), Query("r2", "blue silk", "set", ("i60",))]
    write_queries(tmp_path, {"two": two})
    printed = compared(
        run.folder, "green silk", *SIZE, "--with", "mmr", "--queries", tmp_path / "two.jsonl"
    )
    for text in ("green silk", two[0].text, two[1].text, "recall", "coverage"):
        assert text in printed
    assert printed.count("in the reference set") >= 4
    assert " coverage, because" not in printed
    (tmp_path / "typed.txt").write_text("red linen\n\n  blue wool \nred linen\n", encoding="utf-8")
    assert read_file(str(tmp_path / "typed.txt")) == ["red linen", "blue wool", "red linen"]


def test_typed_queries_are_those_of_the_run_where_it_has_them(run):
    own = run.read_queries("test")[2]
    asked = ["hats", own.text, own, "hats", run.read_queries("train")[0].text]
    comparison = compare_answers(run.folder, asked, methods=["zero-shot", "ridge-map"], size=4)
    assert [answers[0].query_id for answers in comparison.by_query()] == ["hats", own.id, "q0"]
    zero, ridge = comparison.by_query()[1]
    # Seed 0 is the draw of the tables, which goes by the query's id.
    model = FanoutModel.load(run.step("warm_start") / "model")
    (written,) = model.sample([own.text], [query_seed(own.id, 0)], 1, 0.9).subqueries
    assert zero.subqueries == written
    assert zero.scores["items/recall"] is not None  # it has its references
    assert ridge.items
    # Another spelling is another query, but no method may remember its twin.
    (twin,) = compare_answers(run.folder, ["Red LINEN!"], methods=["ridge-map"], size=4).answers
    known = [query for query in run.read_queries("train") if query.id != "q0"]
    z = run.searcher().encode(["Red LINEN!"])
    alone = RidgeMap(run.searcher(), known, 4, 10)([Query("?", "Red LINEN!", "")], z)
    ids = run.searcher().catalog.ids
    assert [item.id for item in twin.items] == [ids[row] for row in alone.items[0].tolist()]


def test_methods_that_do_not_sample_answer_alike_at_every_seed(run):
    names = ["mmr", "k-means facets", "random", "nearest sets", "no-fan-out"]
    first, other = (
        compare_answers(run.folder, ["red linen"], methods=names, size=4, seed=seed).answers
        for seed in (0, 3)
    )
    assert first == other


def test_why_an_oracle_is_missing(run):
    asked = ["red linen", "hats"]  # the first is a query of the run, with references
    comparison = compare_answers(run.folder, asked, methods=["mmr", "references (oracle)"], size=4)
    assert "References (oracle) is missing: 1 of 2 queries have no references." in comparison.notes


def test_a_run_is_compared_as_far_as_it_has_come(small_run, compared):
    printed = compared(small_run.folder, "red linen", *SIZE)
    for name in ("Zero-shot", "R4T-FOLM", "R4T-Diffusion"):
        assert f"{name} is missing: the run has no model in" in printed
    source = (small_run.folder / "results" / "compare.html").read_text(encoding="utf-8")
    assert source.count("<article") == 2
    assert "R4T-FOLM is missing" in source


def test_refusals(run, small_run, compared, tmp_path):
    folder = run.folder
    with pytest.raises(InputError, match="at least one query .* found none. Add queries after"):
        compared(folder)
    with pytest.raises(InputError, match="at least one query"):
        compared(folder, "  ")
    with pytest.raises(InputError, match="found 'qwerty', of which the encoder knows no word"):
        compared(folder, "red linen", "qwerty", *SIZE)
    with pytest.raises(InputError, match="found 'flom'. Name some of them.*Did you mean 'folm'"):
        compared(folder, "red linen", *SIZE, "--with", "mmr,flom")
    with pytest.raises(InputError, match="set_size 4, .* but found set_size 10. Set set_size to 4"):
        compared(folder, "red linen")
    with pytest.raises(InputError, match="size to be at least 1, but found 0"):
        compared(folder, "red linen", "--size", "0")
    with pytest.raises(InputError, match="at most 200 items, all of .* found 201"):
        compared(folder, "red linen", "--size", "201")
    with pytest.raises(InputError, match=r"\['noun'\], but found 'nown'\. .* Did you mean 'noun'"):
        compared(folder, "red linen", *SIZE, "--fields", "nown")
    with pytest.raises(
        InputError, match="one query per line, .* found no file at .*gone.txt. Correct"
    ):
        compared(folder, "--queries", tmp_path / "gone.txt")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(InputError, match=r"UTF-8 text, .* byte 0xe9 at position 3 of .*latin"):
        compared(folder, "--queries", tmp_path / "latin.txt")
    with pytest.raises(InputError, match=r"in gone.jsonl, but found the splits"):
        compared(folder, "--queries", tmp_path / "gone.jsonl")
    with pytest.raises(
        InputError, match="a folder with run.json, but found no such file in .*nowhere"
    ):
        compared(tmp_path / "nowhere", "red linen")
    with pytest.raises(
        InputError, match="at least one method .* found none. Name others, such as mmr"
    ):
        compared(folder, "red linen", "--with", ",")
    assert not (folder / "results").exists()


def test_a_run_without_the_only_method_asked_for(small_run, compared):
    with pytest.raises(
        InputError, match=r"found none \(R4T-FOLM: the run has no model in tune/model"
    ):
        compared(small_run.folder, "red linen", "--with", "folm")
