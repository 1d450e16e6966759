"""Formula text -> fixed part + random-effect bars (lme4's nobars and findbars).

The grammar is R's: ``response ~ terms`` with ``+ - : * ^ /``, parentheses, function calls, ``0 1 -1``, and
bars ``(columns | group)`` or ``(columns || group)`` whose group is a name, ``a:b`` or ``a/b``.
Everything is read by one recursive-descent parser, so that what cannot be read is named with its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from bayesmlm.errors import FormulaError
from bayesmlm.expressions import canonical, columns_of

__all__ = ["Bar", "Formula", "parse_formula", "quoted"]


@dataclass(frozen=True, slots=True)
class Bar:
    """One random-effect term, ``(columns | a:b)``; nested and uncorrelated bars are several of these.

    Attributes
    ----------
    columns : str
        Formula of the columns that vary by group, such as ``1 + age``.
    factors : tuple of str
        The columns whose observed combinations are the groups.
    """

    columns: str
    factors: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the grouping: ``urban:district``."""
        return ":".join(self.factors)

    @property
    def text(self) -> str:
        """The term as a formula has it: ``(1 + age | district)``."""
        return f"({self.columns} | {':'.join(map(quoted, self.factors))})"


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula taken apart.

    Attributes
    ----------
    text : str
        As the user wrote it, white space regular.
    response : str
        Left-hand side: a column, ``cbind(successes, failures)``, ``successes / trials`` or an expression.
    response_columns : tuple of str
    fixed : str
        The fixed part, for formulaic (``**`` for powers).
    fixed_columns : tuple of str
    coded_columns : tuple of str
        Columns that ``factor()`` or ``C()`` turns into factors.
    offsets : tuple of str
        Expressions given as ``offset(…)``.
    bars : tuple of Bar
    """

    text: str
    response: str
    response_columns: tuple[str, ...]
    fixed: str
    fixed_columns: tuple[str, ...]
    coded_columns: tuple[str, ...]
    offsets: tuple[str, ...]
    bars: tuple[Bar, ...]

    def right(self, fixed: str, bars: Iterable[Bar]) -> str:
        """A right-hand side of other fixed effects and bars, with the formula's offsets.

        Examples
        --------
        >>> formula = parse_formula("y ~ x + offset(o) + (x | g)")
        >>> formula.right("1", formula.bars)
        '1 + offset(o) + (x | g)'
        """
        return " + ".join([fixed, *(f"offset({text})" for text in self.offsets), *(bar.text for bar in bars)])

    @property
    def varying_columns(self) -> tuple[str, ...]:
        """Columns whose effects vary by group."""
        names = [name for bar in self.bars for name in _Parser(bar.columns).columns_only()]
        return tuple(dict.fromkeys(names))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the formula reads, in order of appearance."""
        names = [*self.response_columns, *self.fixed_columns]
        for text in self.offsets:
            names.extend(columns_of(text))
        names.extend(self.varying_columns)
        for bar in self.bars:
            names.extend(bar.factors)
        return tuple(dict.fromkeys(names))


def quoted(column: str) -> str:
    """A column as a formula has it: in back-quotes where it is no plain name.

    Examples
    --------
    >>> quoted("age"), quoted("my age")
    ('age', '`my age`')
    """
    return column if re.fullmatch(r"[^\W\d][\w.]*", column) else f"`{column}`"


_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d][\w.]*)|`(?P<quoted>[^`]+)`"
    r"|(?P<op>\|\||\*\*|%in%|[~+\-*/:^()|,]))"
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


class _Parser:
    """Recursive descent over one formula; every method reads one rule of the grammar and returns its text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokenise()
        self.at = 0
        self.columns: list[str] = []
        self.coded: list[str] = []
        self.bars: list[Bar] = []
        self.offsets: list[str] = []
        self.depth = 0

    def _tokenise(self) -> list[_Token]:
        tokens, place = [], 0
        text = self.text.rstrip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                # Inside a call anything may stand: it is read as an expression of its own.
                place += len(text[place:]) - len(text[place:].lstrip())
                tokens.append(_Token("other", text[place], place, place + 1))
                place += 1
                continue
            kind = match.lastgroup or ""
            tokens.append(_Token(kind, match[kind], match.start(kind), match.end()))
            place = match.end()
        return tokens

    def fail(self, what: str, token: _Token | None = None) -> FormulaError:
        where = f" at character {token.start + 1}" if token else ""
        return FormulaError(f'cannot read the formula "{self.text}": {what}{where}')

    def peek(self) -> _Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def next_is(self, *texts: str) -> bool:
        token = self.peek()
        return token is not None and token.kind == "op" and token.text in texts

    def take(self) -> _Token:
        token = self.peek()
        if token is None:
            last = self.tokens[-1].text if self.tokens else "nothing"
            raise self.fail(f'it ends after "{last}", where a term should follow')
        self.at += 1
        return token

    # response ~ sum -----------------------------------------------------------------------------------

    def formula(self) -> Formula:
        tildes = [t for t in self.tokens if t.kind == "op" and t.text == "~"]
        if len(tildes) != 1:
            raise self.fail('there must be exactly one "~", with the response before it')
        left = self.text[: tildes[0].start].strip()
        if not left:
            raise self.fail('the response is missing before "~"; write for example "use ~ age"')
        self.at = self.tokens.index(tildes[0]) + 1
        if self.peek() is None:
            raise self.fail('nothing stands after "~"; write "1" for an intercept alone')
        fixed = self.sum(top=True)
        self.expect_end()
        response, response_columns = self.response(left)
        return Formula(
            text=" ".join(self.text.split()),
            response=response,
            response_columns=response_columns,
            fixed=fixed or "1",
            fixed_columns=tuple(dict.fromkeys(self.columns)),
            coded_columns=tuple(dict.fromkeys(self.coded)),
            offsets=tuple(self.offsets),
            bars=tuple(self.bars),
        )

    def columns_only(self) -> tuple[str, ...]:
        self.sum(top=False)
        self.expect_end()
        return tuple(self.columns)

    def expect_end(self) -> None:
        token = self.peek()
        if token is not None:
            what = 'a ")" without its "("' if token.text == ")" else f'"{token.text}" cannot stand there'
            raise self.fail(what, token)

    def response(self, left: str) -> tuple[str, tuple[str, ...]]:
        cbind = re.fullmatch(r"cbind\((.*)\)", left, re.DOTALL)
        quoted = re.fullmatch(r"`([^`]+)`", left)
        if quoted:
            return quoted[1], (quoted[1],)
        parts = _split_comma(cbind[1]) if cbind else [left]
        if cbind and len(parts) != 2:
            raise self.fail("cbind() takes two columns: successes, failures")
        try:
            columns = [name for part in parts for name in columns_of(part)]
        except FormulaError as error:
            raise self.fail(f'the response "{left}" is not a column, cbind(s, f) or s / n ({error})') from None
        return left, tuple(dict.fromkeys(columns))

    def sum(self, top: bool) -> str:
        """Read ``term (+|- term)*``; at the top level bars and offsets are set aside."""
        parts: list[str] = []
        sign = "+"
        if self.next_is("+", "-"):
            sign = self.take().text
        while True:
            start = self.peek()
            text = self.term(top)
            if text is None:
                if sign == "-":
                    raise self.fail("a random-effect term or an offset cannot be subtracted", start)
            else:
                parts.append(f"{sign} {text}" if parts or sign == "-" else text)
            if not self.next_is("+", "-"):
                break
            sign = self.take().text
        return " ".join(parts)

    def term(self, top: bool) -> str | None:
        """Read ``factor ((*|:|/|^|%in%) factor)*``; None for a bar or an offset."""
        text = self.factor(top)
        while self.next_is("*", ":", "/", "^", "**", "%in%"):
            operator = self.take()
            right = self.factor(top=False)
            if text is None or right is None:
                raise self.fail("a random-effect term or an offset stands alone, joined by + only", operator)
            written = {"^": "**", "**": "**", ":": ":"}.get(operator.text, f" {operator.text} ")
            text = f"{text}{written}{right}"
        return text

    def factor(self, top: bool) -> str | None:
        token = self.take()
        if token.kind == "op" and token.text == "(":
            if self.bar_ahead():
                if not top:
                    raise self.fail("a random-effect term stands alone, joined by + only", token)
                self.bar()
                return None
            inner = self.sum(top=False)
            self.close(token)
            return f"({inner})"
        if token.kind == "number":
            return token.text
        if token.kind == "quoted":
            self.columns.append(token.text)
            return f"`{token.text}`"
        if token.kind == "name":
            if self.next_is("("):
                return self.call(token, top)
            if token.text == ".":
                raise self.fail('"." for all other columns is not supported: name the columns', token)
            self.columns.append(token.text)
            return token.text if re.fullmatch(r"\w+", token.text) else f"`{token.text}`"
        if token.text in ("|", "||"):
            raise self.fail("a random-effect term is written in parentheses, as in (1 | group)", token)
        if token.text == ")":
            raise self.fail('a term is missing before ")"', token)
        raise self.fail(f'a term should stand where "{token.text}" is', token)

    def close(self, opening: _Token) -> None:
        token = self.peek()
        if token is None:
            raise self.fail('the "(" is never closed', opening)
        if token.text != ")":
            raise self.fail(f'"{token.text}" cannot stand there', token)
        self.at += 1

    def matching(self, opening: int) -> int:
        depth = 0
        for place in range(opening, len(self.tokens)):
            if self.tokens[place].kind == "op":
                depth += {"(": 1, ")": -1}.get(self.tokens[place].text, 0)
            if depth == 0:
                return place
        raise self.fail('the "(" is never closed', self.tokens[opening])

    def call(self, name: _Token, top: bool) -> str | None:
        """Read a function call; its inside is an expression of its own, not formula algebra."""
        opening = self.at
        closing = self.matching(opening)
        inside = self.text[self.tokens[opening].end : self.tokens[closing].start]
        self.at = closing + 1
        if name.text == "offset":
            if not top:
                raise self.fail("an offset stands alone, joined by + only", name)
            self.offsets.append(canonical(inside))
            return None
        text = f"{name.text}({inside})"
        try:
            self.columns.extend(columns_of(text))
            if name.text in ("factor", "C"):
                self.coded.extend(columns_of(text))
            written = canonical(text).replace("^", "**")
        except FormulaError as error:
            raise self.fail(str(error), name) from None
        return written

    # (columns | group) --------------------------------------------------------------------------------

    def bar_ahead(self) -> bool:
        closing = self.matching(self.at - 1)
        depth = 0
        for token in self.tokens[self.at : closing]:
            if token.kind == "op":
                depth += {"(": 1, ")": -1}.get(token.text, 0)
                if depth == 0 and token.text in ("|", "||"):
                    return True
        return False

    def bar(self) -> None:
        opening = self.tokens[self.at - 1]
        if self.next_is("|", "||"):
            raise self.fail('nothing stands before "|"; write 1 for a random intercept', self.peek())
        outer, self.columns = self.columns, []
        columns = self.sum(top=False)
        self.columns = outer
        if not self.next_is("|", "||"):
            raise self.fail("a random-effect term is (columns | group)", opening)
        divider = self.take()
        if all((sign, term) in (("+", "0"), ("-", "1")) for sign, term in _signed_terms(columns)):
            raise self.fail(f'"{columns}" leaves nothing that varies by group; write 1 for an intercept', opening)
        paths = self.grouping()
        self.close(opening)
        pieces = _uncorrelated(columns) if divider.text == "||" else [columns]
        self.bars.extend(Bar(piece, path) for path in paths for piece in pieces)

    def grouping(self) -> list[tuple[str, ...]]:
        """Read ``a``, ``a:b`` or ``a/b`` (which is ``a`` and ``b:a``, the names lme4 gives)."""
        paths = [self.interaction()]
        while self.next_is("/"):
            self.take()
            paths.append((*self.interaction(), *paths[-1]))
        return paths

    def interaction(self) -> tuple[str, ...]:
        names = [self.group_name()]
        while self.next_is(":"):
            self.take()
            names.append(self.group_name())
        return tuple(names)

    def group_name(self) -> str:
        token = self.take()
        if token.kind not in ("name", "quoted"):
            raise self.fail(f'a group is the name of a column, a:b or a/b; "{token.text}" is none of these', token)
        return token.text


def _split_comma(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def _top_level(text: str) -> list[int]:
    """Places of a text that stand outside parentheses and back-quotes."""
    places, depth, quoted = [], 0, False
    for place, character in enumerate(text):
        quoted ^= character == "`"
        depth += 0 if quoted else {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and not quoted:
            places.append(place)
    return places


def _signed_terms(columns: str) -> list[tuple[str, str]]:
    """Split a sum, at its top level, into (sign, term)."""
    terms, sign, start = [], "+", 0
    for place in _top_level(columns):
        if columns[place] in "+-":
            terms.append((sign, columns[start:place].strip()))
            sign, start = columns[place], place + 1
    terms.append((sign, columns[start:].strip()))
    return [(sign, term) for sign, term in terms if term]


def _products(term: str) -> list[str]:
    """``a * b`` -> ``a``, ``b``, ``a:b``; any other term as it is."""
    factors, start = [], 0
    for place in _top_level(term):
        if term[place : place + 3] == " * ":
            factors.append(term[start:place])
            start = place + 3
    factors.append(term[start:])
    subsets = [subset for size in range(1, len(factors) + 1) for subset in combinations(factors, size)]
    return [":".join(subset) for subset in subsets]


def _uncorrelated(columns: str) -> list[str]:
    """``1 + x`` -> ``1``, ``0 + x``: the terms of ``(1 + x || g)``, as lme4's expandDoubleVerts."""
    terms = _signed_terms(columns)
    intercept = ("+", "0") not in terms and ("-", "1") not in terms
    products = [piece for sign, term in terms if sign == "+" and term not in ("0", "1") for piece in _products(term)]
    return (["1"] if intercept else []) + [f"0 + {piece}" for piece in dict.fromkeys(products)]


def parse_formula(text: str) -> Formula:
    """Take an lme4 formula apart.

    Parameters
    ----------
    text : str

    Returns
    -------
    Formula

    Raises
    ------
    FormulaError
        For text that cannot be read, saying what stands where it should not, and where.

    Examples
    --------
    >>> f = parse_formula("use ~ age*ch + I(age^2) + urban + (1 | urban:district)")
    >>> f.fixed, f.bars
    ('age * ch + I(age**2) + urban', (Bar(columns='1', factors=('urban', 'district')),))
    >>> [bar.name for bar in parse_formula("y ~ 1 + (1 | district/urban)").bars]
    ['district', 'urban:district']
    >>> parse_formula("y ~ x) + z")
    Traceback (most recent call last):
        ...
    bayesmlm.errors.FormulaError: cannot read the formula "y ~ x) + z": a ")" without its "(" at character 6
    """
    if not isinstance(text, str) or not text.strip():
        raise FormulaError('the formula is empty; write for example "use ~ age + (1 | district)"')
    try:
        return _parsed(text)
    except RecursionError:
        raise FormulaError("the formula is nested too deeply to be read; write it with fewer parentheses") from None


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Formula:
    return _Parser(text).formula()
