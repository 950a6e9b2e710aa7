"""What a table of verdicts comes to, in ten lines for someone who uses embeddings.

Every sentence is a template that takes its words from the verdicts and its numbers from the statistics, so that it says
something else where a run finds something else.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from aesens.effects import EFFECTS
from aesens.plots.titles import model_title
from aesens.tables.claims import CONTROL, decide, entries

__all__ = ["answers"]

# Of each claim: what is said where all pairs support it, where none does and all are decided, where pairs differ; what
# its statistic is called, its factor and its format.
_WORDS: dict[str, tuple[str, str, str, str, float, str]] = {
    "C1": (
        "The stronger the effect, the further an embedding moves from the clean one.",
        "Distance from the clean embedding does not tell the strength of an effect.",
        "Whether a stronger effect moves an embedding further depends on model and effect.",
        "mean rank correlation {}",
        1,
        "{:.2f}",
    ),
    "C2": (
        "Responses jump: between two neighbouring strengths embeddings leap.",
        "Responses are smooth at the resolution of the grid: no leap between neighbouring strengths.",
        "Some responses may jump and others do not.",
        "longest step {} times what smooth growth leads to",
        1,
        "{:.1f}",
    ),
    "C3a": (
        "One direction an instrument orders the versions of a clip by strength, on songs that it has not seen.",
        "No one direction an instrument orders the versions of an unseen clip by strength.",
        "Whether one direction orders the versions of an unseen clip depends on model and effect.",
        "mean rank correlation within clips {}",
        1,
        "{:.2f}",
    ),
    "C3b": (
        "The strength can be read from a single embedding, without its clean version.",
        "From a single embedding, without its clean version, the strength cannot be read.",
        "Whether the strength can be read from a single embedding depends on model and effect.",
        "held-out R² {}",
        1,
        "{:.2f}",
    ),
    "C4": (
        "What an effect does fills about as many dimensions as the music: no small subspace holds it.",
        "What an effect does lies in few dimensions beside what the music fills.",
        "How many dimensions an effect fills beside the music depends on model and effect.",
        "ratio of dimensions {}",
        1,
        "{:.2f}",
    ),
    "C5": (
        "Projecting the effect's directions out is no repair for a classifier.",
        "Projecting the effect's directions out repairs a good part of what it costs a classifier.",
        "Whether projecting directions out repairs a classifier is no general matter.",
        "{} % of the lost balanced accuracy recovered",
        100,
        "{:.0f}",
    ),
    "C6": (
        "The normalised-PCA projection leaves classification as it is.",
        "The normalised-PCA projection changes classification.",
        "Whether the normalised-PCA projection changes classification depends on model and effect.",
        "change of ROC-AUC {} hundredths",
        100,
        "{:.1f}",
    ),
    "C7": (
        "Something linear does help, on effects that it was not fitted on.",
        "Nothing linear that was tried helps on effects that it was not fitted on.",
        "Whether something linear helps on effects that it was not fitted on depends on model and effect.",
        "{} % of the lost balanced accuracy recovered",
        100,
        "{:.0f}",
    ),
}

_VERDICTS = ("supported", "not supported", "inconclusive")

# What training may add to, by claim.
_MEASURES = {"C1": "growth of distance", "C3a": "order", "C3b": "legibility", "C4": "dimensions"}


def answers(verdicts: pd.DataFrame) -> list[str]:
    """What a table of verdicts says, in ten lines.

    Parameters
    ----------
    verdicts : pandas.DataFrame
        Of `aesens.tables.claims.of_study`, or read back from its csv file.

    Returns
    -------
    list of str
        What was asked, a line a claim, and what training adds. Markdown.
    """
    pairs = verdicts[verdicts["verdict"] != CONTROL]
    claims, _ = entries()
    lines = [
        _claim(key, claim, pairs[pairs["claim"] == key], len(pairs) > 0) for key, claim in claims.items()
    ]
    return [_scope(pairs), *lines, _training(claims, pairs)]


def _scope(pairs: pd.DataFrame) -> str:
    if pairs.empty:
        return "**What was asked:** no model of this run has pretrained weights, so nothing is decided."
    asked = pairs.drop_duplicates(["model", "effect"])
    models, effects = (list(dict.fromkeys(asked[name])) for name in ("model", "effect"))
    seeds = pairs["seeds"].str.findall(r"\d+").map(lambda found: sum(map(int, found))).max()
    agree = f" A verdict stands where {seeds} seeds give the same." if seeds > 1 else ""
    over = f"{_listed(map(_effect_title, effects))}: {_counted(len(asked), 'pair')} of model and effect."
    return (
        f"**What was asked:** {_listed(map(model_title, models))} with pretrained weights, {over}{agree} "
        "*Not supported* is not *false*: "
        "an interval lies beyond a line that was drawn beforehand. *Inconclusive*: the run cannot tell."
    )


def _claim(key: str, claim: dict, rows: pd.DataFrame, asked: bool) -> str:
    """What is said of a claim; `asked`: whether anything was asked of pretrained weights."""
    yes, no, mixed, label, factor, form = _WORDS[key]
    if rows.empty:
        models = " or ".join(map(model_title, claim.get("models", ())))
        lacking = f"no pretrained weights{' of ' * bool(models)}{models}"
        lacking = lacking if models or not asked else "it needs a second effect"
        return f"**{key}** Not decided in this run: {lacking}. {claim['text']}"
    counts = rows["verdict"].value_counts()
    found = [name for name in _VERDICTS if name in counts]
    said = {
        ("supported",): yes,
        ("not supported",): no,
        ("inconclusive",): f"This run cannot tell. {claim['text']}",
        ("supported", "inconclusive"): f"{yes[:-1]}, where this run can tell.",
        ("not supported", "inconclusive"): f"{no[:-1]}, where this run can tell.",
    }.get(tuple(found), mixed)
    tally = ", ".join(
        f"{name} in {counts[name]} of {len(rows)}"
        + (f" ({_pairs(rows[rows['verdict'] == name])})" if name != "inconclusive" and len(found) > 1 else "")
        for name in found
    )
    span = _span(factor * rows["statistic"], form)
    numbers = f"; {label.format(span)}" if span else ""
    tally = (
        f"{tally[0].upper()}{tally[1:]} pairs" if len(rows) > 1 else tally.partition(" in ")[0].capitalize()
    )
    return f"**{key}** {said} {tally}{numbers}.{_twins(claim, rows, factor, form)}{_beside(key, rows)}"


def _twins(claim: dict, rows: pd.DataFrame, factor: float, form: str) -> str:
    """What the untrained twins do."""
    rows = rows[rows["twin"].notna()]
    if rows.empty:
        return ""
    own = _twin_verdicts(claim, rows)
    same = sum(name == "supported" for name in own)
    span = _span(factor * rows["twin"], form)
    return f" Untrained twins: {span}, beyond the same line in {same} of {len(rows)}."


def _twin_verdicts(claim: dict, rows: pd.DataFrame) -> list[str]:
    """What the intervals of the twins would come to by the line of the claim."""
    line = claim["side"], claim["threshold"], claim.get("refuted")
    return [decide(low, high, *line) for low, high in zip(rows["twin_low"], rows["twin_high"], strict=True)]


def _beside(key: str, rows: pd.DataFrame) -> str:
    """What a reader of a claim should know beside its numbers."""
    if key == "C2" and rows["visible"].notna().any():
        return f" A step shows if it carries at least {_span(100 * rows['visible'], '{:.0f}')} % of the path."
    if key == "C5" and rows["methods"].notna().any():
        methods, helps, harms = rows[["methods", "helps", "harms"]].sum().astype(int)
        return f" Single methods help in {helps} and harm in {harms} of {methods} cases, corrected for their number."
    return ""


def _training(claims: dict, pairs: pd.DataFrame) -> str:
    """What training adds: supported where the twin's interval lies on the other side, and intervals that part."""
    twinned = pairs[pairs["twin"].notna() & pairs["claim"].isin(_MEASURES)]
    if twinned.empty:
        return "**What training adds** cannot be said without untrained twins of pretrained models."
    owed, parts = [], []
    for key, rows in twinned.groupby("claim", sort=False):
        other = np.array(_twin_verdicts(claims[key], rows)) == "not supported"
        if (mine := rows[other & (rows["verdict"] == "supported")]).size:
            owed.append(f"{key} ({_pairs(mine)})")
        higher, lower = (rows["low"] > rows["twin_high"]).sum(), (rows["high"] < rows["twin_low"]).sum()
        pairs = _counted(len(rows), "pair")
        parts.append(f"{_MEASURES[key]} ({key}) higher in {higher} and lower in {lower} of {pairs}")
    said = (
        f"supported, and the opposite in the untrained twin: {_listed(owed)}."
        if owed
        else "nothing that is supported here is the opposite in the untrained twin."
    )
    return (
        f"**What training adds:** {said} By intervals apart, trained against untrained: {'; '.join(parts)}."
    )


def _pairs(rows: pd.DataFrame) -> str:
    """Models with their effects."""
    held = rows.groupby("model", sort=False)["effect"].unique()
    return "; ".join(
        f"{model_title(model)}: {', '.join(map(_effect_title, found))}" for model, found in held.items()
    )


def _span(values: pd.Series, form: str) -> str:
    """Range of the values that there are, empty if there are none."""
    known = values[np.isfinite(values.astype(float))]
    if known.empty:
        return ""
    texts = [form.format(end) for end in (known.min(), known.max())]
    # What rounds to zero has no sign.
    ends = [text.removeprefix("-") if float(text) == 0 else text.replace("-", "−") for text in texts]
    return " to ".join(dict.fromkeys(ends))


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def _listed(words) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _effect_title(name: str) -> str:
    """Title of an effect within a sentence; an effect that is not registered here goes by its name."""
    return EFFECTS[name].title.lower() if name in EFFECTS else name
