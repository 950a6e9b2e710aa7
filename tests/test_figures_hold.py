"""Figures of one model and one effect, and of eleven models with long names: nothing overlaps, nothing is squashed."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aesens import plots
from aesens.effects import effect
from aesens.plots.outputs import save_figure
from aesens.plots.style import wrapped
from aesens.plots.titles import INSTRUMENTS, folded, instrument_title, model_title

SHIPPED = ["openl3", "panns", "msclap", "clap", "yamnet", "musicnn"]
OWN = [
    "hear-wav2vec2_large_robust_finetuned",
    "hear-openl3_mel256_environmental",
    "hear-passt_base_20sec_audioset",
    "hear-beats.iter3.plus-finetuned",
    "hear-anamewithoutanyplacetobreakitat",
]
SIZES = {
    "one": (["musicnn"], ["gain"], ["cel", "pia"]),
    "many": (
        SHIPPED + OWN,
        ["gain", "lowpass", "reverb", "bitcrush"],
        ["cel", "gac", "a class of a very long name"],
    ),
}


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context():
        plots.use_style()
        yield
    plt.close("all")


def pairs(size, **columns):
    models, effects, _ = SIZES[size]
    rows = [(m, i % 2 == 0, name) for i, m in enumerate(models) for name in effects]
    return pd.DataFrame(rows, columns=["model", "pretrained", "effect"]).assign(**columns)


def times(table, **columns):
    """Every row with every value of further columns."""
    for name, values in columns.items():
        table = table.merge(pd.DataFrame({name: values}), how="cross")
    return table


def distances(size, **columns):
    rows = times(pairs(size), **columns)
    at = [effect(name).parameters(3).tolist() for name in rows["effect"]]
    rows = rows.assign(parameter=at).explode("parameter").astype({"parameter": float})
    return rows.assign(value=0.5, low=0.4, high=0.6)


def clean_map(size):
    models, _, instruments = SIZES[size]
    rows = times(pairs(size).drop_duplicates("model"), instrument=instruments, clip=range(4))
    return plots.clean_map(rows.assign(explained=0.4, x=np.arange(len(rows)), y=1.0))


def clean_classification(size):
    rows = times(
        pairs(size).drop_duplicates("model"), data=["Rendered clips in IRMAS's shape", "Folder mine"]
    )
    return plots.clean_classification(rows.assign(roc_auc=0.8, low=0.7, high=0.9))


def protocol_curves(size):
    both = distances(size, protocol=["study", "float"])
    return plots.protocol_curves(both[both["effect"] == "gain"])


def against_null(size):
    columns = {"low": "low", "high": "high", "null": "null"}
    return plots.against_null(
        pairs(size, at=0.5, low=0.3, high=0.7, null=0.2), "at", label="Mean Spearman correlation", **columns
    )


def spectra(size):
    rows = times(pairs(size), instrument=["cel"], kind=["directions", "clean", "random"], rank=[1, 2, 3])
    return plots.spectra(rows.assign(value=1 / rows["rank"]))


def directions(size):
    rows = times(pairs(size), instrument=SIZES[size][2])
    title = {"row_title": plots.model_effect_row, "column_title": instrument_title}
    label = "Squared Spearman correlation, held-out songs"
    rows = rows.assign(value=np.linspace(0, 1, len(rows)))
    return plots.heatmap(
        rows,
        "value",
        rows=["model", "pretrained", "effect"],
        column="instrument",
        label=label,
        height=0.2,
        **title,
    )


def largest(size):
    label = "Largest mean L2 distance"
    title = {"row_title": plots.model_row, "column_title": plots.effect_column}
    return plots.heatmap(
        pairs(size, value=1.2), "value", rows=["model", "pretrained"], column="effect", label=label, **title
    )


def agreement(size):
    table = pairs(size).drop_duplicates("model")
    kinds = ["between_instruments", "between_effects", "with_own_classifier", "with_other_classifiers"]
    return plots.agreement(table.assign(random=0.1, **dict.fromkeys(kinds, 0.3)))


def sensitivity_curves(size):
    return plots.sensitivity_curves(distances(size, measure=["cosine", "l2"]))


def claims_map(size):
    rows = times(pairs(size), claim=["C1", "C2", "C3a", "C3b", "C4", "C5", "C7"])
    return plots.claims_map(
        rows.assign(title="a claim", threshold=0.5, statistic=0.9, twin=0.4, verdict="supported", reason="")
    )


def gain_and_cost(size):
    rows = times(pairs(size), method=["augmentation", "wccn", "average", "pca", "npca", "lda"])
    return plots.gain_and_cost(rows.assign(cost=0.01, change=0.02, control=False), label="ROC-AUC")


def recovered_curves(size):
    rows = distances(size, method=["average", "pca"]).assign(kind="strength", metric="balanced_accuracy")
    return plots.recovered_curves(rows.assign(recovered=np.linspace(-3, 3, len(rows))))


FIGURES = (
    claims_map,
    gain_and_cost,
    recovered_curves,
    clean_map,
    clean_classification,
    protocol_curves,
    against_null,
    spectra,
    directions,
    largest,
    agreement,
    sensitivity_curves,
)


def boxes(figure):
    """Where titles, labels and names stand, by what they say; those of one kind in one list."""
    rotated = [text for ax in figure.axes for text in ax.texts if text.get_rotation() == 90]
    heads = [text for ax in figure.axes for text in (ax.title, ax.xaxis.label)]
    names = [text for ax in figure.axes for text in ax.get_yticklabels() if text.get_visible()]
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    for texts in (rotated, heads, names, legends):
        # Numbers of an axis go on beyond what it shows.
        shown = [text for text in texts if any(map(str.isalpha, text.get_text())) and text.get_visible()]
        yield [(text.get_text(), text.get_window_extent()) for text in shown]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", FIGURES, ids=lambda make: make.__name__)
def test_nothing_overlaps_and_nothing_is_squashed(make, size):
    figure = make(size)
    figure.canvas.draw()
    for found in boxes(figure):
        # A point or two is the air around letters.
        overlapping = [
            (a, b)
            for (a, one), (b, other) in combinations(found, 2)
            if one.shrunk(0.98, 0.8).overlaps(other.shrunk(0.98, 0.8))
        ]
        assert overlapping == []
    whole = figure.get_tightbbox()
    assert whole.width <= 1.05 * figure.get_figwidth() and whole.height <= 1.6 * figure.get_figheight()
    panels = [ax for ax in figure.axes if ax.axison and ax.get_label() != "<colorbar>"]
    for ax in panels:
        box = ax.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
        assert box.width > 0.6 and box.height > 0.18, (box.width, box.height)
    height = {round(ax.get_window_extent().height) for ax in panels}
    if make is spectra:
        assert max(height) < 2 * min(height)


@pytest.mark.parametrize("name", [*OWN, "yamnet", "hear-a b", "hear-_x"])
@pytest.mark.parametrize("room", [11, 16, 26])
def test_folded_titles_lose_nothing(name, room):
    title = model_title(name, False)
    lines = folded(title, room).split("\n")
    assert max(map(len, lines)) <= room
    assert "".join(lines).replace(" ", "") == title.replace(" ", "")


def test_a_place_left_empty_parts_no_panels():
    figure = claims_map("one")
    figure.canvas.draw()
    # Seven claims in rows of two: the labels of the sixth hang beside the seventh.
    tops = [ax.get_window_extent().y1 for ax in figure.axes[:7:2]]
    assert np.ptp(np.diff(tops)) < 2
    named = [any(text.get_visible() for text in ax.get_xticklabels()) for ax in figure.axes[:7]]
    assert named == 5 * [False] + 2 * [True]


def test_controls_stand_on_grey_ground():
    rows = distances("many", method=["pca"]).assign(
        kind="strength", metric="balanced_accuracy", recovered=0.1
    )
    rows = rows[rows["model"].isin(SHIPPED[:2])]
    figure = plots.recovered_curves(rows)
    white = [ax.get_facecolor()[:3] == (1, 1, 1) for ax in figure.axes]
    assert white == [True] * 4 + [False] * 4


def test_an_axis_says_where_values_beyond_it_are_drawn():
    figure = recovered_curves("one")
    figure.canvas.draw()
    (ax,) = figure.axes
    marks = dict(zip(ax.get_yticks(), (text.get_text() for text in ax.get_yticklabels()), strict=True))
    drawn = np.concatenate([line.get_ydata() for line in ax.lines])
    assert marks[drawn.min()].startswith("≤") and marks[drawn.max()].startswith("≥")


@pytest.mark.parametrize(
    ("panels", "shape"), [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (5, (2, 3)), (13, (5, 3))]
)
def test_few_places_stay_empty(panels, shape):
    _, axes = wrapped(panels, height=1, spare=0, across=3)
    assert axes.shape == shape and sum(ax.axison for ax in axes.flat) == panels


def test_the_ground_of_a_panel_keeps_its_colour_when_saved(tmp_path):
    rows = times(pairs("many").drop_duplicates("model").head(2), instrument=list(INSTRUMENTS), clip=range(12))
    x, y = np.random.default_rng(0).standard_normal((2, len(rows)))
    figure = plots.clean_map(rows.assign(explained=0.4, x=x, y=y))
    save_figure(figure, tmp_path, "map", {})
    saved = Image.open(tmp_path / "map.png")
    assert saved.mode == "P"
    grounds = sorted(saved.convert("RGB").getcolors(256))[-2:]
    drawn = {tuple(round(255 * part) for part in ax.get_facecolor()[:3]) for ax in figure.axes}
    assert {colour for _, colour in grounds} == drawn and len(drawn) == 2
