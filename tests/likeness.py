"""How alike two bodies of code are, function by function.

``python tests/likeness.py OURS… --against THEIRS…`` prints the functions of ours whose body is
nearest to one of theirs, in two measures:

- *named*: the share of our runs of ``NAMED_RUN`` tokens that occur in their function as they are.
- *shape*: the share of our runs of ``SHAPE_RUN`` tokens that occur there when every name, number
  and string is replaced by a mark for its kind. Renaming does not change it.

Comments, docstrings, annotations, formatting and a function's parameters do not count: the
host dictates the parameters. Nor do options declared with argparse: any two lists of them have
one shape. What a file says outside functions is one more unit. A function *stands out* if a
measure is above its limit; docs/decisions.md says how the limits were chosen.
"""

from __future__ import annotations

import argparse
import ast
import io
import keyword
import re
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NAMED_RUN = 5
SHAPE_RUN = 12
SHORTEST = 24
"""Functions with fewer tokens say too little to be told apart."""
FEWEST_RUNS = 40
"""A share is taken of at least so many runs: a few lines are easily met by chance."""
NAMED_LIMIT = 0.3
SHAPE_LIMIT = 0.5

LISTING = frozenset((".", "=", ",", "None", "True", "False", "name", "number", "string"))
"""What ``self.a = a`` and its like consist of: line after line of it has no shape of its own."""

OUTSIDE = "(outside functions)"

Token = tuple[str, str]
"""Its kind (``name``, ``number``, ``string``, ``mark``) and its text."""

JS_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/|\#![^\n]*)
    |(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)
    |(?P<number>\d[\w.]*)
    |(?P<name>[A-Za-z_$][\w$]*)
    |(?P<regex>(?<![\w)\]]\s)(?<![\w)\]])/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/[a-z]*)
    |(?P<mark>=>|===|!==|\?\?|\?\.|\.\.\.|&&|\|\||[-+*/%<>=!]=|\+\+|--|.)""",
    re.VERBOSE | re.DOTALL,
)
JS_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
    async await break case catch class const continue default delete do else export extends false
    finally for function if import in instanceof let new null of return static super switch this
    throw true try typeof undefined var void while yield
    """,
    )
)
JS_BLOCKS = frozenset(("if", "for", "while", "switch", "catch", "with"))


@dataclass(frozen=True)
class Unit:
    """A function's body, or what a file says outside functions.

    Args:
        name: ``file:function``.
        tokens: Its tokens in order.
    """

    name: str
    tokens: tuple[Token, ...]

    @property
    def outside(self) -> bool:
        """Whether it is what a file says outside functions."""
        return self.name.endswith(OUTSIDE)

    def runs(self, named: bool) -> frozenset[int]:
        """The hashes of its runs of tokens; without names only those that do more than list."""
        words = [text if named or kind == "mark" else kind for kind, text in self.tokens]
        length = NAMED_RUN if named else SHAPE_RUN
        ends = range(len(words) - length + 1)
        found = (words[start : start + length] for start in ends)
        return frozenset(hash(tuple(run)) for run in found if named or not LISTING.issuperset(run))


@dataclass(frozen=True)
class Likeness:
    """One of our functions and the function that is nearest to it in one measure.

    Args:
        share: Of our runs, in [0, 1].
    """

    ours: str
    theirs: str
    measure: str
    share: float
    tokens: int


# ---------------------------------------------------------------- Python


class _Bare(ast.NodeTransformer):
    """Without docstrings, annotations, functions' parameters and declared options."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        node.args = ast.arguments([], [], None, [], [], None, [])
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        return None if node.value is None else ast.Assign([node.target], node.value, lineno=0)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        call = node.value.func if isinstance(node.value, ast.Call) else None
        if isinstance(call, ast.Attribute) and call.attr == "add_argument":
            return None  # a list in argparse's words, which has argparse's shape
        return self.generic_visit(node)


def _python_tokens(statements: list[ast.stmt]) -> tuple[Token, ...]:
    tokens: list[Token] = []
    text = "\n".join(ast.unparse(statement) for statement in statements)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            tokens.append(("mark" if keyword.iskeyword(token.string) else "name", token.string))
        elif token.type == tokenize.NUMBER:
            tokens.append(("number", token.string))
        elif token.type == tokenize.STRING:
            tokens.append(("string", token.string))
        elif token.type == tokenize.OP:
            tokens.append(("mark", token.string))
    return tuple(tokens)


def _functions(
    body: list[ast.stmt], prefix: str, found: list[tuple[str, list[ast.stmt]]]
) -> list[ast.stmt]:
    """Puts every function under ``body`` into ``found``; returns what stands outside them."""
    rest: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}{statement.name}"
            found.append((name, statement.body))
            _functions(statement.body, f"{name}.", found)
        elif isinstance(statement, ast.ClassDef):
            rest.extend(_functions(statement.body, f"{prefix}{statement.name}.", found))
        elif not isinstance(statement, ast.Import | ast.ImportFrom):
            rest.append(statement)
    return rest


def python_units(source: str, file: str) -> Iterator[Unit]:
    """The functions of a Python file, nested ones twice, and what stands outside them."""
    tree = _Bare().visit(ast.parse(source))
    found: list[tuple[str, list[ast.stmt]]] = []
    found.append((OUTSIDE, _functions(tree.body, "", found)))
    for name, body in found:
        yield Unit(f"{file}:{name}", _python_tokens(body))


# ---------------------------------------------------------------- JavaScript


def _js_tokens(source: str) -> list[Token]:
    tokens: list[Token] = []
    for match in JS_TOKEN.finditer(source):
        kind = str(match.lastgroup)
        if kind == "skip":
            continue
        kind = "string" if kind == "regex" else kind
        text = match.group()
        tokens.append(("mark" if kind == "name" and text in JS_WORDS else kind, text))
    return tokens


def _opening(tokens: list[Token], end: int) -> int:
    """Where the parenthesis that closes at ``end`` opens."""
    depth = 0
    for place in range(end, -1, -1):
        depth += {")": 1, "(": -1}.get(tokens[place][1], 0)
        if depth == 0:
            return place
    return 0


def _js_name(tokens: list[Token], brace: int) -> str | None:
    """The name of the function whose body opens at ``brace``; ``None`` for another block."""
    if brace == 0 or tokens[brace - 1][1] not in (")", "=>"):
        return None
    place = brace - 1
    if tokens[place][1] == "=>":
        place -= 1
        arrow = True
    else:
        arrow = False
    head = _opening(tokens, place) - 1 if tokens[place][1] == ")" else place - 1
    if not arrow and head >= 0 and tokens[head][1] in JS_BLOCKS:
        return None
    before = [text for kind, text in tokens[max(head - 3, 0) : head + 1] if kind == "name"]
    return before[-1] if before else "(unnamed)"


def javascript_units(source: str, file: str) -> Iterator[Unit]:
    """The functions of a JavaScript file, nested ones twice, and what stands outside them."""
    tokens = _js_tokens(source)
    opened: list[tuple[int, str | None]] = []
    outside: list[Token] = []
    for place, token in enumerate(tokens):
        if token[1] == "{":
            opened.append((place, _js_name(tokens, place)))
        elif token[1] == "}" and opened:
            start, name = opened.pop()
            if name is not None:
                yield Unit(f"{file}:{name}", tuple(tokens[start + 1 : place]))
        elif all(name is None for _, name in opened):
            outside.append(token)
    yield Unit(f"{file}:{OUTSIDE}", tuple(outside))


# ---------------------------------------------------------------- comparing

READERS = {".py": python_units, ".js": javascript_units, ".cjs": javascript_units}
SKIPPED = ("node_modules", "venv", ".venv", "build", "out", "repositories", "extensions")
"""Installed code, and what a WebUI keeps of others."""


def units(paths: Iterable[Path], skip: Iterable[str] = SKIPPED) -> list[Unit]:
    """Of files, and of all Python and JavaScript files in folders.

    Args:
        skip: Names of folders that are left out. Files that cannot be parsed are, too.
    """
    found: list[Unit] = []
    unwanted = set(skip)
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            label = file.relative_to(path.parent)
            reader = READERS.get(file.suffix)
            if reader is None or not file.is_file() or unwanted & set(label.parts):
                continue
            with suppress(SyntaxError, UnicodeDecodeError):
                found.extend(reader(file.read_text(encoding="utf-8"), str(label)))
    return [unit for unit in found if len(unit.tokens) >= SHORTEST]


def nearest(ours: list[Unit], theirs: list[Unit]) -> list[Likeness]:
    """For each of our functions and each measure the nearest of theirs, the most alike first.

    Functions that share no run with any of theirs are left out.
    """
    result: list[Likeness] = []
    for measure in ("named", "shape"):
        named = measure == "named"
        where: dict[int, list[int]] = defaultdict(list)
        for number, unit in enumerate(theirs):
            if not named and unit.outside:
                continue  # tables and constants all have the same shape
            for run in unit.runs(named):
                where[run].append(number)
        for unit in ours:
            if not named and unit.outside:
                continue
            runs = unit.runs(named)
            counts = Counter(number for run in runs for number in where.get(run, ()))
            if not counts:
                continue
            best, shared = counts.most_common(1)[0]
            share = shared / max(len(runs), FEWEST_RUNS)
            result.append(Likeness(unit.name, theirs[best].name, measure, share, len(unit.tokens)))
    return sorted(result, key=lambda row: -row.share)


def stands_out(row: Likeness) -> bool:
    """Whether it is above its measure's limit."""
    return row.share > (NAMED_LIMIT if row.measure == "named" else SHAPE_LIMIT)


def main() -> None:
    """Print the functions that are most alike."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("ours", nargs="+", type=Path)
    parser.add_argument("--against", nargs="+", type=Path, required=True)
    parser.add_argument("--all", action="store_true", help="also those under the limits")
    arguments = parser.parse_args()
    rows = nearest(units(arguments.ours), units(arguments.against))
    for row in rows:
        if arguments.all or stands_out(row):
            print(f"{row.measure} {row.share:.2f} {row.tokens:5d}  {row.ours}  ~  {row.theirs}")


if __name__ == "__main__":
    main()
