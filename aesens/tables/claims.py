"""The claims under test: thresholds from one file, verdicts from intervals.

A verdict is a pure function of a statistic's 95 % interval and the threshold of ``claims.toml``, after the *gates* of
that file: a claim about how embeddings move is not decided where they do not move, nor what repairs a loss where
nothing is lost. Untrained weights never earn a verdict: a claim about pre-trained embeddings cannot be decided with
them.
"""

from __future__ import annotations

import sys
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

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["CONTROL", "answers", "decide", "definitions", "gates", "of_study", "verdicts"]

#: Verdict of untrained weights.
CONTROL = "control"


_SUPPORTED, _NOT, _OPEN = "supported", "not supported", "inconclusive"


@lru_cache(maxsize=1)
def _tables() -> dict[str, dict]:
    return tomllib.loads(files(__package__).joinpath("claims.toml").read_text(encoding="utf-8"))


def _claims() -> dict[str, dict]:
    return {key: table for key, table in _tables().items() if "side" in table}


def _gates() -> dict[str, dict]:
    return {key: table for key, table in _tables().items() if "side" not in table}


def definitions() -> pd.DataFrame:
    """The claims with their statistics and thresholds.

    Examples
    --------
    >>> list(definitions()["claim"])
    ['C1', 'C2', 'C3', 'C4', 'C5', 'C6']
    """
    return pd.DataFrame(
        {
            "claim": key,
            "text": claim["text"],
            "statistic": claim["statistic"],
            "supported if": f"{'|x| <' if claim['side'] == 'within' else {'above': '>', 'below': '<'}[claim['side']]} "
            f"{claim['threshold']:g}",
            "why": claim["why"],
        }
        for key, claim in _claims().items()
    )


def gates() -> pd.DataFrame:
    """What is asked before a claim is judged, with the claims that depend on it.

    Examples
    --------
    >>> gates().set_index("gate")["claims"].to_dict()
    {'movement': 'C1, C2, C3, C4, C5', 'loss': 'C5'}
    """
    return pd.DataFrame(
        {
            "gate": key,
            "text": gate["text"],
            "statistic": gate["statistic"],
            "passed if": f"> {gate['threshold']:g}",
            "claims": ", ".join(gate["claims"]),
            "why": gate["why"],
        }
        for key, gate in _gates().items()
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
        return "inconclusive"
    if side == "below":
        low, high, side = -high, -low, "above"
        threshold = -threshold
    if side == "above":
        return "supported" if low > threshold else "not supported" if high < threshold else "inconclusive"
    if -threshold < low and high < threshold:
        return "supported"
    return "not supported" if high < -threshold or low > threshold else "inconclusive"


def _gated(claim: str, verdict: str, intervals: dict[str, tuple[float, float]]) -> tuple[str, str]:
    """Verdict after the gates with their intervals, and the gate that changed it, if one did."""
    for name, gate in _gates().items():
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
    response: pd.DataFrame, decoding: pd.DataFrame, geometry: pd.DataFrame, changes: pd.DataFrame
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

    Returns
    -------
    pandas.DataFrame
        Columns ``claim``, ``title``, ``model``, ``pretrained``, ``effect``, ``statistic``, ``low``, ``high``,
        ``threshold``, ``verdict``, one row a claim, model and effect that it speaks of; ``gate``, what kept the verdict
        from being the interval's own: a gate of `gates`, ``null`` where the permutation null of C1 reaches the
        interval, else empty; and for C5 ``helps`` and ``harms``, how many methods have an interval above and below 0.
    """
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
        claim = _claims()[key]
        for row in table.to_dict("records"):
            if "models" in claim and row["model"] not in claim["models"]:
                continue
            intervals = {
                "movement": movement.get((row["model"], row["pretrained"], row["effect"]), unknown),
                "loss": (row.get("loss_low", np.nan), row.get("loss_high", np.nan)),
            }
            verdict = decide(row[low], row[high], claim["side"], claim["threshold"])
            verdict, gate = _gated(key, verdict, intervals)
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


def of_study(study) -> pd.DataFrame:
    """The table of claims of a study, from results that earlier chapters share through the cache."""
    settings = {"resamples": study.profile.resamples, "seed": study.seed}
    permutations = study.profile.permutations
    results = study.collect(classification, **settings)
    return verdicts(
        study.collect(response, permutations=permutations, **settings),
        study.collect(decoding, permutations=permutations, **settings),
        study.collect(geometry, **settings),
        results[results["kind"] == "change"],
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

    Examples
    --------
    >>> pair = {"claim": "C1", "model": "yamnet", "effect": "gain", "pretrained": True, "statistic": 0.9}
    >>> other = pair | {"effect": "reverb", "statistic": 0.4, "verdict": "inconclusive"}
    >>> table = answers(pd.DataFrame([pair | {"verdict": "supported"}, other])).set_index("claim")
    >>> table.loc["C1", ["statistic", "supported pairs", "answer"]].tolist()  # doctest: +NORMALIZE_WHITESPACE
    ['0.4 to 0.9', 'YAMNet: gain',
     'supported for 1 of 2 pairs of model and effect, not supported for 0, inconclusive for 1']
    >>> table.loc["C6", "answer"]
    'not decided in this run: no pretrained weights of PANNs or CLAP (Microsoft)'
    """
    rows = []
    for key, claim in _claims().items():
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
