"""Putting the pages together."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nbformat
import pandas as pd

import aesens
from aesens.app.report import reference
from aesens.app.report.cells import markdown_html, notebook_html, opening
from aesens.effects import EFFECTS
from aesens.plots import titles as names
from aesens.plots.outputs import provenance_path

__all__ = ["ReportError", "build_report"]

_HERE = Path(__file__).parent
#: Rows of a table shown in the gallery.
_ROWS = 20
_FIXED = (
    ("index.html", "Contents"),
    ("gallery.html", "Gallery"),
    ("provenance.html", "Provenance"),
    ("architecture.html", "Architecture"),
    ("api.html", "API"),
)
# The figure that opens the report: the first of these that the run has made.
_COVER = ("09_claims", "05_umap", "04_distances")


class ReportError(RuntimeError):
    """There is nothing to report on, or a part of it cannot be read."""


@dataclass(frozen=True)
class _Page:
    """An executed notebook as a page."""

    name: str
    title: str
    story: str
    notebook: nbformat.NotebookNode

    @property
    def target(self) -> str:
        return f"{self.name}.html"


@dataclass(frozen=True)
class _Item:
    """A figure or table with what its provenance says."""

    name: str
    caption: str
    provenance: dict
    source: str
    pdf: bool = False
    rows: int = 0
    shown: int = 0
    html: str = ""


def build_report(out: Path, notebooks: Iterable[Path]) -> Path:
    """Write the report of a run.

    Parameters
    ----------
    out : pathlib.Path
        The run's folder of figures and tables; the report goes to ``out/report``, which is made anew.
    notebooks : iterable of pathlib.Path
        Executed notebooks, in order.

    Returns
    -------
    pathlib.Path
        The contents page.

    Raises
    ------
    ReportError
        If no notebook was executed, or a file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A page")])
    >>> with tempfile.TemporaryDirectory() as place:
    ...     nbformat.write(book, Path(place) / "01_page.ipynb")
    ...     page = build_report(Path(place), [Path(place) / "01_page.ipynb"])
    ...     "A page" in page.read_text(encoding="utf-8")
    True
    """
    pages = [_page(Path(path)) for path in notebooks]
    if not pages:
        raise ReportError(f"no executed notebook for {out}; run the profile first")
    figures, tables = _items(out)
    groups = _groups([*figures, *tables])
    with _replaced(out / "report") as folder:
        shutil.copyfile(_HERE / "static" / "report.css", folder / "report.css")
        with (folder / "report.css").open("a", encoding="utf-8") as style:
            style.write(_code_style())
        shell = _Shell(folder, pages, groups)
        cover = next((item for name in _COVER for item in figures if item.name == name), None)
        shell.write(
            "index.html",
            "Contents",
            _render(
                "contents",
                cover=cover,
                facts=groups[0]["facts"] if groups else {},
                pages=pages,
                figures=len(figures),
                tables=len(tables),
            ),
        )
        known = {page.name for page in pages}
        for page in pages:
            shell.write(page.target, page.title, notebook_html(page.notebook, known))
        shell.write("gallery.html", "Gallery", _render("gallery", figures=figures, tables=tables))
        shell.write(
            "provenance.html",
            "Provenance",
            _render("provenance", groups=groups, total=len(figures) + len(tables)),
        )
        shell.write("architecture.html", "Architecture", _architecture())
        shell.write("api.html", "API reference", _api())
    return out / "report" / "index.html"


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `path` when the block ends; an error leaves the old one."""
    holder = Path(tempfile.mkdtemp(prefix=".report-", dir=path.parent))
    try:
        folder = holder / "new"
        folder.mkdir()
        yield folder
        if path.exists():
            path.rename(holder / "old")
        folder.rename(path)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


class _Shell:
    """Head, navigation and foot around each page."""

    def __init__(self, folder: Path, pages: list[_Page], groups: list[dict]):
        self._folder = folder
        self._order = [
            _FIXED[0],
            *((page.target, page.title) for page in pages),
            *_FIXED[1:],
        ]
        facts = groups[0]["facts"] if groups else {}
        self._run = ", ".join(f"{key.lower()} {facts[key]}" for key in ("Profile", "Seed") if key in facts)

    def write(self, target: str, title: str, content: str) -> None:
        place = [name for name, _ in self._order].index(target)
        html = _render(
            "page",
            title=title,
            content=content,
            here=target,
            navigation=_FIXED,
            before=self._order[place - 1] if place else None,
            after=self._order[place + 1] if place + 1 < len(self._order) else None,
            version=aesens.__version__,
            run=self._run,
        )
        (self._folder / target).write_text(html, encoding="utf-8")


@lru_cache(maxsize=1)
def _environment():
    from jinja2 import Environment, FileSystemLoader

    return Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True)


def _render(template: str, **values) -> str:
    from markupsafe import Markup

    # What is HTML already says so by its key; everything else is escaped.
    ready = {key: Markup(value) if key == "content" else value for key, value in values.items()}
    return _environment().get_template(f"{template}.html.j2").render(**ready)


def _code_style() -> str:
    from pygments.formatters import HtmlFormatter

    return "\n" + HtmlFormatter(style="default").get_style_defs(".highlight") + "\n"


def _page(path: Path) -> _Page:
    from markupsafe import Markup

    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:
        raise ReportError(f"{path} cannot be read as a notebook: {error}") from error
    title, story = opening(notebook)
    return _Page(path.stem, title, Markup(story), notebook)


def _items(out: Path) -> tuple[list[_Item], list[_Item]]:
    """Figures and tables that have a provenance; a provenance whose file is gone counts for nothing."""
    figures, tables = [], []
    for path in sorted([*out.glob("*.png"), *out.glob("*.csv")]):
        place = provenance_path(path)
        if not place.exists():
            continue
        try:
            about = json.loads(place.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ReportError(f"{place} cannot be read: {error}") from error
        found = {"name": path.stem, "caption": about.pop("caption", "") or path.stem, "provenance": about}
        found["source"] = place.name
        if path.suffix == ".png":
            figures.append(_Item(**found, pdf=path.with_suffix(".pdf").exists()))
        else:
            tables.append(_Item(**found, **_rows(path)))
    return figures, tables


def _rows(path: Path) -> dict:
    from markupsafe import Markup

    table = pd.read_csv(path)
    html = _table_html(table.head(_ROWS))
    return {"rows": len(table), "shown": min(_ROWS, len(table)), "html": Markup(html)}


def _table_html(table: pd.DataFrame) -> str:
    return table.to_html(index=False, border=0, na_rep="", float_format=lambda number: f"{number:.4g}")


def _groups(items: list[_Item]) -> list[dict]:
    """Figures and tables with the same provenance, the largest group first."""
    from markupsafe import Markup

    by_content: dict[str, dict] = {}
    for item in items:
        key = json.dumps(item.provenance, sort_keys=True)
        by_content.setdefault(key, {"about": item.provenance, "sources": []})["sources"].append(item.source)
    groups = []
    for group in sorted(by_content.values(), key=lambda group: -len(group["sources"])):
        about = group["about"]
        data, models = about.get("data", {}), _ordered(about.get("models", {}), names.MODELS)
        state = {True: [], False: []}
        for name, model in models.items():
            state[bool(model.get("pretrained"))].append(names.model_title(name))
        facts = {
            "Profile": about.get("profile", ""),
            "Data": f"{data.get('title', '')}, {data.get('clips', '')} clips",
            "Pretrained models": ", ".join(state[True]) or "none",
            "Untrained controls": ", ".join(state[False]) or "none",
            "Seed": about.get("seed", ""),
            "Data licence": data.get("licence", ""),
            "Data citation": data.get("citation", ""),
        }
        rows = [{"model": names.model_title(name), **_flat(model)} for name, model in models.items()]
        effects = [
            {"effect": name, "settings": _text(kind)}
            for name, kind in _ordered(about.get("effects", {}), EFFECTS).items()
        ]
        packages = [{"package": name, "version": text} for name, text in about.get("packages", {}).items()]
        groups.append(
            {
                "sources": sorted(group["sources"]),
                "facts": {key: value for key, value in facts.items() if value not in ("", None)},
                **{
                    key: Markup(_table_html(pd.DataFrame(value)))
                    for key, value in (("models", rows), ("effects", effects), ("packages", packages))
                },
            }
        )
    return groups


def _ordered(values: dict, order: Iterable[str]) -> dict:
    """Entries in the order of the study, added ones last; files keep them by the alphabet."""
    first = [name for name in order if name in values]
    return {name: values[name] for name in dict.fromkeys([*first, *values])}


def _flat(values: dict) -> dict:
    return {key: _text(value) if isinstance(value, dict) else value for key, value in values.items()}


def _text(values: dict) -> str:
    return ", ".join(f"{key} {' '.join(str(value).split())}" for key, value in values.items())


def _architecture() -> str:
    text = (_HERE / "architecture.md").read_text(encoding="utf-8")
    rooms = []
    for module in reference.modules():
        first = (module.__doc__ or "").strip().split("\n\n")[0]
        rooms.append(
            f'<tr><td><a href="api.html#{module.__name__}">{module.__name__.removeprefix("aesens.")}</a></td>'
            f"<td>{reference.docstring_html(first)}</td></tr>"
        )
    return f'{markdown_html(text)}<div class="scroll"><table class="rooms">{"".join(rooms)}</table></div>'


def _api() -> str:
    from markupsafe import Markup

    shown = []
    for module in reference.modules():
        entries = reference.public_entries(module)
        documented = [
            {
                "name": entry.name,
                "signature": entry.signature,
                "doc": Markup(entry.doc),
                "parts": [
                    {"name": part.name, "signature": part.signature, "doc": Markup(part.doc)}
                    for part in entry.parts
                ],
            }
            for entry in entries
        ]
        doc = Markup(reference.docstring_html((module.__doc__ or "").strip()))
        shown.append({"name": module.__name__, "doc": doc, "entries": documented})
    return _render("api", modules=shown)
