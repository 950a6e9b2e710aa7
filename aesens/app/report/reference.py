"""The API reference: every public name of every module, from its signature and numpydoc docstring."""

from __future__ import annotations

import importlib
import inspect
import io
import pkgutil
import re
import tokenize
from dataclasses import dataclass, field
from html import escape
from types import ModuleType

import aesens

__all__ = ["Entry", "constant_comments", "docstring_html", "modules", "public_entries"]

# Sections whose lines are "name : type" with an indented description.
_FIELDS = {"Parameters", "Returns", "Raises", "Attributes", "Yields", "Other Parameters"}


@dataclass
class Entry:
    """One public thing.

    Attributes
    ----------
    name : str
    signature : str
        As it is called.
    text : str
        Its docstring, or the ``#:`` comment of a constant; empty if it has none.
    parts : list of Entry
        Public methods and properties of a class.

    Examples
    --------
    >>> Entry("add", "add(a, b)", "Add `b`.").doc
    '<p>Add <code>b</code>.</p>'
    """

    name: str
    signature: str
    text: str
    parts: list[Entry] = field(default_factory=list)

    @property
    def doc(self) -> str:
        """The docstring as HTML."""
        return docstring_html(self.text)


def modules() -> list[ModuleType]:
    """All modules of the package that declare public names or are packages with a docstring, by name.

    Examples
    --------
    >>> [module.__name__ for module in modules()][:2]
    ['aesens', 'aesens.cache']
    """
    names = [info.name for info in pkgutil.walk_packages(aesens.__path__, "aesens.")]
    found = [importlib.import_module(name) for name in ["aesens", *names] if not name.endswith("__main__")]
    return [module for module in found if not module.__name__.rpartition(".")[2].startswith("_")]


def constant_comments(module: ModuleType) -> dict[str, str]:
    """Comments that start with ``#:`` above a module's assignments.

    Parameters
    ----------
    module : module

    Returns
    -------
    dict of str to str
        By the name assigned to.

    Examples
    --------
    >>> from aesens.embeddings import store
    >>> constant_comments(store)["BLOCK"]
    'Clips a chunk.'
    """
    found, pending = {}, []
    lines = io.StringIO(inspect.getsource(module))
    for token in tokenize.generate_tokens(lines.readline):
        if token.type == tokenize.COMMENT and token.string.startswith("#:") and token.start[1] == 0:
            pending.append(token.string[2:].strip())
        elif token.type == tokenize.NAME and token.start[1] == 0:
            if pending:
                found[token.string] = " ".join(pending)
            pending = []
    return found


def public_entries(module: ModuleType) -> list[Entry]:
    """Public things that a module defines; what it passes on from another is listed there.

    Parameters
    ----------
    module : module

    Returns
    -------
    list of Entry
    """
    comments = constant_comments(module)
    entries = []
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        home = getattr(thing, "__module__", None) or module.__name__
        if inspect.ismodule(thing) or (home.startswith("aesens") and home != module.__name__):
            continue
        if name not in comments and not home.startswith("aesens") and callable(thing):
            # Which of its variants is passed on may depend on the process, so its text is left to its own package.
            entries.append(Entry(name, f"{name} (of {home.split('.')[0]})", "Documented by its own package."))
            continue
        if inspect.isclass(thing):
            entries.append(Entry(name, f"class {name}{_signature(thing)}", _doc(thing), _members(thing)))
        elif callable(thing):
            entries.append(Entry(name, f"{name}{_signature(thing)}", _doc(thing)))
        elif re.search(rf"^{name}\b.*=", inspect.getsource(module), flags=re.M):
            entries.append(Entry(name, name, comments.get(name, "")))
    return entries


def _members(cls: type) -> list[Entry]:
    parts = []
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(member, (classmethod, staticmethod)):
            member = member.__func__
        if isinstance(member, property) or type(member).__name__ == "cached_property":
            parts.append(Entry(name, name, _doc(member)))
        elif inspect.isfunction(member):
            parts.append(Entry(name, f"{name}{_signature(member)}", _doc(member)))
    return [part for part in parts if part.text]


def _doc(thing) -> str:
    return inspect.cleandoc(thing.__doc__ or "")


def _signature(thing) -> str:
    try:
        text = str(inspect.signature(thing))
    except (TypeError, ValueError):
        return ""
    # Addresses and module paths of default values tell a reader nothing.
    return re.sub(r"<(?:function|object) ([\w.]+)[^>]*>", r"\1", text).replace("'", "")


def docstring_html(text: str) -> str:
    """Render a numpydoc docstring.

    Parameters
    ----------
    text : str
        Without common indentation.

    Returns
    -------
    str

    Examples
    --------
    >>> docstring_html("Add `a`.\\n\\nParameters\\n----------\\na : int\\n    A number.")
    '<p>Add <code>a</code>.</p><h5>Parameters</h5><dl><dt><code>a</code> : int</dt><dd><p>A number.</p></dd></dl>'
    """
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.M)
    pieces = [_paragraphs(parts[0])]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        pieces.append(f"<h5>{escape(title)}</h5>")
        pieces.append(_fields(body) if title in _FIELDS else _paragraphs(body))
    return "".join(pieces)


def _fields(body: str) -> str:
    items = re.split(r"\n(?=\S)", body.strip("\n"))
    rows = []
    for item in items:
        head, _, rest = item.partition("\n")
        name, colon, kind = head.partition(" : ")
        shown = f"<code>{escape(name)}</code> : {_inline(kind)}" if colon else _inline(head)
        rows.append(f"<dt>{shown}</dt>" + (f"<dd>{_paragraphs(inspect.cleandoc(rest))}</dd>" if rest else ""))
    return f"<dl>{''.join(rows)}</dl>"


def _paragraphs(text: str) -> str:
    pieces = []
    literal = False
    for block in re.split(r"\n[ ]*\n", text.strip("\n")):
        if not block.strip():
            continue
        if block.lstrip().startswith(">>>") or literal and block.startswith(" "):
            pieces.append(f"<pre>{escape(inspect.cleandoc(block))}</pre>")
            continue
        literal = block.rstrip().endswith("::")
        block = re.sub(r"::$", ":", block.rstrip())
        if re.match(r"[-*] ", block):
            items = re.split(r"\n(?=[-*] )", block)
            pieces.append("<ul>" + "".join(f"<li>{_inline(item[2:])}</li>" for item in items) + "</ul>")
        else:
            pieces.append(f"<p>{_inline(block)}</p>")
    return "".join(pieces)


def _inline(text: str) -> str:
    text = re.sub(r":\w+:`", "`", " ".join(text.split()))
    return re.sub(r"``?([^`]+?)``?", lambda m: f"<code>{m[1]}</code>", escape(text, quote=False))
