"""What a table of verdicts comes to, in at most ten lines for someone who uses embeddings.

The verdicts choose every sentence and the statistics give its numbers, so that a line says something else where a run
finds something else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from aesens.effects import EFFECTS
from aesens.plots.style import number
from aesens.plots.titles import model_title
from aesens.tables.claims import CONTROL, REASONS, decide, entries

__all__ = ["answers"]

_YES, _NO, _OPEN = "supported", "not supported", "inconclusive"


class _Words(NamedTuple):
    """How a claim is told: as true, as refuted, its statistic, and what each means for a user."""

    yes: str
    no: str
    figures: str
    form: str
    if_yes: str
    if_no: str
    if_mixed: str


_WORDS = {
    "C1": _Words(
        "The stronger the effect, the further the embedding moves",
        "A stronger effect does not move the embedding steadily further",
        "rank correlation {}",
        "{:.2f}",
        "compare recordings that were processed alike; distance from the clean version ranks how strongly.",
        "distance from the clean version does not rank how strongly a recording was processed.",
        "check your effect before you take distance from the clean version for strength.",
    ),
    "C2": _Words(
        "The embedding jumps between two neighbouring strengths",
        "The embedding moves smoothly, without a jump between neighbouring strengths",
        "longest step {} times smooth growth",
        "{:.1f}",
        "a small change of a setting may move embeddings far: try settings closely spaced.",
        "settings that lie close together give embeddings that do.",
        "where it jumps, a small change of a setting matters.",
    ),
    "C3a": _Words(
        "One direction an instrument puts the versions of an unseen clip in order of strength",
        "No one direction an instrument puts the versions of an unseen clip in order of strength",
        "rank correlation {}",
        "{:.2f}",
        "a linear reader trained on other songs sorts versions of one recording.",
        "do not count on a linear reader to sort versions of one recording.",
        "try your effect before you let a linear reader sort versions of one recording.",
    ),
    "C3b": _Words(
        "A single embedding tells a linear reader the strength",
        "A single embedding does not tell a linear reader the strength",
        "held-out R² {}",
        "{:.2f}",
        "how strongly a recording was processed can be read without its clean version.",
        "to read how strongly a recording was processed you need its clean version.",
        "try your effect before you read its strength without the clean version.",
    ),
    "C4": _Words(
        "An effect fills many dimensions, as the music does",
        "An effect fills few dimensions beside those of the music",
        "{} times as many",
        "{:.2f}",
        "no few directions hold what the effect does.",
        "a few directions hold most of what the effect does.",
        "count dimensions for your effect before you hope to remove it with a few directions.",
    ),
    "C5": _Words(
        "Projecting an effect's directions out leaves most of what it costs a classifier",
        "Projecting an effect's directions out repairs a good part of what it costs a classifier",
        "{} % of the loss recovered",
        "{:.0f}",
        "look for another remedy than a projection.",
        "a projection is worth a try, on songs held out.",
        "try a projection on songs held out before you rely on it.",
    ),
    "C6": _Words(
        "Normalised PCA leaves a classifier's ranking as it is",
        "Normalised PCA changes a classifier's ranking",
        "change of ROC-AUC {} hundredths",
        "{:.1f}",
        "it does no harm to rankings, and no good.",
        "measure on songs held out before you use it.",
        "measure on songs held out before you use it.",
    ),
    "C7": _Words(
        "A linear remedy fitted on other effects recovers a good part of what an effect costs a classifier",
        "The linear remedy chosen on other effects does not recover a good part of what an effect costs a classifier",
        "{} % of the loss recovered",
        "{:.0f}",
        "fit a remedy on effects that you can make; it helps against others.",
        "fit a remedy on the very effects that you expect.",
        "try a remedy on an effect that it was not fitted on before you rely on it.",
    ),
}
_IF_OPEN = "neither rely on it nor rule it out; measure on songs of your own."

_NUMBERS = dict(enumerate(("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 2))

# Statistics that are told in hundredths.
_HUNDREDTHS = ("C5", "C6", "C7")


def answers(verdicts: pd.DataFrame) -> list[str]:
    """What a table of verdicts says, in at most ten lines.

    Parameters
    ----------
    verdicts : pandas.DataFrame
        Of `aesens.tables.claims.of_study`, or read back from its csv file.

    Returns
    -------
    list of str
        What was asked, a line for each claim that was, and what the run cannot say. Markdown.
    """
    pairs = verdicts[verdicts["verdict"] != CONTROL]
    claims, _ = entries()
    asked = {key: pairs[pairs["claim"] == key] for key in claims}
    lines = [_claim(key, claims[key], rows) for key, rows in asked.items() if len(rows)]
    return [_scope(pairs), *lines, _unsaid(claims, asked, pairs)]


def _scope(pairs: pd.DataFrame) -> str:
    if pairs.empty:
        return "**Asked:** no model of this run has pretrained weights, so nothing is decided."
    models, effects = (list(dict.fromkeys(pairs[name])) for name in ("model", "effect"))
    seeds = pairs["seeds"].str.findall(r"\d+").map(lambda found: sum(map(int, found))).max()
    agree = f", for each of {_NUMBERS.get(seeds, seeds)} seeds" if seeds > 1 else ""
    return (
        f"**Asked:** {_listed(map(model_title, models))}, pretrained, under {_listed(map(_effect_title, effects))}. "
        f"An answer stands where its 95 % interval over songs lies beyond a line drawn beforehand{agree}; "
        f"else it is *open*.{' A *twin* is the same network, untrained.' * bool(pairs['twin'].notna().any())}"
    )


def _claim(key: str, claim: dict, rows: pd.DataFrame) -> str:
    """What is said of a claim."""
    words = _WORDS[key]
    said = {name: rows[rows["verdict"] == name] for name in (_YES, _NO, _OPEN)}
    yes, no, undecided = map(len, said.values())
    if undecided == len(rows):
        sentence, advice = f"This run cannot tell whether {words.yes[0].lower()}{words.yes[1:]}", _IF_OPEN
    elif yes and no:
        rare, joint = (_YES, "but only") if yes <= no else (_NO, "except")
        sentence, advice = f"{words.yes}, {joint} {_where(said[rare], rows)}", words.if_mixed
    else:
        found = _YES if yes else _NO
        sentence = f"{words.yes if yes else words.no}, {_where(said[found], rows)}"
        advice = words.if_yes if yes else words.if_no
    for name, text in REASONS.items():
        # The figures alone would contradict such a no.
        if (part := said[_NO][said[_NO]["reason"] == name]).size:
            sentence += f"; {_where(part, rows)} {text}"
    if 0 < undecided < len(rows):
        sentence += f"; open {_where(said[_OPEN], rows)}"
    span = _figures(key, rows["statistic"])
    figures = f" ({words.figures.format(span)})" if span else ""
    return f"**{key}** {sentence}{figures}.{_twins(key, claim, rows)} *For you:* {advice}"


def _twins(key: str, claim: dict, rows: pd.DataFrame) -> str:
    """What the untrained twins do: whether the same, where both have an answer, else their figures."""
    rows = rows[rows["twin"].notna()]
    line = claim["side"], claim["threshold"], claim.get("refuted")
    own = [decide(low, high, *line) for low, high in zip(rows["twin_low"], rows["twin_high"], strict=True)]
    own = pd.Series(own, rows.index, dtype=object)
    # Of a twin only the interval is known: not compared where anything else decided about the network.
    decided = (rows["verdict"] != _OPEN) & ~rows["reason"].isin(list(REASONS))
    told = decided & (own != _OPEN)
    if not told.any():
        span = _figures(key, rows["twin"])
        return f" Twins: {span}." if span else ""
    other, undecided = rows[told & (rows["verdict"] != own)], rows[decided & ~told]
    open_ = f"; open {_where(undecided, rows)}" if len(undecided) else ""
    if len(other) == told.sum():
        return f" Twins do not do the same{open_}."
    return f" Twins do the same{f', except {_where(other, rows)}' if len(other) else ''}{open_}."


def _unsaid(claims: dict, asked: dict[str, pd.DataFrame], pairs: pd.DataFrame) -> str:
    """What the run leaves open, and why."""
    reasons: dict[str, list[str]] = {}
    for key, rows in asked.items():
        if rows.empty:
            models = " or ".join(map(model_title, claims[key].get("models", ())))
            lacking = f"no pretrained weights{' of ' * bool(models)}{models}"
            reasons.setdefault(lacking if models or pairs.empty else "needs a second effect", []).append(key)
        elif (rows["verdict"] == _OPEN).all():
            # In the order of the reasons, so that claims with the same ones are told together.
            met = [text for name, text in REASONS.items() if name in set(rows["reason"])]
            reasons.setdefault(_listed(met, "or"), []).append(key)
    left = "; ".join(f"{_listed(keys)}: {why}" for why, keys in reasons.items())
    data = f" than *{_listed(pairs['data'].unique(), 'or')}*" if "data" in pairs and len(pairs) else ""
    return (
        f"**What this run cannot say:** {left}{'. ' * bool(left)}It says nothing of other data{data}, of other "
        "networks and effects, or between the strengths tried. That a claim fails does not prove its opposite."
    )


def _where(rows: pd.DataFrame, asked: pd.DataFrame) -> str:
    """Effects with their models, in words; as a count where those would be many."""
    models = {name: tuple(part["model"]) for name, part in rows.groupby("effect", sort=False)}
    alike = {who: [name for name in models if models[name] == who] for who in models.values()}
    all_models, all_effects = asked["model"].unique(), asked["effect"].unique()
    if len(rows) == len(asked) and len(all_models) > 1:
        if len(alike) > 1:
            return "in every pair of network and effect"
        networks = _group(map(model_title, all_models), all_models, "networks")
        effects = _group(map(_effect_title, all_effects), all_effects, "effects")
        return f"for {networks} {'and' if len(all_effects) > 1 else 'under'} {effects}"
    if len(alike) > 2 or any(3 < len(who) < len(all_models) for who in alike):
        return f"in {len(rows)} of {len(asked)} pairs of network and effect"
    return " and ".join(
        f"under {_group(map(_effect_title, names), all_effects, 'effects')} "
        f"for {_group(map(model_title, who), all_models, 'networks')}"
        for who, names in alike.items()
    )


def _group(titles, everything, noun: str) -> str:
    """Titles of some things, or all of them counted."""
    titles = list(titles)
    if len(titles) < len(everything) or len(titles) == 1:
        return _listed(titles)
    n = len(titles)
    return f"both {noun}" if n == 2 else f"all {_NUMBERS.get(n, n)} {noun}"


def _figures(key: str, values: pd.Series) -> str:
    """Range of the values of a claim's statistic that there are, empty if there are none."""
    known = values[np.isfinite(values.astype(float))] * (100 if key in _HUNDREDTHS else 1)
    if known.empty:
        return ""
    ends = [number(end, _WORDS[key].form) for end in (known.min(), known.max())]
    return " to ".join(dict.fromkeys(ends))


def _listed(words, joint: str = "and") -> str:
    *first, last = words
    return f"{', '.join(first)} {joint} {last}" if first else last


def _effect_title(name: str) -> str:
    """Title of an effect within a sentence; an effect that is not registered here goes by its name."""
    return EFFECTS[name].title.lower() if name in EFFECTS else name
