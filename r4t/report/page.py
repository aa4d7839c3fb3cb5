"""Answers of several methods to the same queries → one HTML page that needs nothing but itself."""

import html
from collections.abc import Container, Mapping, Sequence
from importlib.resources import files

from r4t.evaluation.results import DIRECTIONS, ITEMS
from r4t.report.answers import Answer, AnswerItem, added_words, readable, shown_number
from r4t.report.comparison import Comparison, alone, highest, score_names

BLOCKS = {DIRECTIONS: "Directions searched with", ITEMS: "Items returned"}
HUES = 6  # of page.css; methods beyond take them in turn
LEGEND = (
    "The number in a circle is that of the sub-query or direction nearest to an item, which found "
    "it; the decimal is its cosine with the query. A bar at the left marks what no other method "
    "returned. ▲ is the highest of a score; higher is better, though closeness and diversity pull "
    "against each other. Scores of directions compare methods that have them; scores of items "
    "compare all."
)


def page(comparison: Comparison) -> str:
    """Return the page: no script, no image, nothing from elsewhere; every text is escaped.

    Equal comparisons give equal pages, byte by byte.
    """
    style = files("r4t.report").joinpath("page.css").read_text(encoding="utf-8")
    queries = comparison.by_query()
    sections = [_query(number, found, comparison) for number, found in enumerate(queries, 1)]
    title = _escaped(comparison.title)
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">",
        f"<title>{title}</title>",
        f"<style>\n{style}</style>",
        "</head>",
        "<body>",
        f"<h1>{title}</h1>",
        f'<p class="lead">{LEGEND}</p>',
        _facts(comparison.facts),
        _contents([found[0].query for found in queries]),
        "<main>",
        *sections,
        "</main>",
        _notes(comparison.notes),
        "</body>",
        "</html>",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _escaped(text: str) -> str:
    return html.escape(readable(text))


def _facts(facts: Mapping[str, str]) -> str:
    shown = "".join(
        f"<div><dt>{_escaped(name)}</dt><dd>{_escaped(value)}</dd></div>"
        for name, value in facts.items()
    )
    return f'<dl class="facts">{shown}</dl>' if shown else ""


def _contents(queries: Sequence[str]) -> str:
    if len(queries) < 2:
        return ""
    links = "".join(
        f'<li><a href="#query-{number}">{_escaped(text)}</a></li>'
        for number, text in enumerate(queries, 1)
    )
    return f'<nav aria-label="Queries"><ol>{links}</ol></nav>'


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    shown = "".join(f"<li>{_escaped(note)}</li>" for note in notes)
    return f"<footer><h2>Notes</h2><ul>{shown}</ul></footer>"


def _query(number: int, answers: Sequence[Answer], comparison: Comparison) -> str:
    cards = "\n".join(_method(answer, answers, comparison) for answer in answers)
    heading = f'<h2 dir="auto">{_escaped(answers[0].query)}</h2>\n'
    return (
        f'<section class="query" id="query-{number}">\n{heading}'
        f'<div class="methods" style="--columns: {len(answers)}">\n{cards}\n</div>\n</section>'
    )


def _method(answer: Answer, answers: Sequence[Answer], comparison: Comparison) -> str:
    hue = comparison.methods.index(answer.method) % HUES
    about = comparison.about.get(answer.method, "")
    return (
        f'<article class="method" style="--hue: var(--h{hue})">\n'
        f"<header><h3>{_escaped(answer.method)}</h3><p>{_escaped(about)}</p></header>\n"
        f'<div class="scores">{_scores(answer, answers, comparison)}</div>\n'
        f"<div>{_subqueries(answer)}{_items(answer, alone(answers))}</div>\n"
        "</article>"
    )


def _scores(answer: Answer, answers: Sequence[Answer], comparison: Comparison) -> str:
    parts = []
    for block, heading in BLOCKS.items():
        names = score_names(answers, block)
        if not names:
            continue
        parts.append(f"<h4>{heading}</h4>")
        if all(answer.scores.get(name) is None for name in names):
            parts.append('<p class="none">none: it picks items</p>')
            continue
        rows = "".join(_score(answer, answers, name, block, comparison.scales) for name in names)
        parts.append(f"<dl>{rows}</dl>")
    return "".join(parts)


def _score(
    answer: Answer,
    answers: Sequence[Answer],
    name: str,
    block: str,
    scales: Mapping[str, tuple[float, float]],
) -> str:
    value, why = answer.scores.get(name), answer.reasons.get(name)
    label = _escaped(name.removeprefix(block))
    reason = f'<dd class="reason" dir="auto">{_escaped(why)}</dd>' if why else ""
    if value is None:
        return (
            f'<div class="score"><dt>{label}</dt><dd></dd><dd class="number">–</dd>{reason}</div>'
        )
    known = [v for other in answers if (v := other.scores.get(name)) is not None]
    low, high = scales.get(name, (min(0.0, *known), max(1.0, *known)))
    top = " top" if value == highest(answers, name) else ""
    return (
        f'<div class="score{top}" title="{label}: from {low:g} to {high:g}"><dt>{label}</dt>'
        f"<dd>{_bar(value, low if min(known) < 0 else max(low, 0.0), high)}</dd>"
        f'<dd class="number">{shown_number(value, 3)}</dd>{reason}</div>'
    )


def _bar(value: float, low: float, high: float) -> str:
    """A bar from zero (or the end nearest to it) to ``value``."""
    width = high - low
    if width <= 0:
        return ""
    start, end = sorted(100 * (min(max(point, low), high) - low) / width for point in (0.0, value))
    return f'<span class="bar"><i style="left: {start:.1f}%; width: {end - start:.1f}%"></i></span>'


def _subqueries(answer: Answer) -> str:
    if not answer.directions and not answer.subqueries:
        return ""
    if not answer.subqueries:
        return f'<h4>{answer.directions} directions</h4><p class="none">vectors without words</p>'
    used = {item.direction for item in answer.items}
    rows = "".join(
        f'<li{"" if number in used else " class=idle"}><span class="by">{number}</span>'
        f'<span dir="auto">{_said(text, answer.query)}</span></li>'
        for number, text in enumerate(answer.subqueries, 1)
    )
    return f'<h4>{len(answer.subqueries)} sub-queries</h4><ol class="words">{rows}</ol>'


def _said(text: str, query: str) -> str:
    """A sub-query, with the query that it begins with set apart from what it adds."""
    added = added_words(text, query)
    if added is None:
        return _escaped(text)
    return f'<span class="said">{_escaped(text[: len(query)])}</span> {_escaped(added)}'


def _items(answer: Answer, unique: Container[str]) -> str:
    if not answer.items:
        return '<h4>Items</h4><p class="none">nothing was found</p>'
    rows = "".join(_item(item, item.id in unique) for item in answer.items)
    return f'<h4>{len(answer.items)} items</h4><ol class="found">{rows}</ol>'


def _item(item: AnswerItem, only: bool) -> str:
    by = "" if item.direction is None else f'<span class="by">{item.direction}</span>'
    chips = "".join(
        f'<span class="chip" title="{_escaped(name)}" dir="auto">{_escaped(str(value))}</span>'
        for name, value in item.metadata.items()
        if value is not None and value != ""
    )
    known = '<span class="reference">in the reference set</span>' if item.is_reference else ""
    return (
        f"<li{' class=only' if only else ''}>"
        f'<span class="title" dir="auto" title="{_escaped(item.id)}">{_escaped(item.title)}</span>'
        f'<span class="about">{by}<span class="chips">{chips}{known}</span>'
        f'<span class="cosine">{shown_number(item.cosine, 2)}</span></span></li>'
    )
