"""Help of every verb: on one screen, with examples, and true."""

import re

import pytest

from r4t.__main__ import LIGHTNING_VERBS, VERBS

BRIEF = (*LIGHTNING_VERBS, "evaluate")


@pytest.fixture
def screen(program, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")

    def ask(*arguments):
        code, out, err = program(*arguments)
        assert (code, err) == (0, "")
        return out.rstrip("\n")

    return ask


@pytest.mark.parametrize("verb", VERBS)
def test_it_fits_the_screen_and_has_an_example(screen, verb):
    lines = screen(verb, "--help").splitlines()
    assert lines[0].startswith(f"usage: r4t {verb}")
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 100
    shown = lines[[line.rstrip(":") for line in lines].index("Examples") + 1 :]
    assert any(line.startswith(f"  r4t {verb}") for line in shown)
    assert screen(verb, "-h") == "\n".join(lines)


def test_that_of_the_program_fits_too(screen):
    lines = screen("--help").splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("verb", BRIEF)
def test_a_brief_help_names_options_that_there_are(screen, verb):
    brief, whole = screen(verb, "--help"), screen(verb, "--help-all")
    named = set(re.findall(r"(?<![\w.-])--[a-z][\w.]*", brief.replace("--help-all", "")))
    named -= {"--model.init_args.sampling.samples", "--model.init_args.KEY"}
    named -= {"--data.init_args.batch_size", "--SETTING"}
    assert "--config" in named
    assert [name for name in named if not re.search(rf"{re.escape(name)}\b", whole)] == []
    assert len(whole.splitlines()) > len(brief.splitlines())


def test_the_brief_help_of_evaluate_leaves_nothing_out(screen):
    brief, whole = screen("evaluate", "--help"), screen("evaluate", "--help-all")
    options = set(re.findall(r"^  (--[a-z]\w*)", whole, re.MULTILINE)) - {"--objectives"}
    assert [name for name in options if name not in brief] == []


@pytest.mark.parametrize(
    "verb, groups",
    [
        (
            "catalog",
            {
                "Input": ["SOURCE", "--id_field", "--text_field", "--first", "--verbatim"],
                "Output": ["--out", "--overwrite"],
                "Encoder and vectors": [
                    "--encoder",
                    "--vectors",
                    "--dim",
                    "--max_length",
                    "--dtype",
                ],
                "Collections": ["--collections"],
                "Generated benchmark": ["--size", "--seed"],
            },
        ),
        (
            "queries",
            {
                "Input": ["CATALOG"],
                "Output": ["--out", "--overwrite", "--count", "--folds", "--split", "--seed"],
                "Source of the queries, if not the catalog's phrases": [
                    *("--sets", "--wardrobe", "--endpoint", "--model")
                ],
                "Further queries without references": [
                    "--writer",
                    "--log",
                    "--label",
                    "--item_label",
                ],
                "Recomposed sets": ["--recompose", "--slot"],
            },
        ),
    ],
)
def test_options_are_in_groups(screen, verb, groups):
    sections = {"": []}
    for line in screen(verb, "--help").split("\n\nExamples")[0].splitlines():
        title = re.fullmatch(r"(\w.*):", line)
        if title is not None:
            sections[title[1]] = []
        elif re.match(r"  \S", line):
            sections[list(sections)[-1]].append(line.split()[0].rstrip(","))
    assert {title: names for title, names in sections.items() if names} == {
        "options": ["-h"],
        **groups,
    }


@pytest.mark.parametrize("verb", BRIEF)
def test_examples_begin_with_the_verb(screen, verb):
    _, examples = screen(verb, "--help").split("\nExamples\n")
    assert all(line.startswith(f"  r4t {verb} ") for line in examples.splitlines())
