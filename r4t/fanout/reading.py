"""Completion → the entries of the list in it, even if a model wrote the list carelessly.

Only what ``<queries>`` holds outside any thought is read; of several such blocks the first with an
entry. Text outside the tag may be a draft or an echo of the prompt. Within the tag:

* Valid JSON is read exactly: strings, those of nested lists, and in an object the value whose key
  means query (else its lists, else the values of numbered keys, else its first string). Numbers
  and ``null`` are no entries. Text after the list is not read.
* These mistakes are forgiven: code fences, missing, trailing and doubled commas, single, smart and
  missing quotes, quotes within quotes, numbers and bullets before entries, brackets that never open
  or close, one entry per line, ``<query>`` tags, and a closing tag that is missing or cut.
* A string that is open when the completion is cut off is dropped: it is half an entry.
* Entries are trimmed, white space becomes a single space, and blank entries are dropped. Repeats
  stay: an objective should see them.
"""

import re
from collections.abc import Sequence

_THOUGHT = re.compile(r"(</?think>)", re.IGNORECASE)
_TAG = re.compile(r"<\s*(/?)\s*queries\s*>", re.IGNORECASE)
_CUT_TAG = re.compile(r"</(?:q|qu|que|quer|queri|querie|queries)?\Z")
_ELEMENT = re.compile(r"<(query|item|li|q)>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
_CLOSERS = {'"': '"', "'": "'", "`": "`'", "“": '”“"', "„": '“”"', "‘": "’‘'", "«": "»"}
_QUOTES = "".join(_CLOSERS)
_LIST = re.compile(rf"[\[{{]\s*(?=[\[{{{_QUOTES}]|\w+\s*:)")
_BRACKET = re.compile(r"\s*(?:```\w*\s*)?(?=[\[{])(?!\[\d+\])")  # [1] numbers a line
_QUOTED = re.compile(rf"\s*(?:```\w*\s*)?(?=[{_QUOTES}])(?!```)")
# A quote closes a text if nothing of the text can follow it.
_AFTER = rf"(?=[ \t]*(?:[,;:\]}}\n{_QUOTES}]|//|#|</|$))"
_TEXT = {q: re.compile(rf"((?:\\[\s\S]|[^\\\n])*?)[{c}]{_AFTER}") for q, c in _CLOSERS.items()}
_OPEN_TEXT = re.compile(r"(?:\\[\s\S]?|[^\\\n])*")  # without a closing quote
_MARK = re.compile(r"(?:\(?\d{1,3}[.):](?!\d)|\[\d+\]|[-*+•‣▪–—](?=\s))\s*")
_INNER_MARK = re.compile(r"(?:(\d{1,3})[.)]|[-*•])\s+(?=\S)")
_NUMBER = re.compile(r"[-+]?[\d.]+(?:e[-+]?\d+)?", re.IGNORECASE)
_CONSTANTS = {"null", "none", "true", "false", "nan", "undefined"}
_NAME = re.compile(r"(?:sub|search)?[ _-]?(?:query|text|string|title|term|phrase|value)s?\d*|q\d*")
_ESCAPE = re.compile(
    r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|U(00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4})|(.))",
    re.DOTALL,
)
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}

_Item = tuple[str | None, list[str], bool]  # key before it, entries in it, whether it is nested


def read_entries(completion: str) -> list[str]:
    r"""Return the entries of a completion, an empty list if it contains none; never raises.

    Examples:
        >>> read_entries('<think>["no"]</think><queries>["linen shirt", "straw hat",]</queries>')
        ['linen shirt', 'straw hat']
        >>> read_entries("<queries>\n1. linen shirt\n2. straw hat\n</queries>")
        ['linen shirt', 'straw hat']
        >>> read_entries('<queries>[{"query": "linen shirt"}, {"query": "straw h')
        ['linen shirt']
    """
    return _read(outside_thoughts(completion))[0]


def entry_spans(completion: str) -> list[tuple[int, int] | None]:
    r"""Return the places of what ``read_entries`` returns, as ``find_entries`` does.

    Examples:
        >>> entry_spans('a hat? <queries>["hat", "na\\u00efve", "belt"]</queries>')
        [(18, 21), None, (39, 43)]
    """
    pieces = _outside(completion)
    places = [start + number for start, piece in pieces for number in range(len(piece))]
    text = "".join(piece for _, piece in pieces)
    entries, start, end = _read(text)
    spans = find_entries(entries, text, start, end)
    return [span and (places[span[0]], places[span[1] - 1] + 1) for span in spans]


def find_entries(
    entries: Sequence[str], text: str, start: int = 0, end: int | None = None
) -> list[tuple[int, int] | None]:
    """Look for entries one after another between two places of a text, with no word beside them.

    Returns:
        (start, end) of the characters of each; None for one that is not there.
    """
    spans, end = list[tuple[int, int] | None](), len(text) if end is None else end
    for entry in entries:
        whole = re.compile(rf"(?<!\w)(?<!\w ){re.escape(entry)}(?! ?\w)")
        match = whole.search(text, start, end)
        spans.append(match and match.span())
        start = match.end() if match else start
    return spans


def outside_thoughts(completion: str) -> str:
    """Return the text outside ``<think>``.

    A thought that never ends includes the rest of the completion. If the chat template began it, only
    its end is in the completion, and it includes all text before.

    Examples:
        >>> outside_thoughts("<think>hm</think>yes"), outside_thoughts("hm</think>yes")
        ('yes', 'yes')
    """
    return "".join(piece for _, piece in _outside(completion))


def _outside(completion: str) -> list[tuple[int, str]]:
    """Return the pieces outside ``<think>``, each with its place in the completion."""
    pieces, place, thinking = list[tuple[int, str]](), 0, False
    for piece in _THOUGHT.split(completion):
        tag = piece.lower()
        if tag == "</think>" and not thinking:
            pieces = []
        elif tag not in ("<think>", "</think>") and not thinking:
            pieces.append((place, piece))
        thinking = tag == "<think>" or (thinking and tag != "</think>")
        place += len(piece)
    return pieces


def _read(text: str) -> tuple[list[str], int, int]:
    """Return the entries of a text without thoughts, and where their block begins and ends."""
    tags = list(_TAG.finditer(text))
    ends = [*(tag.start() for tag in tags[1:]), len(text)]
    for tag, end in zip(tags, ends):
        if not tag.group(1):
            cut = tag is tags[-1]
            block = text[tag.end() : end]
            entries = _entries(_CUT_TAG.sub("", block) if cut else block, cut)
            if entries := [entry for entry in map(_clean, entries) if entry]:
                return _without_marks(entries), tag.end(), end
    return [], 0, 0


def list_ends(completion: str) -> bool:
    """Whether the list is complete: it has its closing tag outside any thought.

    Examples:
        >>> list_ends("<queries>[]</queries>"), list_ends("<think>then </queries>")
        (True, False)
    """
    return any(tag.group(1) for tag in _TAG.finditer(outside_thoughts(completion)))


def without_tags(text: str) -> str:
    r"""Return JSON in which the ``<`` of each tag that reading looks for is escaped.

    Examples:
        >>> print(without_tags('["a </queries> b < c"]'))
        ["a \u003c/queries> b < c"]
    """
    return re.sub(r"<(?=\s*/?\s*(?:queries|think)\s*>)", r"\\u003c", text, flags=re.IGNORECASE)


def _entries(block: str, cut: bool) -> list[str]:
    if match := _LIST.search(block):
        return _Scan(block, cut).read(match.start())
    if match := _BRACKET.match(block):
        return _Scan(block, cut).read(match.end())
    if match := _QUOTED.match(block):  # a list without its bracket
        return _Scan("[" + block[match.end() :], cut).read(0)
    if elements := _ELEMENT.findall(block):
        return [text for _, text in elements]
    return _lines(block)


def _lines(block: str) -> list[str]:
    """Return one entry per line; if some lines have numbers or bullets, only those."""
    lines = [line.strip() for line in block.splitlines()]
    lines = [line for line in lines if line and not line.startswith("```") and line[-1] != ":"]
    marked = [line for line in lines if _MARK.match(line)]
    if len(lines) == 1 and not marked:
        lines = lines[0].split(",")
    bare = [_bare(line) for line in marked or lines]
    return [line for line in bare if any(map(str.isalnum, line))]


def _bare(text: str) -> str:
    """Return a text without its quotes, number or bullet, and comma."""
    text = _MARK.sub("", text.strip().replace("```", ""), count=1)
    return text.strip().rstrip(",;").strip(_QUOTES + "”’»*_ ")


class _Scan:
    """Reads a list character by character; a stack holds the items of the open lists and objects."""

    def __init__(self, text: str, cut: bool) -> None:
        self.text, self.cut = text, cut
        self.levels: list[list[_Item]] = [[]]
        self.keys: list[str | None] = [None]  # of the next item of each level
        self.bare = ""  # text outside quotes since the last item
        self.fresh = False  # whether a colon here would make the last item a key

    def read(self, place: int) -> list[str]:
        """Return the entries from the bracket at ``place`` to the end of the first list."""
        while place < len(self.text):
            char = self.text[place]
            if char in _QUOTES and len(self.levels) > 1 and self._may_open():
                place = self._string(place)
                continue
            place += 1
            if char in "[{":
                self.bare, self.fresh = "", False
                self.levels.append([])
                self.keys.append(None)
            elif len(self.levels) == 1:
                continue  # between objects that no list encloses
            elif char in "]}":
                self._flush()
                self._close()
                if char == "]" and len(self.levels) == 1 and self.levels[0][-1][1]:
                    break
            else:
                self._plain(char)
        if not self.cut:
            self._flush()
        while len(self.levels) > 1:
            self._close()
        return [entry for _, entries, _ in self.levels[0] for entry in entries]

    def _plain(self, char: str) -> None:
        if char in ",;\n":
            self._flush()
            self.fresh = False
        elif char == ":" and self.fresh:
            self.keys[-1] = self.levels[-1].pop()[1][0]
            self.fresh = False
        elif char == ":" and re.fullmatch(r"\s*\w+", self.bare):
            self.keys[-1] = self.bare.strip()
            self.bare = ""
        else:
            self.bare += char
            self.fresh = self.fresh and char.isspace()

    def _may_open(self) -> bool:
        """Whether a quote here begins a text: not within a bare word, except for Python's prefixes."""
        bare = self.bare.strip()
        return not any(map(str.isalpha, bare)) or bare.lower() in ("u", "b", "r", "f")

    def _string(self, start: int) -> int:
        """Add the text that the quote at ``start`` begins; return the position after it."""
        self.bare = ""
        if match := _TEXT[self.text[start]].match(self.text, start + 1):
            self._add([_unescaped(match.group(1))])
            return match.end()
        text = _OPEN_TEXT.match(self.text, start + 1)
        assert text is not None  # it may be empty
        if text.end() < len(self.text) or not self.cut:  # the quote was forgotten, not cut off
            self._add([_unescaped(text.group()).rstrip(" ,]}")])
        return text.end()

    def _flush(self) -> None:
        text = _bare(self.bare)
        word = text.lower()
        plain = any(map(str.isalpha, word)) and word not in _CONSTANTS
        if plain and not _NUMBER.fullmatch(word) and not self.bare.strip().startswith(("//", "#")):
            self._add([text])
        self.bare = ""

    def _close(self) -> None:
        self.keys.pop()
        self._add(_chosen(self.levels.pop()), nested=True)
        self.bare, self.fresh = "", False

    def _add(self, entries: list[str], nested: bool = False) -> None:
        self.levels[-1].append((self.keys[-1], entries, nested))
        self.keys[-1] = None
        self.fresh = True


def _chosen(items: list[_Item]) -> list[str]:
    """Return the entries of a list, or of the values in an object that are the queries."""
    keyed = [
        (key.strip().lower(), entries, deep) for key, entries, deep in items if key is not None
    ]
    if not keyed:
        return [entry for _, entries, _ in items for entry in entries]
    picks = (
        [entries for key, entries, _ in keyed if _NAME.fullmatch(key)],
        [entries for _, entries, deep in keyed if deep],
        [entries for key, entries, _ in keyed if key[-1:].isdecimal()],
        [keyed[0][1]],
    )
    chosen = next((pick for pick in picks if any(pick)), [])
    return [entry for entries in chosen for entry in entries]


def _unescaped(text: str) -> str:
    r"""Return a text with ``\n``, ``\"``, ``\u00e9``, ``\xe9`` and similar escapes resolved."""

    def resolved(match: re.Match[str]) -> str:
        code = match.group(1) or match.group(2) or match.group(3)
        return chr(int(code, 16)) if code else _CONTROLS.get(match.group(4), match.group(4))

    return _ESCAPE.sub(resolved, text)


def _clean(text: str) -> str:
    # Pairs of surrogates become one character; UTF-8 cannot encode half a pair.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(text.split())


def _without_marks(entries: list[str]) -> list[str]:
    """Return several entries without the numbers 1 … n or bullets that all of them begin with."""
    while len(entries) > 1:
        marks = [_INNER_MARK.match(entry) for entry in entries]
        numbers = [mark and mark.group(1) for mark in marks]
        counted = numbers == [str(place + 1) for place in range(len(entries))]
        if not counted and (not all(marks) or any(numbers)):
            break
        entries = [entry[mark.end() :] for entry, mark in zip(entries, marks) if mark]
    return entries
