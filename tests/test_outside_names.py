"""Names of classes, songs and files come from outside: none becomes HTML or mathematics, and none vanishes."""

import html
import json
import shutil
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from IPython.display import Image, Markdown
from matplotlib.text import Text
from support import ROOT, aesens, write_clips

from aesens import plots
from aesens.app.report import build_report
from aesens.app.run import copies
from aesens.plots import outputs
from aesens.plots.frames import in_markdown, shown
from aesens.plots.player import player

NAMES = [
    "<img src=x onerror=alert(1)>",
    "5$ and 6$",
    "\\$x\\$",
    "a|b",
    "_first",
    "__",
    "`tick`",
    "**bold** &amp;",
    "$$",
    "nan",
]


@pytest.fixture(autouse=True)
def style():
    options = pd.options.styler.format.escape, pd.options.display.html.use_mathjax
    with plt.rc_context():
        plots.use_style()
        yield
    pd.set_option("styler.format.escape", options[0], "display.html.use_mathjax", options[1])
    plt.close("all")


class Page(HTMLParser):
    """Text of a page, its tags, and what would be executed."""

    def __init__(self, text):
        super().__init__()
        self.parts, self.tags, self.handlers = [], set(), []
        self.feed(text)
        self.text = "".join(self.parts)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.handlers += [(tag, name) for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.parts.append(data)


def texts(figure):
    """What stands in a figure, as it is read; fails on mathematics."""
    figure.canvas.draw()
    found = [text for text in figure.findobj(Text) if text.get_text()]
    assert [text.get_text() for text in found if text._preprocess_math(text.get_text())[1]] == []
    return {text.get_text().replace("\u200b", "") for text in found}


def spread(**columns):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(columns)
    return table.assign(x=rng.normal(size=len(table)), y=rng.normal(size=len(table)))


def test_legends_and_axes_show_every_name():
    about = {"model": "musicnn", "pretrained": True}
    one = spread(instrument=NAMES, explained=0.5, **about)
    figure = plots.clean_map(one)
    assert set(NAMES) <= texts(figure)
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    assert len(legends[0].get_texts()) == len(NAMES)
    sides = pd.DataFrame({"instrument": NAMES, "split": "train", "clips": 2, "songs": 1})
    assert set(NAMES) <= texts(plots.clips_per_instrument(sides))
    heat = pd.DataFrame({"row": NAMES, "column": NAMES, "value": 1.0})
    grid = plots.heatmap(heat, "value", rows=["row"], column="column", label=NAMES[1])
    assert set(NAMES) <= texts(grid)


def test_models_and_projections_called_oddly_have_their_curves_named():
    models = [f"hear-{name}" for name in NAMES]
    rows = [
        {"model": name, "pretrained": True, "effect": "gain", "parameter": p, "measure": "l2", "value": 1.0}
        for name in models
        for p in (-40.0, 5.0)
    ]
    table = pd.DataFrame(rows).assign(low=0.9, high=1.1)
    assert set(NAMES) <= texts(plots.sensitivity_curves(table))
    rows = [
        {"model": "musicnn", "pretrained": True, "effect": "gain", "parameter": p, "projection": name}
        for name in NAMES
        for p in (-40.0, 5.0)
    ]
    table = pd.DataFrame(rows).assign(roc_auc=0.8, clean_auc=0.9)
    assert set(NAMES) <= texts(plots.auc_curves(table))


def test_no_figure_of_the_package_has_mathematics_of_its_own():
    """It would be shown as it is typed."""
    for path in {*(ROOT / "aesens" / "plots").glob("*.py")} - {ROOT / "aesens" / "plots" / "frames.py"}:
        typed = path.read_text().replace('"$†$"', "").replace("``$``", "")
        assert "$" not in typed, path.name


def displayed(*things):
    """A code cell that displayed things."""
    outputs = []
    for thing in things:
        if isinstance(thing, str):
            outputs.append(nbformat.v4.new_output("stream", name="stdout", text=thing))
            continue
        data = {"text/plain": repr(thing)}
        data |= {"text/markdown": thing.data} if isinstance(thing, Markdown) else {}
        data |= {"image/png": "iVBORw0KGgo="} if isinstance(thing, Image) else {}
        if hasattr(thing, "_repr_html_") and (text := thing._repr_html_()):
            data["text/html"] = text
        about = {"image/png": {"alt": thing.alt}} if isinstance(thing, Image) else {}
        outputs.append(nbformat.v4.new_output("display_data", data, metadata=about))
    return nbformat.v4.new_code_cell("show()", outputs=outputs)


@pytest.mark.parametrize("name", NAMES)
def test_the_report_shows_it_as_it_is(tmp_path, name):
    table = pd.DataFrame({"instrument": [name], "clip": [f"{name} 1"], "p": [0.2], "value": [1.0]})
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 2000)).astype(np.float32)
    picture = Image(data=b"\x89PNG\r\n\x1a\n", format="png", alt=name)
    things = [
        name,
        table,
        shown(table),
        Markdown(f"- {in_markdown(name)}"),
        player(noise, 8000, name),
        picture,
    ]
    cells = [nbformat.v4.new_markdown_cell("# A page"), displayed(*things)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "01_page.ipynb")
    # A cell that takes no care: it may be dressed, but not executed.
    careless = nbformat.v4.new_notebook(cells=[displayed(Markdown(name))])
    nbformat.write(careless, tmp_path / "02_page.ipynb")
    out = tmp_path / "out"
    outputs.save_table(table, out, "t", {"caption": f"Of {name}.", "data": {"title": name, "citation": name}})
    (out / "f.png").write_bytes(b"\x89PNG")
    (out / "provenance" / "f.json").write_text(json.dumps({"caption": name, "profile": name}))
    build_report(out, [tmp_path / "01_page.ipynb", tmp_path / "02_page.ipynb"])
    assert Page((out / "report" / "02_page.html").read_text()).handlers == []
    for place, count in (("01_page", 8), ("gallery", 3), ("provenance", 1)):
        page = Page((out / "report" / f"{place}.html").read_text())
        assert page.handlers == [] and not page.tags & {"script", "math"}, place
        assert page.text.count(name) >= count, place
    assert html.escape(name) in shown(table).to_html() or name == html.escape(name)


@pytest.mark.notebooks
def test_a_run_on_such_classes(tmp_path):
    clips = write_clips(tmp_path / "5$ of <b>6$", classes=NAMES[:9], songs=4, seconds=1.0)
    few = ["tiny", "--data", clips, "--models", "musicnn", "--weights", "untrained", "--effects", "gain"]
    out = tmp_path / f"names-{tmp_path.name}"
    aesens(*few, "--only", "01", "--out", out, cache=tmp_path / "cache")
    shutil.rmtree(copies(ROOT, out))
    page = Page((out / "report" / "01_data.html").read_text())
    assert page.handlers == [] and not page.tags & {"script", "math"}
    for name in (*NAMES[:9], "Folder 5$ of <b>6$"):
        assert name in page.text, name
