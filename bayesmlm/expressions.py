"""Expressions on columns: the whitelist that formulas and spec files share.  Nothing is ever executed as Python."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from bayesmlm.errors import BayesmlmError, FormulaError, among

__all__ = ["FUNCTIONS", "TRANSFORMS", "canonical", "check_expression", "columns_of", "evaluate"]

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "abs": np.abs,
}
"""Functions of one column, value by value."""

TRANSFORMS = ("I", "C", "factor", "scale", "center", "poly", "bs", "cs")
"""Functions of formulas, some with a state that is learnt from the data and kept for new data."""

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
}
_COMPARE: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: np.isin(np.asarray(a), list(b)),
    ast.NotIn: lambda a, b: ~np.isin(np.asarray(a), list(b)),
}
_PASSIVE = (
    ast.Expression, ast.Load, ast.Constant, ast.Name, ast.UnaryOp, ast.USub, ast.UAdd, ast.Not, ast.Invert,
    ast.BinOp, ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.Call, ast.keyword, ast.List, ast.Tuple,
)  # fmt: skip


@lru_cache(maxsize=1024)
def canonical(text: str) -> str:
    """Write an expression the one way it is known by: R's ``^`` for powers, regular spacing.

    Examples
    --------
    >>> canonical("I(age**2)"), canonical("poly( age,2 )")
    ('I(age^2)', 'poly(age, 2)')
    """
    return ast.unparse(check_expression(text)).replace(" ** ", "^").replace("'", '"')


def check_expression(text: str) -> ast.Expression:
    """Parse an expression and refuse anything outside the whitelist.

    Raises
    ------
    FormulaError
        Naming what cannot be read or is not allowed.

    Examples
    --------
    >>> _ = check_expression("livch != '0'")
    >>> check_expression("__import__('os').system('true')")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    bayesmlm.errors.FormulaError: "__import__('os').system" cannot be called in ...
    """
    try:
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval")
    except SyntaxError:
        raise FormulaError(f'cannot read the expression "{text}"') from None
    allowed = (*FUNCTIONS, *TRANSFORMS)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if not (isinstance(node.func, ast.Name) and node.func.id in allowed):
                raise FormulaError(
                    f'"{ast.unparse(node.func)}" cannot be called in "{text}"; functions are: {", ".join(allowed)}'
                )
            one = len(node.args) == 1 and not node.keywords and not isinstance(node.args[0], ast.Starred)
            if node.func.id in (*FUNCTIONS, "I") and not one:
                raise FormulaError(f'{node.func.id}() takes one column in "{text}"')
        elif not isinstance(node, (*_PASSIVE, *_BINARY, *_COMPARE)):
            raise FormulaError(
                f'"{text}" holds something that is not arithmetic, a comparison or a known function '
                f"({type(node).__name__})"
            )
    return tree


@lru_cache(maxsize=1024)
def columns_of(text: str) -> tuple[str, ...]:
    """Names of the columns an expression reads, in order of appearance.

    Examples
    --------
    >>> columns_of("log(size - 1) / age")
    ('size', 'age')
    """
    tree = check_expression(text)
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = [
        (node.lineno, node.col_offset, node.id)
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and id(node) not in functions
    ]
    return tuple(dict.fromkeys(name for _, _, name in sorted(names)))


def evaluate(text: str, columns: Mapping[str, Any]) -> Any:
    """Evaluate a stateless expression on columns.

    Parameters
    ----------
    text : str
    columns : mapping of str to array

    Raises
    ------
    FormulaError
        For a column that is not there, or a transform with a state (``scale``, ``poly``, …).

    Examples
    --------
    >>> evaluate("(age > 1) & (livch != '0')", {"age": np.array([0, 2]), "livch": np.array(["0", "1"])})
    array([False,  True])
    """

    def value(node: ast.AST) -> Any:
        match node:
            case ast.Expression(body=body):
                return value(body)
            case ast.Constant(value=constant):
                return constant
            case ast.Name(id=name):
                if name not in columns:
                    raise FormulaError(f'"{text}" reads a column "{name}" that is not there; {among(name, columns)}')
                return columns[name]
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [value(item) for item in items]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return value(operand)
            case ast.UnaryOp(operand=operand):
                return ~np.asarray(value(operand), dtype=bool)
            case ast.BinOp(left=left, op=op, right=right):
                return _BINARY[type(op)](value(left), value(right))
            case ast.BoolOp(op=ast.And(), values=parts):
                return np.logical_and.reduce([value(part) for part in parts])
            case ast.BoolOp(values=parts):
                return np.logical_or.reduce([value(part) for part in parts])
            case ast.Compare(left=left, ops=ops, comparators=rights):
                sides = [value(left), *(value(right) for right in rights)]
                return np.logical_and.reduce(
                    [np.asarray(_COMPARE[type(op)](a, b)) for op, a, b in zip(ops, sides, sides[1:], strict=False)]
                )
            case ast.Call(func=ast.Name(id=name), args=args) if name in FUNCTIONS or name == "I":
                arguments = [value(arg) for arg in args]
                return arguments[0] if name == "I" else FUNCTIONS[name](*arguments)
        raise FormulaError(f'"{text}" cannot be used here: only value-by-value functions ({", ".join(FUNCTIONS)})')

    tree = check_expression(text)
    try:
        with np.errstate(all="ignore"):
            return value(tree)
    except BayesmlmError:
        raise
    except (TypeError, ValueError, np.exceptions.DTypePromotionError):
        kinds = ", ".join(f"{name} ({_kind(columns[name])})" for name in columns_of(text) if name in columns)
        raise FormulaError(f'"{text}" cannot be evaluated: its parts do not go together; it reads {kinds}') from None


def _kind(values: Any) -> str:
    """What a column holds, in a word."""
    kind = np.asarray(values).dtype.kind
    return {"b": "true or false", "i": "numbers", "u": "numbers", "f": "numbers"}.get(kind, "text")
