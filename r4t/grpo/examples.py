"""Training sets of a run → the examples of a few-shot prompt, none of them a test query."""

from r4t.catalog import Catalog
from r4t.errors import InputError
from r4t.fanout.few_shot import FewShot
from r4t.fanout.formats import FanoutFormat
from r4t.run import Run
from r4t.support.text import normalize_text


def give_examples(form: FanoutFormat, run: Run, catalog: Catalog) -> None:
    """Draw the examples that a ``FewShot`` prompt still lacks; other formats stay as they are.

    Raises:
        InputError: If the run has too few training sets to draw from, or a test query is an example.
    """
    lists = form.list_format
    if not isinstance(lists, FewShot):
        return
    if lists.drawn and form.entry != "full":
        raise InputError(
            expected="the form Full with examples drawn from training sets, which are whole items",
            found=f"{type(form).__name__}",
            remedy="Take Full, or write examples.",
        )
    if lists.drawn:
        sets = [
            (query.text, [catalog.texts[row] for row in catalog.rows(query.references)])
            for query in run.training()
        ]
        lists.draw(sets, form.set_size)
    if not lists.examples or not (run.queries / "test.jsonl").is_file():
        return
    known = {normalize_text(text): text for text in lists.examples}
    tested = [query for query in run.read_queries("test") if normalize_text(query.text) in known]
    if tested:
        raise InputError(
            expected="a few-shot prompt without test queries among its examples",
            found=f"{tested[0].text!r} (id {tested[0].id!r}), one of {len(tested)}",
            remedy="Take other examples, or have them drawn from the training sets.",
        )
