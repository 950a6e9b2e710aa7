"""The report: complete, linked, readable without a network, and never in the way of results."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import matplotlib.pyplot as plt
import nbformat
import pytest
from browser import Browser, chromium
from support import ROOT, aesens

from aesens.app.cli import main
from aesens.app.report import ReportError, build_report
from aesens.app.report.api import modules
from aesens.app.report.cells import markdown_html, notebook_html, opening
from aesens.app.run import copies
from aesens.plots.outputs import provenance_path, read_table
from aesens.settings import PROFILES
from aesens.tables.answers import answers

FIXED = {"index", "gallery", "provenance", "api"}
WIDTHS = (1280, 390)
# Boxes whose content is wider than they are, each with what tells a reader so.
SCROLLING = """[...document.querySelectorAll('main *')].filter(box =>
    box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX === 'auto').map(box => ({
  what: box.className || box.tagName,
  table: box.tagName === 'TABLE' || !!box.querySelector('table'),
  shadows: getComputedStyle(box).backgroundImage.split('linear-gradient').length - 1,
  picture: !!box.querySelector('img'),
  words: getComputedStyle(box, '::before').content,
}))"""


class Page(HTMLParser):
    """Links, pictures, anchors and scripts of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.images, self.sources, self.anchors, self.scripts = [], [], [], set(), 0
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        self.scripts += tag == "script"
        if tag in ("a", "link") and values.get("href"):
            (self.links if tag == "a" else self.sources).append(values["href"])
        if tag == "img":
            self.images.append(values)
        if values.get("src"):
            self.sources.append(values["src"])


def check_pages(folder: Path) -> None:
    """Every link and picture of a report leads somewhere, and nothing is fetched."""
    pages = {path.resolve(): Page(path) for path in folder.rglob("*.html")}
    for path, page in pages.items():
        assert page.scripts == 0, path
        for source in page.sources:
            assert source.startswith("data:") or (path.parent / unquote(source)).is_file(), (
                path,
                source[:80],
            )
        for image in page.images:
            assert (image.get("alt") or "").strip(), (path, image.get("src", "")[:80])
        for link in page.links:
            if re.match(r"https?://", link):
                continue
            target, _, anchor = link.partition("#")
            place = (path.parent / unquote(target)).resolve() if target else path
            assert place.exists(), (path, link)
            # pdoc links private base classes and constructors that it does not show, if on the right page.
            private = "api" in path.parts and re.search(r"(^|\.)_", anchor)
            if anchor and place.suffix == ".html" and not private:
                # A browser looks for the fragment as it is written, then for what it decodes to.
                assert {anchor, unquote(anchor)} & pages[place].anchors, (path, link)


@pytest.fixture
def small(tmp_path):
    """A folder of figures without any, and one executed notebook."""
    book = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell(
                "# A page\n\nThe direction $u \\propto X^+ y$, and\n\n$$\\sum_i \\lambda_i^2$$\n\n"
                "[here](01_page.ipynb#A-page), [not there](77_gone.ipynb)"
            ),
            nbformat.v4.new_code_cell("1 < 2", metadata={"tags": ["parameters"]}),
        ]
    )
    path = tmp_path / "01_page.ipynb"
    nbformat.write(book, path)
    (tmp_path / "out").mkdir()
    return tmp_path / "out", path


def test_formulas_are_rendered_when_the_report_is_built(small):
    out, path = small
    build_report(out, [path])
    check_pages(out / "report")
    page = (out / "report" / "01_page.html").read_text()
    assert page.count("<math") == 2 and 'display="block"' in page and "$" not in page
    assert 'href="01_page.html#A-page"' in page and "77_gone.html" not in page
    assert "<details" in page and "1 </span><span" not in page.split("<details")[0]


def test_the_contents_tell_each_story_and_not_its_links(small):
    links = "*Before: [one](01_page.ipynb). Next: [two](02.ipynb)*\n\n*The study: [one](01_page.ipynb)*"
    cells = [nbformat.v4.new_markdown_cell(f"# A page\n\n{links}\n\n*Does* it **move**?\n\nMore.")]
    assert opening(nbformat.v4.new_notebook(cells=cells)) == (
        "A page",
        "<p><em>Does</em> it <strong>move</strong>?</p>",
    )


def test_a_story_ends_before_what_it_leads_to(small):
    cells = [
        nbformat.v4.new_markdown_cell("# A page\n\nIt moves. What is measured:\n\n| a | b |\n|---|---|\n")
    ]
    assert opening(nbformat.v4.new_notebook(cells=cells))[1] == "<p>It moves.</p>"
    cells[0].source = "# A page\n\nWhat is measured:"
    assert opening(nbformat.v4.new_notebook(cells=cells))[1] == "<p>What is measured:</p>"


def test_the_contents_say_what_was_found_and_captions_end_with_their_first_line(small):
    out, path = small
    build_report(out, [path])
    assert "What it found" not in (out / "report" / "index.html").read_text()
    (out / "provenance").mkdir()
    for name in ("09_claims.csv", "09_claims.png"):
        shutil.copy(ROOT / "figures" / "demo" / name, out)
        about = {"caption": "Every verdict.\nC1 holds."}
        provenance_path(out / name).write_text(json.dumps(about))
    build_report(out, [path])
    index = (out / "report" / "index.html").read_text()
    lines = answers(read_table(out / "09_claims.csv"))
    assert lines and all(markdown_html(line).strip() in index for line in lines)
    # There the picture stands above what it says.
    assert 'alt="Every verdict."' in index and "<figcaption>Every verdict.<" in index
    gallery = (out / "report" / "gallery.html").read_text()
    assert 'alt="Every verdict.\nC1 holds."' in gallery and gallery.count("C1 holds.") == 1


def test_models_and_effects_keep_the_study_s_order(small):
    out, path = small
    state = {"pretrained": True, "weights": "w"}
    about = {
        "models": {name: state for name in ("mine", "musicnn", "openl3", "yamnet")},
        "effects": {name: {"steps": 3} for name in ("bitcrush", "gain", "own")},
    }
    (out / "provenance").mkdir()
    (out / "provenance" / "a.csv.json").write_text(json.dumps(about, sort_keys=True))
    (out / "a.csv").write_text("x\n1\n")
    # Of a table that is gone, or of a run before figures and tables had one each.
    (out / "provenance" / "a.json").write_text(json.dumps({"caption": "stale"}))
    build_report(out, [path])
    page = (out / "report" / "provenance.html").read_text()
    assert "OpenL3, YAMNet, musicnn, mine" in page
    assert page.index("<td>gain") < page.index("<td>bitcrush") < page.index("<td>own")
    assert "a.csv.json" in page and "a.json" not in page
    assert "stale" not in (out / "report" / "gallery.html").read_text()


def test_alternative_text_and_missing_pages(small):
    image = nbformat.v4.new_output(
        "display_data", {"image/png": "iVBORw0KGgo="}, metadata={"image/png": {"alt": 'Two "curves"'}}
    )
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[image])])
    assert "alt='Two \"curves\"'" in notebook_html(book, set())


def test_what_cannot_be_reported_is_named_and_the_old_report_stays(small):
    out, path = small
    with pytest.raises(ReportError, match="no executed notebook"):
        build_report(out, [])
    build_report(out, [path])
    book = nbformat.read(path, as_version=4)
    book.cells[0].source = "# Another title"
    nbformat.write(book, path)
    build_report(out, [path])
    assert "Another title" in (out / "report" / "index.html").read_text()
    (out / "provenance").mkdir()
    (out / "provenance" / "bad.csv.json").write_text("{")
    (out / "bad.csv").write_text("x\n1\n")
    with pytest.raises(ReportError, match=r"bad\.csv\.json"):
        build_report(out, [path])
    assert (out / "report" / "index.html").exists()
    assert {entry.name for entry in out.iterdir()} == {"report", "provenance", "bad.csv"}


def test_a_failing_report_keeps_the_results_and_is_told(tmp_path):
    folder = tmp_path / "notebooks"
    (folder / "percent").mkdir(parents=True)
    settings = nbformat.v4.new_code_cell("profile = options = None")
    settings.metadata["tags"] = ["parameters"]
    write = nbformat.v4.new_code_cell("open(f\"{options['out']}/table.csv\", 'w').write('a')")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(metadata=kernel, cells=[settings, write]), folder / "01_ok.ipynb")
    (tmp_path / "mine" / "provenance").mkdir(parents=True)
    (tmp_path / "mine" / "provenance" / "bad.csv.json").write_text("{")
    (tmp_path / "mine" / "bad.csv").write_text("x\n1\n")
    arguments = ["tiny", "--out", "mine", "--models", "musicnn", "--weights", "untrained"]
    done = aesens(*arguments, cwd=tmp_path, cache=tmp_path / "cache", check=False)
    assert done.returncode == 1
    assert "are complete, but the report was not built" in done.stderr and "bad.csv.json" in done.stderr
    assert (tmp_path / "mine" / "table.csv").exists()
    assert (copies(tmp_path, tmp_path / "mine") / "01_ok.ipynb").exists()


@pytest.mark.notebooks
def test_a_run_leaves_a_whole_report(tiny):
    folder = tiny["out"] / "report"
    copies = {path.stem for path in tiny["copies"].glob("*.ipynb")}
    assert {path.stem for path in folder.glob("*.html")} == FIXED | copies
    check_pages(folder)
    gallery = Page(folder / "gallery.html").text
    for path in (tiny["out"] / "provenance").glob("*.json"):
        assert f"provenance/{path.name}" in gallery, path.name
    provenance = json.loads((tiny["out"] / "provenance" / "04_distances.csv.json").read_text())
    page = Page(folder / "provenance.html").text
    assert str(provenance["seed"]) in page and provenance["models"]["yamnet"]["digest"] in page
    for path in folder.glob("0*.html"):
        assert not re.search(
            r"(?<![\w\\])\$[^<>$]{1,80}\$", re.sub(r"<pre.*?</pre>", "", path.read_text(), flags=re.S)
        )


@pytest.mark.notebooks
def test_rebuilding_gives_the_same_report(tiny):
    pages = sorted(path for path in (tiny["out"] / "report").rglob("*") if path.is_file())
    before = {path: path.read_bytes() for path in pages}
    # A process of its own: other tests add effects and models to the registries, which the reference shows.
    command = [sys.executable, "-m", "aesens", "report", "--out", str(tiny["out"])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "report/index.html" in done.stdout, done.stderr
    assert sorted(path for path in (tiny["out"] / "report").rglob("*") if path.is_file()) == pages
    assert [path.name for path in pages if path.read_bytes() != before[path]] == []


def test_rebuilding_what_was_never_run_is_explained(tmp_path, capsys):
    assert main(["report", "--out", str(tmp_path / "nowhere")]) == 1
    assert "run a profile first" in capsys.readouterr().err


def test_the_reference_is_made_again_for_another_source_only(small):
    out, path = small
    build_report(out, [path])
    page, source = out / "report/api/aesens.html", out / "report/api/source.sha256"
    made = page.read_text()
    for stamp, expected in ((source.read_text(), "as before"), ("of another source", made)):
        page.write_text("as before")
        source.write_text(stamp)
        build_report(out, [path])
        assert page.read_text() == expected


def test_the_reference_names_every_public_thing(small):
    out, path = small
    build_report(out, [path])
    index = Page(out / "report" / "api.html")
    for module in modules():
        place = f"api/{module.__name__.replace('.', '/')}.html"
        assert place in index.links
        page = Page(out / "report" / place)
        assert set(getattr(module, "__all__", ())) <= page.anchors, module.__name__
        assert not re.search(r"@import|url\((?!.?data:)", page.text)
    # What is said of a constant, and no set whose order changes from run to run.
    assert (
        "Clips a chunk of a new store"
        in Page(out / "report" / "api" / "aesens" / "embeddings" / "store.html").text
    )
    assert "frozenset" not in Page(out / "report" / "api" / "aesens" / "data" / "irmas.html").text


def hinted(browser) -> list[dict]:
    """The boxes of a page that scroll, once it is sure that each says so and the page itself does not."""
    assert (
        browser.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    )
    boxes = browser.evaluate(SCROLLING)
    for box in boxes:
        # A picture covers shadows: words stand above it.
        assert "scroll sideways" in box["words"] if box["picture"] else box["shadows"] == 4, box
    return boxes


@pytest.fixture
def wide(small):
    """A page of what is wider than a telephone, and wider than any screen."""
    out, path = small
    table = f"<table>{'<td>a cell</td>' * 12}</table>"
    figure, _ = plt.subplots(figsize=(7.2, 2))
    picture = io.BytesIO()
    figure.savefig(picture, dpi=130)
    plt.close(figure)
    data = (
        {"text/html": table},
        {"text/html": table.replace("</table>", f"{'<td>a cell</td>' * 30}</table>")},
        {"text/markdown": f"|{' head |' * 12}\n|{'---|' * 12}\n|{' cell |' * 12}"},
        {"image/png": base64.b64encode(picture.getvalue()).decode()},
    )
    outputs = [nbformat.v4.new_output("display_data", each) for each in data]
    book = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Wide\n\n$$" + " + ".join(["\\alpha"] * 40) + "$$"),
            nbformat.v4.new_code_cell("x = " + " + ".join(["1"] * 30), outputs=outputs),
        ]
    )
    nbformat.write(book, path)
    build_report(out, [path])
    return out / "report" / f"{path.stem}.html"


@pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine")
def test_what_is_cut_off_says_so_at_the_side_where_more_is(wide, tmp_path):
    browser = Browser()
    try:
        for width, scrolling in zip(WIDTHS, (2, 6), strict=True):
            browser.open(wide.as_uri(), width)
            assert len(hinted(browser)) == scrolling, width

        def edges() -> list[int]:
            """How dark the ground is at the left and the right edge of the narrower table."""
            browser.screenshot(tmp_path / "shot.png", full=False)
            shot = plt.imread(tmp_path / "shot.png")[..., :3].mean(axis=2)
            place = browser.evaluate("(b => [b.left, b.right, b.top])(box.getBoundingClientRect())")
            left, right, top = (int(round(value)) for value in place)
            # The first rows of pixels have no letters.
            return [int(255 * (1 - shot[top + 2, at])) for at in (left, right - 1)]

        browser.evaluate("box = document.querySelector('.jp-RenderedHTML'); box.scrollIntoView(); 0")
        left, right = edges()
        assert left == 0 and right > 20
        browser.evaluate("box.scrollLeft = 1e6")
        left, right = edges()
        assert left > 20 and right == 0
    finally:
        browser.close()


@pytest.mark.notebooks
@pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine")
def test_every_page_in_a_browser(tiny):
    browser = Browser()
    try:
        pages = sorted((tiny["out"] / "report").glob("*.html"))
        for path in [*pages, tiny["out"] / "report" / "api" / "aesens" / "study.html"]:
            for width in WIDTHS:
                browser.open(path.as_uri(), width)
                cut = [box["what"] for box in hinted(browser) if box["table"]]
                # Tables of the gallery are the files' own, of up to thirty columns.
                assert width < 1280 or path.stem in FIXED or not cut, (path.name, cut)
                broken = browser.evaluate(
                    "Promise.all([...document.images].map(i => { i.loading = 'eager';"
                    " return i.decode().then(() => null, () => i.src.slice(0, 80)); }))"
                    ".then(all => all.filter(Boolean))"
                )
                assert broken == [], (path.name, width)
                assert browser.problems == [], (path.name, width)
                if place := os.environ.get("AESENS_SCREENSHOTS"):
                    browser.full_screenshot(Path(place) / f"{path.stem}-{width}.png")
        browser.open((tiny["out"] / "report" / "02_effects.html").as_uri())
        heard = browser.evaluate(
            "Promise.all([...document.querySelectorAll('audio')].map(a => new Promise(done => {"
            " a.onloadedmetadata = () => done(a.duration); a.onerror = () => done(0); a.preload = 'metadata';"
            " a.load(); })))"
        )
        # The clean clip, and each effect at three strengths.
        assert len(heard) >= 1 + 3 * len(PROFILES["tiny"].effects) and all(
            2 < seconds < 4 for seconds in heard
        )
    finally:
        browser.close()
