"""The claims under test: thresholds from one file, verdicts from intervals.

A verdict is a pure function of a statistic's 95 % interval and the threshold of ``claims.toml``. Untrained weights
never earn one: a claim about pre-trained embeddings cannot be decided with them.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.resources import files

import numpy as np
import pandas as pd

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["CONTROL", "decide", "definitions", "verdicts"]

#: Verdict of untrained weights.
CONTROL = "control"


@lru_cache(maxsize=1)
def _claims() -> dict[str, dict]:
    return tomllib.loads(files("aesens").joinpath("claims.toml").read_text(encoding="utf-8"))


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


def verdicts(
    response: pd.DataFrame, decoding: pd.DataFrame, geometry: pd.DataFrame, changes: pd.DataFrame
) -> pd.DataFrame:
    """The table of claims.

    Parameters
    ----------
    response, decoding, geometry : pandas.DataFrame
        Of the functions of these names in `aesens.measure`, with the columns ``model``, ``pretrained`` and ``effect``.
    changes : pandas.DataFrame
        Rows of `aesens.measure.classification` with the change of ROC-AUC against no projection; the row
        ``projection == "all"`` is the mean over methods.

    Returns
    -------
    pandas.DataFrame
        Columns ``claim``, ``title``, ``model``, ``pretrained``, ``effect``, ``statistic``, ``low``, ``high``,
        ``threshold``, ``verdict``, one row a claim, model and effect that it speaks of.

    Examples
    --------
    >>> from aesens import measure
    >>> from aesens.synthetic import synthetic_sweep
    >>> sweep = synthetic_sweep("line", songs=12, features=8)
    >>> settings = {"resamples": 20, "seed": 0}
    >>> tables = [
    ...     measure.response(sweep, permutations=19, **settings),
    ...     measure.decoding(sweep, permutations=19, **settings),
    ...     measure.geometry(sweep, **settings),
    ...     measure.classification(sweep, **settings).query("kind == 'change'"),
    ... ]
    >>> named = [table.assign(model="yamnet", pretrained=True, effect="gain") for table in tables]
    >>> verdicts(*named).set_index("claim")["verdict"]["C1"]
    'supported'
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
    rows = []
    for key, (table, value, low, high) in sources.items():
        claim = _claims()[key]
        for row in table.to_dict("records"):
            if "models" in claim and row["model"] not in claim["models"]:
                continue
            verdict = decide(row[low], row[high], claim["side"], claim["threshold"])
            if key == "C1" and verdict == "supported" and row["spearman_null"] >= row[low]:
                verdict = "inconclusive"
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
                }
            )
    return pd.DataFrame(rows)
