"""Putting the pages together."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import nbformat
import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from pygments.formatters import HtmlFormatter

import aesens
from aesens.app.report.api import api_pages, modules
from aesens.app.report.cells import markdown_html, notebook_html, opening
from aesens.effects import EFFECTS
from aesens.models import MODELS
from aesens.plots import titles as names
from aesens.plots.outputs import of_run, provenance_path, read_table
from aesens.tables.answers import answers

__all__ = ["ReportError", "build_report"]

_HERE = Path(__file__).parent
# Rows of a table shown in the gallery.
_ROWS = 20
# Pages beside the chapters, which stand between the first and the others.
_FIXED = {
    "index.html": "Contents",
    "gallery.html": "Gallery",
    "provenance.html": "Provenance",
    "api.html": "API reference",
}
# The table that the answers are made from.
_VERDICTS = "09_claims"
# The figure that opens the report: the first of these that the run has made.
_COVER = (_VERDICTS, "05_umap", "04_distances")


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

    @property
    def title(self) -> str:
        """The first line of the caption; what follows only speaks for a picture that is not seen."""
        return self.caption.split("\n")[0]


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
    """
    pages = [_page(Path(path)) for path in notebooks]
    if not pages:
        raise ReportError(f"no executed notebook for {out}; run the profile first")
    figures, tables = _items(out)
    groups = _groups([*figures, *tables])
    facts = groups[0]["facts"] if groups else {}
    cover = next((item for name in _COVER for item in figures if item.name == name), None)
    parts = {
        "index.html": _render(
            "contents",
            cover=cover,
            answers=_answers(out, tables),
            facts=facts,
            pages=pages,
            figures=len(figures),
            tables=len(tables),
        ),
        **{page.target: notebook_html(page.notebook, {p.name for p in pages}) for page in pages},
        "gallery.html": _render("gallery", figures=figures, tables=tables),
        "provenance.html": _render("provenance", groups=groups, total=len(figures) + len(tables)),
        "api.html": _render("api", modules=_rooms()),
    }
    titles = {target: _FIXED.get(target, "") for target in parts} | {p.target: p.title for p in pages}
    with _replaced(out / "report") as folder:
        sheets = [_HERE / "static" / "report.css", _HERE / "templates" / "pdoc" / "scroll.css"]
        styles = [sheet.read_text(encoding="utf-8") for sheet in sheets]
        styles.append(HtmlFormatter(style="default").get_style_defs(".highlight"))
        (folder / "report.css").write_text("\n".join(styles) + "\n", encoding="utf-8")
        _reference(out / "report" / "api", folder / "api")
        for target, content in parts.items():
            html = _in_frame(target, content, titles, facts)
            (folder / target).write_text(html, encoding="utf-8")
    return out / "report" / "index.html"


def _reference(before: Path, folder: Path) -> None:
    """The pages of the API: those made before, if of the same source, since they take longest of all."""
    package = Path(aesens.__file__).parent
    source = hashlib.sha256(version("pdoc").encode())
    for path in sorted(path for path in package.rglob("*") if path.suffix in {".py", ".jinja2", ".css"}):
        source.update(f"\n{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    made_of = "source.sha256"
    with suppress(OSError):
        if (before / made_of).read_text() == source.hexdigest():
            shutil.copytree(before, folder)
            return
    for place, html in api_pages().items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(html, encoding="utf-8")
    (folder / made_of).write_text(source.hexdigest())


def _in_frame(target: str, content: str, titles: dict[str, str], facts: dict) -> str:
    """A page with its head, navigation and foot."""
    order = list(titles.items())
    place = list(titles).index(target)
    return _render(
        "page",
        title=titles[target],
        content=Markup(content),
        here=target,
        navigation=_FIXED.items(),
        before=order[place - 1] if place else None,
        after=order[place + 1] if place + 1 < len(order) else None,
        version=aesens.__version__,
        run=", ".join(f"{key.lower()} {facts[key]}" for key in ("Profile", "Seed") if key in facts),
    )


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `path` when the block ends; an error leaves the old one."""
    with tempfile.TemporaryDirectory(
        prefix=".report-", dir=path.parent, ignore_cleanup_errors=True
    ) as holder:
        folder = Path(holder, "new")
        folder.mkdir()
        yield folder
        if path.exists():
            path.rename(Path(holder, "old"))
        folder.rename(path)


def _render(template: str, **values) -> str:
    return _templates().get_template(f"{template}.html.j2").render(**values)


@cache
def _templates() -> Environment:
    return Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True)


def _page(path: Path) -> _Page:
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
        if not place.exists() or not of_run(out, path):
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
            table = read_table(path)
            first = table.head(_ROWS)
            tables.append(_Item(**found, rows=len(table), shown=len(first), html=_table_html(first)))
    return figures, tables


def _answers(out: Path, tables: list[_Item]) -> list[Markup]:
    """What the run found, a line a claim; none if it judged none."""
    if not any(table.name == _VERDICTS for table in tables):
        return []
    return [Markup(markdown_html(line)) for line in answers(read_table(out / f"{_VERDICTS}.csv"))]


def _table_html(table: pd.DataFrame) -> Markup:
    html = table.to_html(index=False, border=0, na_rep="", float_format=lambda number: f"{number:.4g}")
    return Markup(html)


def _groups(items: list[_Item]) -> list[dict]:
    """Figures and tables with the same provenance, the largest group first."""
    by_content: dict[str, dict] = {}
    for item in items:
        shared = {
            key: value
            for key, value in item.provenance.items()
            if key not in ("notebook", "other_sources", "pdf")
        }
        key = json.dumps(shared, sort_keys=True)
        by_content.setdefault(key, {"about": item.provenance, "sources": []})["sources"].append(item.source)
    groups = []
    for group in sorted(by_content.values(), key=lambda group: -len(group["sources"])):
        about = group["about"]
        data, models = about.get("data", {}), _ordered(about.get("models", {}), MODELS)
        state = {True: [], False: []}
        for name, model in models.items():
            state[bool(model.get("pretrained"))].append(names.model_title(name))
        facts = {
            "Profile": about.get("profile", ""),
            "Data": f"{data.get('title', '')}, {data.get('clips', '')} clips",
            "Pretrained models": ", ".join(state[True]) or "none",
            "Untrained controls": ", ".join(state[False]) or "none",
            "Seed": about.get("seed", ""),
            "Commit": _commit(about.get("commit") or {}),
            "Embedded at": ", ".join(
                dict.fromkeys(_commit(made.get("commit") or {}) for made in about.get("embedded_with", []))
            ),
            "Data licence": data.get("licence", ""),
            "Data citation": data.get("citation", ""),
        }
        rows = [
            {"model": names.model_title(name)}
            | {key: _text(value) if isinstance(value, dict) else value for key, value in model.items()}
            for name, model in models.items()
        ]
        effects = [
            {"effect": name, "settings": _text(kind)}
            for name, kind in _ordered(about.get("effects", {}), EFFECTS).items()
        ]
        packages = [{"package": name, "version": text} for name, text in about.get("packages", {}).items()]
        groups.append(
            {
                "sources": sorted(group["sources"]),
                "facts": {key: value for key, value in facts.items() if value not in ("", None)},
                "models": _table_html(pd.DataFrame(rows)),
                "effects": _table_html(pd.DataFrame(effects)),
                "packages": _table_html(pd.DataFrame(packages)),
            }
        )
    return groups


def _commit(commit: dict) -> str:
    """A commit in words."""
    return commit["hash"] + ("" if commit["clean"] else ", with changes since") if commit else ""


def _ordered(values: dict, order: Iterable[str]) -> dict:
    """Entries in the order of the study, added ones last; files keep them by the alphabet."""
    first = [name for name in order if name in values]
    return {name: values[name] for name in dict.fromkeys([*first, *values])}


def _text(values: dict) -> str:
    return ", ".join(f"{key} {' '.join(str(value).split())}" for key, value in values.items())


def _rooms() -> list[tuple[str, str, str]]:
    """Page, name and purpose of each module."""
    rooms = []
    for module in modules():
        name = module.__name__
        purpose = markdown_html((module.__doc__ or "").strip().split("\n\n")[0])
        rooms.append((f"{name.replace('.', '/')}.html", name.removeprefix("aesens."), Markup(purpose)))
    return rooms
