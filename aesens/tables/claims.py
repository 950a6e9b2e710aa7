"""The claims under test: thresholds from one file, verdicts from intervals.

A verdict is a pure function of a statistic's 95 % interval and the threshold of ``claims.toml``, after the *gates* of
that file: a claim about how embeddings move is not decided where they do not move, nor what repairs a loss where
nothing is lost. Untrained weights never earn a verdict: a claim about pre-trained embeddings cannot be decided with
them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

import numpy as np
import pandas as pd

from aesens.effects import EFFECTS
from aesens.plots.titles import model_title
from aesens.tables.classification import classification
from aesens.tables.directions import decoding
from aesens.tables.sensitivity import response
from aesens.tables.trajectories import geometry

__all__ = ["CONTROL", "answers", "decide", "definitions", "gates", "of_study", "verdicts"]

#: Verdict of untrained weights.
CONTROL = "control"

_SUPPORTED, _NOT, _OPEN = "supported", "not supported", "inconclusive"


@lru_cache(maxsize=1)
def _file() -> dict[str, dict]:
    return tomllib.loads(files(__package__).joinpath("claims.toml").read_text(encoding="utf-8"))


def _entries(changed: Mapping[str, dict] | None = None) -> tuple[dict[str, dict], dict[str, dict]]:
    """Claims and gates by name, of the file or with entries changed."""
    changed = changed or {}
    if unknown := [name for name in changed if name not in _file()]:
        raise ValueError(f"there is no claim or gate {unknown[0]!r}; there are {', '.join(_file())}")
    entries = {name: entry | changed.get(name, {}) for name, entry in _file().items()}
    claims = {name: entry for name, entry in entries.items() if "side" in entry}
    return claims, {name: entry for name, entry in entries.items() if name not in claims}


def definitions() -> pd.DataFrame:
    """The claims with their statistics and thresholds."""
    relations = {"within": "|x| <", "above": ">", "below": "<"}
    return pd.DataFrame(
        {
            "claim": key,
            "text": claim["text"],
            "statistic": claim["statistic"],
            "supported if": f"{relations[claim['side']]} {claim['threshold']:g}",
            "why": claim["why"],
        }
        for key, claim in _entries()[0].items()
    )


def gates() -> pd.DataFrame:
    """What is asked before a claim is judged, with the claims that depend on it."""
    return pd.DataFrame(
        {
            "gate": key,
            "text": gate["text"],
            "statistic": gate["statistic"],
            "passed if": f"> {gate['threshold']:g}",
            "claims": ", ".join(gate["claims"]),
            "why": gate["why"],
        }
        for key, gate in _entries()[1].items()
    )


def decide(low: float, high: float, side: str, threshold: float) -> str:
    """Verdict of an interval.

    Parameters
    ----------
    low, high : float
        95 % interval.
    side : {"above", "below", "within"}
        Where the claim wants the statistic; ``within`` means between minus and plus `threshold`.
    threshold : float

    Returns
    -------
    str
        ``"supported"``, ``"not supported"`` or ``"inconclusive"``.

    Raises
    ------
    ValueError
        If `side` is none of the three.

    Examples
    --------
    >>> decide(0.6, 0.8, "above", 0.5), decide(0.4, 0.8, "above", 0.5), decide(-0.3, -0.1, "within", 0.05)
    ('supported', 'inconclusive', 'not supported')
    """
    if side not in ("above", "below", "within"):
        raise ValueError(f"side={side!r} is not one of above, below, within")
    if np.isnan(low) or np.isnan(high):
        return _OPEN
    # What lies between these bounds is as the claim says.
    bottom, top = {
        "above": (threshold, np.inf),
        "below": (-np.inf, threshold),
        "within": (-threshold, threshold),
    }[side]
    # An interval may end in infinity, on the side that has no bound.
    if (low > bottom or side == "below") and (high < top or side == "above"):
        return _SUPPORTED
    return _NOT if high < bottom or low > top else _OPEN


def _gated(
    claim: str, verdict: str, intervals: dict[str, tuple[float, float]], gates: dict[str, dict]
) -> tuple[str, str]:
    """Verdict after the gates with their intervals, and the gate that changed it, if one did."""
    for name, gate in gates.items():
        if claim not in gate["claims"]:
            continue
        passed = decide(*intervals[name], "above", gate["threshold"])
        if passed == _SUPPORTED:
            continue
        if claim not in gate["fails"]:
            return _OPEN, name
        if passed == _NOT:
            return _NOT, name
        if verdict == _SUPPORTED:
            return _OPEN, name
    return verdict, ""


def verdicts(
    response: pd.DataFrame,
    decoding: pd.DataFrame,
    geometry: pd.DataFrame,
    changes: pd.DataFrame,
    definitions: Mapping[str, dict] | None = None,
) -> pd.DataFrame:
    """The table of claims.

    Parameters
    ----------
    response, decoding, geometry : pandas.DataFrame
        Of the functions of these names in `aesens.tables`, with the columns ``model``, ``pretrained`` and ``effect``.
        A pair that the first lacks is not known to move.
    changes : pandas.DataFrame
        Rows of `aesens.tables.classification` with the change of ROC-AUC against no projection; the row
        ``projection == "all"`` is the mean over methods, with the loss that there is to repair.
    definitions : mapping, optional
        What is to be changed in ``claims.toml``, by claim or gate: ``{"C1": {"threshold": 0.7}}`` draws another line.

    Returns
    -------
    pandas.DataFrame
        Columns ``claim``, ``title``, ``model``, ``pretrained``, ``effect``, ``statistic``, ``low``, ``high``,
        ``threshold``, ``verdict``, one row a claim, model and effect that it speaks of; ``gate``, what kept the verdict
        from being the interval's own: a gate of `gates`, ``null`` where the permutation null of C1 reaches the
        interval, else empty; and for C5 ``helps`` and ``harms``, how many methods have an interval above and below 0.

    Raises
    ------
    ValueError
        If `definitions` names what is neither a claim nor a gate.
    """
    claims, gates = _entries(definitions)
    forward = changes[changes["condition"] == "clean-effected"]
    sources = {
        "C1": (response, "spearman", "spearman_low", "spearman_high"),
        "C2": (response, "jump", "jump_low", "jump_high"),
        "C3": (decoding[decoding["instrument"] == "all"], "r2", "low", "high"),
        "C4": (geometry, "energy", "energy_low", "energy_high"),
        "C5": (forward[forward["projection"] == "all"], "change", "low", "high"),
        "C6": (forward[forward["projection"] == "npca"], "change", "low", "high"),
    }
    movement = {
        (row["model"], row["pretrained"], row["effect"]): (row["moved_low"], row["moved_high"])
        for row in response.to_dict("records")
    }
    unknown = (np.nan, np.nan)
    rows = []
    for key, (table, value, low, high) in sources.items():
        claim = claims[key]
        for row in table.to_dict("records"):
            if "models" in claim and row["model"] not in claim["models"]:
                continue
            intervals = {
                "movement": movement.get((row["model"], row["pretrained"], row["effect"]), unknown),
                "loss": (row.get("loss_low", np.nan), row.get("loss_high", np.nan)),
            }
            verdict = decide(row[low], row[high], claim["side"], claim["threshold"])
            verdict, gate = _gated(key, verdict, intervals, gates)
            if key == "C1" and verdict == _SUPPORTED and row["spearman_null"] >= row[low]:
                verdict, gate = _OPEN, "null"
            rows.append(
                {
                    "claim": key,
                    "title": claim["title"],
                    "model": row["model"],
                    "pretrained": bool(row["pretrained"]),
                    "effect": row["effect"],
                    "statistic": row[value],
                    "low": row[low],
                    "high": row[high],
                    "threshold": claim["threshold"],
                    "verdict": verdict if row["pretrained"] else CONTROL,
                    "gate": gate if row["pretrained"] else "",
                    "helps": row.get("helps") if key == "C5" else None,
                    "harms": row.get("harms") if key == "C5" else None,
                }
            )
    return pd.DataFrame(rows).astype({"helps": "Int64", "harms": "Int64"})


def of_study(study, definitions: Mapping[str, dict] | None = None) -> pd.DataFrame:
    """The table of claims of a study, from results that earlier chapters share through the cache.

    `definitions` changes lines of ``claims.toml``, as in `verdicts`.
    """
    settings = {"resamples": study.profile.resamples, "seed": study.seed}
    permutations = study.profile.permutations
    results = study.collect(classification, **settings)
    return verdicts(
        study.collect(response, permutations=permutations, **settings),
        study.collect(decoding, permutations=permutations, **settings),
        study.collect(geometry, **settings),
        results[results["kind"] == "change"],
        definitions,
    )


def answers(verdicts: pd.DataFrame) -> pd.DataFrame:
    """What a table of verdicts says of each claim, in words; controls do not count.

    Parameters
    ----------
    verdicts : pandas.DataFrame
        Of the function of this name, or read back from its csv file.

    Returns
    -------
    pandas.DataFrame
        One row a claim: ``claim``, ``text``, ``pretrained pairs`` (pairs of a model with pretrained weights and an
        effect), how many of them are ``supported``, ``not supported`` and ``inconclusive``, ``statistic`` (its range
        over them, empty without any), ``supported pairs`` (models with their effects) and ``answer``, a sentence.
    """
    rows = []
    for key, claim in _entries()[0].items():
        pairs = verdicts[(verdicts["claim"] == key) & verdicts["pretrained"].astype(bool)]
        counts = {name: int((pairs["verdict"] == name).sum()) for name in (_SUPPORTED, _NOT, _OPEN)}
        held = pairs[pairs["verdict"] == _SUPPORTED].groupby("model", sort=False)["effect"].unique()
        if len(pairs):
            rest = ", ".join(f"{name} for {counts[name]}" for name in (_NOT, _OPEN))
            answer = f"supported for {counts[_SUPPORTED]} of {len(pairs)} pairs of model and effect, {rest}"
        else:
            models = " or ".join(map(model_title, claim.get("models", ())))
            answer = f"not decided in this run: no pretrained weights{' of ' * bool(models)}{models}"
        rows.append(
            {
                "claim": key,
                "text": claim["text"],
                "pretrained pairs": len(pairs),
                **counts,
                "statistic": _span(pairs["statistic"]),
                "supported pairs": "; ".join(
                    f"{model_title(model)}: {', '.join(map(_effect_title, effects))}"
                    for model, effects in held.items()
                ),
                "answer": answer,
            }
        )
    return pd.DataFrame(rows)


def _span(values: pd.Series) -> str:
    """Range of the values that there are, three digits each."""
    ends = dict.fromkeys(f"{end:.3g}" for end in (values.min(), values.max()) if np.isfinite(end))
    return " to ".join(ends)


def _effect_title(name: str) -> str:
    """Title of an effect within a sentence; an effect that is not registered here goes by its name."""
    return EFFECTS[name].title.lower() if name in EFFECTS else name
