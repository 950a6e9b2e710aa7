"""The claims under test: thresholds from one file, verdicts from intervals.

A verdict is a pure function of a statistic's 95 % interval over songs, the p-value of the order of strengths where the
claim speaks of order, and the lines of ``claims.toml``, after the *gates* of that file: a claim about how embeddings
move is not decided where they do not move, nor what repairs a loss where nothing is lost. It is inconclusive wherever
the run could not have seen the opposite. Untrained weights never earn a verdict: those of a pretrained model are its
twin, whose statistic stands beside the model's; the others are controls.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files

import numpy as np
import pandas as pd

from aesens import tables
from aesens.analysis.statistics import MINIMUM_SONGS, holm
from aesens.tables.common import POOLED

__all__ = [
    "CONTROL",
    "REASONS",
    "agreed",
    "decide",
    "definitions",
    "entries",
    "gates",
    "of_study",
    "pools",
    "verdicts",
]

#: Verdict of untrained weights without a pretrained counterpart.
CONTROL = "control"

#: What decided where it was not the interval alone.
REASONS = {
    "interval": "the interval holds the line",
    "songs": f"fewer than {MINIMUM_SONGS} songs: a range, not an interval",
    "strengths": "too few strengths to see the opposite",
    "floor": "too few orders of the strengths for a p-value that small",
    "order": "other orders of the strengths do as well",
    "closed": "a path that ends where it began does as well",
    "movement": "the embeddings hardly move",
    "loss": "nothing is lost",
    "seeds": "seeds do not agree",
}

_SUPPORTED, _NOT, _OPEN = "supported", "not supported", "inconclusive"
_PAIR = ["model", "effect"]


@lru_cache(maxsize=1)
def _file() -> dict[str, dict]:
    return tomllib.loads(files(__package__).joinpath("claims.toml").read_text(encoding="utf-8"))


def entries(changed: Mapping[str, dict] | None = None) -> tuple[dict[str, dict], dict[str, dict]]:
    """Claims and gates by name, of the file or with entries changed."""
    changed = changed or {}
    if unknown := [name for name in changed if name not in _file()]:
        raise ValueError(f"there is no claim or gate {unknown[0]!r}; there are {', '.join(_file())}")
    entries = {name: entry | changed.get(name, {}) for name, entry in _file().items()}
    claims = {name: entry for name, entry in entries.items() if "side" in entry}
    return claims, {name: entry for name, entry in entries.items() if name not in claims}


def definitions() -> pd.DataFrame:
    """The claims with their statistics, their lines and how these came about."""
    relations = {"within": ("|x| <", "|x| >"), "above": (">", "<"), "below": ("<", ">")}
    return pd.DataFrame(
        {
            "claim": key,
            "text": claim["text"],
            "statistic": claim["statistic"],
            "supported if": f"{relations[claim['side']][0]} {claim['threshold']:g}"
            + (f", p < {claim['alpha']:g}" if "alpha" in claim else ""),
            "not supported if": f"{relations[claim['side']][1]} {claim.get('refuted', claim['threshold']):g}"
            + (f", or p > {claim['alpha']:g}" if "alpha" in claim else ""),
            "why": claim["why"],
            "history": " ".join(claim["history"]),
        }
        for key, claim in entries()[0].items()
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
        for key, gate in entries()[1].items()
    )


def pools(changed: Mapping[str, dict] | None = None) -> dict[str, list]:
    """Methods that claims pool, by the name of the claim: ``pooled`` of `aesens.tables.robustness`."""
    methods = entries(changed)[0]["C5"]["methods"]
    return {_pool_name(part): part for part in methods if not isinstance(part, str)} | {"C5": methods}


def _pool_name(part: str | list[str]) -> str:
    """Name of a method, or of several that count as one."""
    return part if isinstance(part, str) else " + ".join(part)


def decide(low: float, high: float, side: str, threshold: float, refuted: float | None = None) -> str:
    """Verdict of an interval.

    Parameters
    ----------
    low, high : float
        95 % interval.
    side : {"above", "below", "within"}
        Where the claim wants the statistic; ``within`` means between minus and plus `threshold`.
    threshold : float
    refuted : float, optional
        The line beyond which the claim is not supported, where that is another than `threshold`.

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
    >>> decide(0.3, 0.4, "above", 0.5, refuted=0.25), decide(0.1, 0.2, "above", 0.5, refuted=0.25)
    ('inconclusive', 'not supported')
    """
    if side not in ("above", "below", "within"):
        raise ValueError(f"side={side!r} is not one of above, below, within")
    if np.isnan(low) or np.isnan(high):
        return _OPEN
    refuted = threshold if refuted is None else refuted
    # An interval may end in infinity, on the side that has no bound.
    if side == "above":
        return _SUPPORTED if low > threshold else _NOT if high < refuted else _OPEN
    if side == "below":
        return _SUPPORTED if high < threshold else _NOT if low > refuted else _OPEN
    if low > -threshold and high < threshold:
        return _SUPPORTED
    return _NOT if high < -refuted or low > refuted else _OPEN


def _judge(key: str, claim: dict, gates: dict[str, dict], row: Mapping, family: int) -> tuple[str, str]:
    """Verdict on a row, and the key of `REASONS` that decided where its interval alone did not."""
    if not row["songs"] >= MINIMUM_SONGS:
        return _OPEN, "songs"
    if "strengths" in claim and not row["strengths"] >= claim["strengths"]:
        return _OPEN, "strengths"
    verdict = decide(row["low"], row["high"], claim["side"], claim["threshold"], claim.get("refuted"))
    for name, gate in gates.items():
        if key not in gate["claims"]:
            continue
        passed = decide(*row[name], "above", gate["threshold"])
        if passed == _NOT and key in gate["fails"]:
            return _NOT, name
        if passed != _SUPPORTED and (key not in gate["fails"] or verdict == _SUPPORTED):
            return _OPEN, name
    if "alpha" in claim and verdict != _NOT:
        if not row["p_floor"] * family <= claim["alpha"] or np.isnan(row["p_holm"]):
            return _OPEN, "floor"
        if row["p_holm"] >= claim["alpha"]:
            return _NOT, "order"
    if verdict == _SUPPORTED and row["statistic"] <= claim.get("closed", -np.inf):
        return _OPEN, "closed"
    return verdict, "interval" if verdict == _OPEN else ""


def _statistics(claims, response, decoding, geometry, robustness, remedies, pictured):
    """Rows of each claim: pair, ``statistic``, ``low``, ``high``, ``songs`` and what else its verdict asks for."""

    def rows(table, value, low, high):
        return table.assign(statistic=table[value], low=table[low], high=table[high])

    def scored(key, table, **chosen):
        chosen |= {"kind": "pooled", "test": "effected", "metric": claims[key]["metric"]}
        return table[(table[list(chosen)] == pd.Series(chosen)).all(axis=1)]

    whole = decoding[decoding["instrument"] == POOLED].rename(columns={"test_songs": "songs"})
    finest = _finest(response, pictured, claims["C2"]["strengths"])
    chosen = remedies[remedies["chosen"].astype(bool)]
    return {
        "C1": rows(response, "spearman", "spearman_low", "spearman_high"),
        "C2": rows(finest, "jump", "jump_low", "jump_high"),
        "C3a": rows(whole, "rho", "rho_low", "rho_high"),
        "C3b": rows(whole, "r2", "low", "high"),
        "C4": rows(geometry, "ratio", "ratio_low", "ratio_high"),
        "C5": rows(scored("C5", robustness, method="C5"), "recovered", "low", "high"),
        "C6": rows(scored("C6", robustness, method="npca"), "change", "change_low", "change_high"),
        "C7": rows(scored("C7", chosen, condition="transfer"), "recovered", "low", "high"),
    }


def _finest(response: pd.DataFrame, pictured: pd.DataFrame | None, least: int) -> pd.DataFrame:
    """The measured sweeps, or the finer ones that pictures draw in the place of those below `least` strengths."""
    if pictured is None or response.empty:
        return response
    keys = ["model", "pretrained", "effect"]
    both = pd.concat([response, pictured], ignore_index=True)
    enough = both["strengths"].clip(upper=least).sort_values(ascending=False, kind="stable").index
    return response[keys].merge(both.loc[enough].drop_duplicates(keys), on=keys)


def _repairs(claim: dict, robustness: pd.DataFrame) -> pd.DataFrame:
    """How many methods help and how many harm, for each pretrained pair; Holm's correction over all of them."""
    names = [_pool_name(part) for part in claim["methods"]]
    chosen = robustness["method"].isin(names) & robustness["pretrained"].astype(bool)
    chosen &= (robustness["kind"] == "pooled") & (robustness["test"] == "effected")
    rows = robustness[chosen & (robustness["metric"] == claim["metric"])]
    sure = holm(rows["p"].to_numpy(float)) < 0.05
    counted = rows.assign(methods=1, helps=sure & (rows["change"] > 0), harms=sure & (rows["change"] < 0))
    return counted.groupby(_PAIR)[["methods", "helps", "harms"]].sum().astype("Int64")


def verdicts(
    response: pd.DataFrame,
    decoding: pd.DataFrame,
    geometry: pd.DataFrame,
    robustness: pd.DataFrame,
    remedies: pd.DataFrame,
    *,
    pictured: pd.DataFrame | None = None,
    definitions: Mapping[str, dict] | None = None,
) -> pd.DataFrame:
    """The table of claims.

    Parameters
    ----------
    response, decoding, geometry, robustness, remedies : pandas.DataFrame
        Of the functions of these names in `aesens.tables`, with the columns ``model``, ``pretrained`` and ``effect``;
        `robustness` with the methods of `pools` pooled. A pair that the first lacks is not known to move.
    pictured : pandas.DataFrame, optional
        `response` of the sweeps that pictures draw, for C2.
    definitions : mapping, optional
        What is to be changed in ``claims.toml``, by claim or gate: ``{"C1": {"threshold": 0.7}}`` draws another line.

    Returns
    -------
    pandas.DataFrame
        One row a claim, pretrained model and effect that it speaks of: ``claim``, ``title``, ``model``,
        ``pretrained``, ``effect``, ``statistic``, ``low``, ``high``, ``songs`` (that enter the interval), ``p`` and
        ``p_holm`` (of the order of strengths; corrected over the rows of the claim), ``threshold``, ``verdict``,
        ``reason`` (a key of `REASONS`; empty where the interval alone decided), ``visible`` (the smallest effect that
        the run could have seen: half of the interval, and for C2 the share of the whole path that one step must carry
        to pass), ``twin``, ``twin_low`` and ``twin_high`` (the statistic of the untrained twin), and for C5 how many
        of its ``methods`` help and harm after Holm's correction over methods and pairs. Untrained weights without a
        pretrained counterpart have rows too, whose verdict is `CONTROL`.

    Raises
    ------
    ValueError
        If `definitions` names what is neither a claim nor a gate.
    """
    claims, gates = entries(definitions)
    statistics = _statistics(claims, response, decoding, geometry, robustness, remedies, pictured)
    moved = {
        (row["model"], row["pretrained"], row["effect"]): (row["moved_low"], row["moved_high"])
        for row in response.to_dict("records")
    }
    repairs = _repairs(claims["C5"], robustness)
    rows = []
    for key, table in statistics.items():
        claim = claims[key]
        if "models" in claim:
            table = table[table["model"].isin(claim["models"])]
        trained = table["pretrained"].astype(bool)
        corrected = holm(table["p"].where(trained).to_numpy(float)) if "alpha" in claim else np.nan
        twins = {(row["model"], row["effect"]): row for row in table[~trained].to_dict("records")}
        paired = set(map(tuple, table.loc[trained, _PAIR].to_numpy()))
        for row in table.assign(p_holm=corrected).to_dict("records"):
            pair = row["model"], row["effect"]
            if not row["pretrained"] and pair in paired:
                continue
            row["movement"] = moved.get((row["model"], row["pretrained"], row["effect"]), (np.nan, np.nan))
            row["loss"] = row.get("loss_low", np.nan), row.get("loss_high", np.nan)
            verdict, reason = _judge(key, claim, gates, row, trained.sum())
            twin = twins.get(pair, {}) if row["pretrained"] else {}
            counts = repairs.loc[pair].to_dict() if key == "C5" and pair in repairs.index else {}
            rows.append(
                {
                    "claim": key,
                    "title": claim["title"],
                    "model": row["model"],
                    "pretrained": bool(row["pretrained"]),
                    "effect": row["effect"],
                    **{name: row[name] for name in ("statistic", "low", "high", "songs")},
                    "p": row["p"] if "alpha" in claim else np.nan,
                    "p_holm": row["p_holm"],
                    "threshold": claim["threshold"],
                    "verdict": verdict if row["pretrained"] else CONTROL,
                    "reason": reason if row["pretrained"] else "",
                    "visible": row["jump_visible"] if key == "C2" else (row["high"] - row["low"]) / 2,
                    "twin": twin.get("statistic", np.nan),
                    "twin_low": twin.get("low", np.nan),
                    "twin_high": twin.get("high", np.nan),
                    **{name: counts.get(name) for name in ("methods", "helps", "harms")},
                }
            )
    return pd.DataFrame(rows).astype(dict.fromkeys(("songs", "methods", "helps", "harms"), "Int64"))


def agreed(runs: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The verdicts that all seeds give; where they do not agree, inconclusive.

    Parameters
    ----------
    runs : sequence of pandas.DataFrame
        Of `verdicts`, the run's own seed first: statistics and intervals are its.

    Returns
    -------
    pandas.DataFrame
        The first with a column ``seeds``, what each seed came to, e.g. ``"3 supported, 2 inconclusive"``.
    """
    keys = ["claim", *_PAIR]
    found = pd.concat(runs).groupby(keys)["verdict"].value_counts()
    table, seeds = runs[0].copy(), []
    for row in table.itertuples():
        counts = found.loc[(row.claim, row.model, row.effect)]
        seeds.append(
            ", ".join(f"{counts[name]} {name}" for name in (_SUPPORTED, _NOT, _OPEN) if name in counts)
        )
        if len(counts) > 1:
            table.loc[row.Index, ["verdict", "reason"]] = _OPEN, "seeds"
    return table.assign(seeds=seeds)


def of_study(study, definitions: Mapping[str, dict] | None = None) -> pd.DataFrame:
    """The table of claims of a study over its profile's seeds, from results that chapters share through the cache.

    `definitions` changes lines of ``claims.toml``, as in `verdicts`; other methods of C5 are computed first.
    """
    # Clips of finer sweeps are those of the run's own seed: others of them would have to be embedded first.
    orders = {"n_permutations": study.profile.n_permutations, "n_resamples": study.profile.n_resamples}
    pictured = study.collect(tables.response, pictured=True, seed=study.seed, **orders)
    runs = [results_of(study, definitions)]
    runs += [results_of(other, definitions, further=True) for other in study.further_seeds()]
    return agreed([verdicts(*run, pictured=pictured, definitions=definitions) for run in runs])


def results_of(
    study, definitions: Mapping[str, dict] | None = None, *, further: bool = False
) -> tuple[pd.DataFrame, ...]:
    """The tables that `verdicts` is given of one seed, in its order; computed unless the cache has them."""
    # The run's own seed shares chapter 8's table; with one effect nothing is transferred.
    brief = {"transferred": True} if further and len(study.effects) > 1 else {}
    drawn = {"n_resamples": study.profile.n_resamples, "seed": study.seed}
    orders = {"n_permutations": study.profile.n_permutations, **drawn}
    return (
        study.collect(tables.response, **orders),
        study.collect(tables.decoding, **orders),
        study.collect(tables.geometry, seed=study.seed),
        study.collect(tables.robustness, pooled=pools(definitions), **drawn),
        study.collect(tables.remedies, together=True, **drawn, **brief),
    )
