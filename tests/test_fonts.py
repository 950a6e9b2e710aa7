"""Names in scripts that the figures' own fonts lack."""

import warnings

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from aesens import plots
from aesens.plots import fonts
from aesens.plots.outputs import save_figure

NAMES = ["琴", "鼓 b"]


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Files of fonts that are installed beside matplotlib's own; none at first."""
    files, manager = [], font_manager.fontManager
    own = [entry for entry in manager.ttflist if entry.fname.startswith(matplotlib.get_data_path())]
    monkeypatch.setattr(manager, "ttflist", own)
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: files)
    with plt.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.use_style()
        yield files
    plt.close("all")


def make_font(path, character):
    """A font of one character, a black square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    glyphs = [".notdef", "square"]
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap({ord(character): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(path)
    return str(path)


def draw(folder):
    sides = pd.DataFrame({"instrument": NAMES, "split": "train", "clips": 2, "songs": 1})
    figure = plots.clips_per_instrument(sides)
    save_figure(figure, folder, "f", {"caption": "Clips."})
    return (folder / "f.png").read_bytes()


def test_a_font_that_has_them_is_taken_though_matplotlib_has_not_listed_it(tmp_path, installed, capsys):
    boxes = draw(tmp_path)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"boxes for {NAMES[0]} {NAMES[1][0]}: no installed font has them" in said
    assert draw(tmp_path) == boxes and capsys.readouterr().err == ""
    plots.use_style()
    installed += [make_font(tmp_path / "Squares One.ttf", NAMES[0]), str(tmp_path / "gone.ttf")]
    (tmp_path / "gone.ttf").write_bytes(b"no font")
    fonts.os.environ.pop("AESENS_BOXES")
    drawn = draw(tmp_path)
    assert drawn != boxes and plt.rcParams["font.family"] == ["sans-serif", "Squares One"]
    assert f"boxes for {NAMES[1][0]}: no" in capsys.readouterr().err
    installed.append(make_font(tmp_path / "Squares Two.ttf", NAMES[1][0]))
    fonts.os.environ.pop("AESENS_BOXES")
    assert draw(tmp_path) != drawn and capsys.readouterr().err == ""
    figure = plt.figure()
    other = figure.text(0, 0, NAMES[0], family="monospace")
    own = figure.text(0, 1, NAMES[0])
    fonts.lay_out(figure)
    assert own.get_fontfamily() == ["sans-serif", "Squares One", "Squares Two"]
    assert other.get_fontfamily() == ["monospace"]
