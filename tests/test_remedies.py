"""Remedies against independent computations, what defines each of them, and synthetic truth."""

import json
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.linalg import sqrtm
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from synthetic import synthetic_sweep
from threadpoolctl import threadpool_limits

from aesens import plots, tables
from aesens.analysis import projections
from aesens.analysis.linearity import linear_predictions
from aesens.analysis.projections import from_states, remove, removes, states
from aesens.analysis.remedies import (
    LEACE,
    NAP,
    REMEDIES,
    WCCN,
    Augmentation,
    RidgeMap,
    Versions,
    Whitening,
    from_npz,
    is_affine,
    stack_effects,
    to_npz,
)


def make(strengths=5, clips=30, features=8, seed=0):
    """Clips that move along two directions, at a pace of their own, and a little to all sides."""
    rng = np.random.default_rng(seed)
    clean = rng.standard_normal((clips, features)) * np.geomspace(3, 0.5, features) + 2
    t = np.linspace(0.2, 1, strengths)[:, None, None]
    along = rng.standard_normal((2, features))
    moved = clean + t * along[0] + t * rng.standard_normal((clips, 1)) * along[1]
    return moved + 0.1 * rng.standard_normal(moved.shape), clean


def rows_of(trajectories, clean):
    """Clean, then effected rows, and the clip of each."""
    rows = np.concatenate([clean[None], trajectories]).reshape(-1, clean.shape[1])
    return rows, np.tile(np.arange(len(clean)), len(trajectories) + 1)


def covariance_within(trajectories, clean):
    """As it is defined: clip by clip."""
    versions = np.concatenate([clean[None], trajectories])
    return np.mean([np.cov(versions[:, i].T) for i in range(len(clean))], axis=0)


WIDE = {"clips": 6, "features": 60}


@pytest.mark.parametrize("size", [{}, WIDE])
@pytest.mark.parametrize("shrinkage", [0.2, 1.0])
def test_wccn_is_the_inverse_root_of_the_shrunk_covariance_within_clips(size, shrinkage):
    moved, clean = make(**size)
    within = covariance_within(moved, clean)
    d = len(within)
    shrunk = (1 - shrinkage) * within + shrinkage * np.trace(within) / d * np.eye(d)
    wccn = WCCN(shrinkage).fit(moved, clean)
    np.testing.assert_allclose(wccn.transform(clean), clean @ np.linalg.inv(sqrtm(shrunk).real), rtol=1e-6)


def test_wccn_makes_the_covariance_within_clips_the_identity():
    moved, clean = make()
    wccn = WCCN(shrinkage=0).fit(moved, clean)
    np.testing.assert_allclose(
        covariance_within(wccn.transform(moved), wccn.transform(clean)), np.eye(8), atol=1e-8
    )
    with pytest.raises(ValueError, match="rank 30 of 60"):
        WCCN(shrinkage=0).fit(*make(**WIDE))
    with pytest.raises(ValueError, match="shrinkage=2"):
        WCCN(shrinkage=2).fit(moved, clean)


def test_whitening_is_sklearns_and_knows_of_no_effect():
    moved, clean = make()
    white = Whitening(shrinkage=0).fit(moved, clean).transform(clean)
    np.testing.assert_allclose(np.cov(white.T), np.eye(8), atol=1e-8)
    # The same up to a rotation as the whitening of scikit-learn, which centres and goes along the components.
    reference = PCA(whiten=True).fit(clean).transform(clean)
    centred = white - white.mean(axis=0)
    np.testing.assert_allclose(centred @ centred.T, reference @ reference.T, atol=1e-8)
    other = Whitening(shrinkage=0).fit(3 * moved + 1, clean).transform(clean)
    np.testing.assert_array_equal(white, other)
    auto = Whitening().fit(moved, clean)
    assert auto.shrinkage_ == pytest.approx(LedoitWolf().fit(clean).shrinkage_)


@pytest.mark.parametrize("size", [{}, WIDE])
def test_nap_takes_the_leading_directions_within_clips(size):
    moved, clean = make(**size)
    values, vectors = np.linalg.eigh(covariance_within(moved, clean))
    rows = NAP(k=2).fit(moved, clean).components_
    np.testing.assert_allclose(rows.T @ rows, vectors[:, -2:] @ vectors[:, -2:].T, atol=1e-8)
    all_of_them = NAP(k=10_000).fit(moved, clean)
    assert len(all_of_them.components_) == np.sum(values > 1e-10 * values.max())
    gone = all_of_them.transform(moved) - all_of_them.transform(clean)
    assert np.abs(gone).max() < 1e-6 * np.abs(moved - clean).max()
    # What is orthogonal to all displacements stays.
    left = np.linalg.norm(all_of_them.transform(clean)) / np.linalg.norm(clean)
    assert (left > 0.5) if size else (left < 1e-6)


@pytest.mark.parametrize("concept", ["rank", "effected"])
@pytest.mark.parametrize(("size", "shrinkage"), [({}, 0.0), ({}, 0.3), (WIDE, 0.3)])
def test_after_leace_no_linear_reader_beats_the_mean(concept, size, shrinkage):
    moved, clean = make(**size)
    leace = LEACE(concept, shrinkage).fit(moved, clean)
    rows, _ = rows_of(leace.transform(moved), leace.transform(clean))
    z = np.repeat([0, *([1] * 5 if concept == "effected" else [0.2, 0.4, 0.6, 0.8, 1])], len(clean))
    # Where a reader is worth anything at all its gradient at the mean is the covariance: there is none.
    covariance = (z - z.mean()) @ (rows - rows.mean(axis=0)) / len(z)
    assert np.abs(covariance).max() < 1e-9
    before, _ = rows_of(moved, clean)
    if not size:
        assert LinearRegression().fit(rows, z).score(rows, z) < 1e-9
        assert LinearRegression().fit(before, z).score(before, z) > 0.2


def test_leace_is_the_published_formula_and_changes_least():
    moved, clean = make()
    rows, _ = rows_of(moved, clean)
    z = np.repeat(np.arange(6) / 5, len(clean))[:, None]
    centred = rows - rows.mean(axis=0)
    sigma, cross = centred.T @ centred, centred.T @ (z - z.mean())
    w = np.linalg.inv(sqrtm(sigma).real)
    onto = w @ cross @ np.linalg.pinv(w @ cross)
    p = np.linalg.inv(w) @ onto @ w
    leace = LEACE(shrinkage=0).fit(moved, clean)
    np.testing.assert_allclose(leace.transform(rows), rows - centred @ p.T, atol=1e-8)
    # Any other map that guards as well moves the data more: the orthogonal one, and oblique ones.
    least = np.square(leace.transform(rows) - rows).sum()
    rng = np.random.default_rng(0)
    for reader in [cross, *(cross + 0.3 * np.linalg.norm(cross) * rng.standard_normal((20, 8, 1)) / 8**0.5)]:
        other = centred @ reader @ cross.T / (reader.T @ cross)
        assert np.abs((z - z.mean()).T @ (centred - other)).max() < 1e-6
        assert np.square(other).sum() > least


@pytest.mark.parametrize("size", [{}, WIDE])
def test_the_ridge_map_is_sklearns(size):
    moved, clean = make(**size)
    rows, clip = rows_of(moved, clean)
    fitted = RidgeMap(penalty=0.3).fit(moved, clean)
    centred = rows - rows.mean(axis=0)
    rank = np.linalg.matrix_rank(centred)
    assert fitted.alpha_ == pytest.approx(0.3 * np.square(centred).sum() / rank)
    reference = Ridge(alpha=fitted.alpha_).fit(rows, clean[clip] - rows)
    asked = np.random.default_rng(1).standard_normal((7, clean.shape[1]))
    np.testing.assert_allclose(fitted.transform(asked), asked + reference.predict(asked), atol=1e-8)
    # A strict penalty leaves the mean shift.
    np.testing.assert_allclose(
        RidgeMap(1e12).fit(moved, clean).transform(asked),
        asked + (clean[clip] - rows).mean(axis=0),
        atol=1e-8,
    )


def test_the_ridge_map_brings_back_what_was_linear():
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((200, 6))
    moved = (clean @ (np.eye(6) + 0.3 * rng.standard_normal((6, 6))) + 1)[None]
    only = np.vstack([moved[0][None]])
    fitted = RidgeMap(1e-9).fit(only, clean)
    # Blind to whether a clip is effected, it is a compromise between both; still nearer than nothing done.
    assert np.square(fitted.transform(moved) - clean).sum() < 0.5 * np.square(moved - clean).sum()


def test_linear_predictions_are_sklearns_and_tell_a_linear_effect_from_another():
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((90, 5))
    a = 0.5 * rng.standard_normal((5, 5))
    linear = np.stack([clean + clean @ a + 1, clean + 2 * clean @ a])
    bent = clean + np.stack([np.cos(4 * clean), np.sin(4 * clean[:, ::-1])])
    train, folds = np.arange(90) < 60, np.arange(60) // 4 % 3
    for trajectories, good in ((linear, True), (bent, False)):
        shift, predicted = linear_predictions(clean, trajectories, train, folds)
        moved = trajectories - clean
        np.testing.assert_allclose(shift[:, 0], moved[:, train].mean(axis=1))
        left = np.square(moved - predicted)[:, ~train].sum() / np.square(moved)[:, ~train].sum()
        assert left < 1e-3 if good else left > 0.5
    unit = np.square(clean[:60] - clean[:60].mean(axis=0)).sum() / 5
    reference = Ridge(alpha=0.01 * unit).fit(clean[:60], linear[0, :60] - clean[:60])
    np.testing.assert_allclose(
        linear_predictions(clean, linear, train, folds, [0.01])[1][0], reference.predict(clean)
    )


def test_augmentation_gives_versions_clip_by_clip():
    first, clean = make(strengths=6)
    second, _ = make(strengths=6, seed=1)
    np.testing.assert_array_equal(Augmentation(3).fit(first, clean).versions, first[[1, 3, 5]])
    both = Augmentation(2).fit(stack_effects([first, second], clean))
    np.testing.assert_array_equal(both.versions, np.stack([first[2], second[2], first[5], second[5]]))
    np.testing.assert_array_equal(both.transform(clean), clean)


def test_several_effects_are_one_set_of_versions():
    first, clean = make()
    second, _ = make(seed=1)
    both = NAP(10_000).fit(stack_effects([first, second + clean * 0], clean))
    for moved in (first, second):
        gone = both.transform(moved) - both.transform(clean)
        assert np.abs(gone).max() < 1e-5
    with pytest.raises(ValueError, match="clean embeddings"):
        LEACE().fit(first)


@pytest.mark.parametrize("name", [name for name in REMEDIES if name != "nap"])
def test_weights_pulled_back_score_as_remedied_embeddings_do(name):
    moved, clean = make(**WIDE)
    remedy = REMEDIES[name].factory().fit(moved, clean)
    weights = np.random.default_rng(0).normal(size=(2, 3, clean.shape[1]))
    pulled, shift = remedy.pull_back(weights)
    assert is_affine(remedy) and pulled.shape == weights.shape
    np.testing.assert_allclose(
        pulled @ clean.T + shift[..., None], weights @ remedy.transform(clean).T, rtol=1e-9, atol=1e-9
    )


def test_what_maps_in_its_own_way_is_not_affine():
    class Loud(WCCN):
        def transform(self, x):
            return np.sign(super().transform(x))

    assert is_affine(WCCN()) and not is_affine(Loud()) and not is_affine(NAP())


@pytest.mark.parametrize("name", list(REMEDIES))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_remedy_survives_its_file_and_the_cache(name, dtype, tmp_path, monkeypatch):
    moved, clean = (x.astype(dtype) for x in make(**WIDE))
    entry = REMEDIES[name]
    for setting in entry.settings:
        unfitted = entry.factory().set_params(**setting)
        assert clone(unfitted).get_params() == unfitted.get_params()
    fitted = unfitted.fit(moved, clean)
    assert fitted.transform(moved).dtype == dtype and fitted.transform(moved).shape == moved.shape
    to_npz(fitted, tmp_path / "remedy.npz")
    again = from_npz(tmp_path / "remedy.npz")
    assert type(again) is type(fitted) and again.get_params() == fitted.get_params()
    np.testing.assert_array_equal(again.transform(moved), fitted.transform(moved))
    monkeypatch.setattr("aesens.analysis.projections.PROJECTIONS", {name: entry})
    kept = from_states(states({name: {"pia": removes(fitted)}}))[name]["pia"]
    again = remove(moved, kept) if name == "nap" else kept.transform(moved)
    np.testing.assert_array_equal(again, fitted.transform(moved))


def test_wrong_use_is_named(tmp_path):
    moved, clean = make()
    with pytest.raises(ValueError, match="8 features"):
        LEACE().fit(moved, clean).transform(np.ones((2, 3)))
    with pytest.raises(ValueError, match="concept='speed'"):
        LEACE("speed").fit(moved, clean)
    with pytest.raises(ValueError, match="PCA is no remedy"):
        to_npz(PCA().fit(clean), tmp_path / "pca.npz")
    np.savez(tmp_path / "other.npz", rows=clean)
    with pytest.raises(ValueError, match="holds no remedy"):
        from_npz(tmp_path / "other.npz")


@pytest.mark.parametrize("name", list(REMEDIES))
def test_where_nothing_moves_nothing_is_done(name):
    _, clean = make()
    still = np.repeat(clean[None], 4, axis=0)
    after = REMEDIES[name].factory().fit(still, clean).transform(clean)
    if name != "whitening":
        np.testing.assert_allclose(after, clean, atol=1e-8)


def test_versions_share_their_decompositions():
    versions = Versions(*make())
    assert versions.within_spectrum is versions.within_spectrum
    a, b = NAP(3).fit(versions), NAP(3).fit(*make())
    np.testing.assert_array_equal(a.components_, b.components_)


# ---- the table -------------------------------------------------------------------------------------------------------

SMALL = {"songs": 12, "test_songs": 6, "clips_per_song": 1, "strengths": 3, "features": 16}


def two_effects(kind, **options):
    """The same clips under two effects of one kind, the second half as strong."""
    sizes = {"size": options.pop("size", 10.0)}
    first = synthetic_sweep(kind, **SMALL, **sizes, **options)
    second = synthetic_sweep(kind, **SMALL, size=sizes["size"] / 2, **options)
    return [first, replace(second, effect=replace(second.effect, name="other"))]


@pytest.fixture(scope="module")
def repaired():
    with threadpool_limits(1):
        return tables.remedies(two_effects("nuisance"), n_resamples=100, seed=0)


def test_remedies_help_where_a_nuisance_can_be_removed(repaired):
    pooled = repaired[(repaired["kind"] == "pooled") & (repaired["test"] == "effected")]
    assert (pooled["loss"] > 0.02).all()
    chosen = pooled[pooled["chosen"]]
    assert len(chosen) == 2 * 2 * 2
    assert (chosen["recovered"] > 0.7).all() and not chosen["control"].any()
    good = pooled[pooled["method"].isin(["wccn", "nap", "augmentation", "average"])]
    assert (good["recovered"] > 0.5).all()
    bad = pooled[pooled["method"].isin(["whitening"])]
    assert (bad["recovered"] < 0.5).all()


def test_every_method_has_its_rows(repaired):
    methods = {name for name in REMEDIES} | {"lda", "average", "pca", "npca", "cca", "CCA SVD"}
    assert set(repaired["method"]) == methods
    assert not repaired.duplicated(
        ["effect", "condition", "method", "metric", "kind", "test", "strength"]
    ).any()
    assert len(repaired) == 2 * 2 * len(methods) * 2 * (3 + 2)
    one = repaired.groupby(["effect", "condition"])
    assert (one["chosen"].sum() == 2 * (3 + 2)).all()
    for _, part in one:
        best = part.loc[~part["control"], "selection"].max()
        assert (part.loc[part["chosen"], "selection"] == best).all()
    assert (repaired["songs"] == 6).all()
    tested = repaired[~repaired["control"] & repaired["p"].notna()]
    assert (tested["p_holm"] >= tested["p"]).all() and repaired.loc[
        repaired["control"], "p_holm"
    ].isna().all()
    for setting in repaired["setting"].unique():
        assert isinstance(json.loads(setting), dict)


def test_the_tested_effect_and_the_test_songs_have_no_say_in_the_transfer(repaired):
    """With other trajectories of the tested effect, and of all test songs, what is fitted and chosen stays."""
    sweeps = two_effects("nuisance")
    rng = np.random.default_rng(0)
    changed = sweeps[0].trajectories + rng.standard_normal(sweeps[0].trajectories.shape).astype(np.float32)
    other = sweeps[1].trajectories.copy()
    other[:, sweeps[1].test] += 1
    swapped = [replace(sweeps[0], trajectories=changed), replace(sweeps[1], trajectories=other)]
    with threadpool_limits(1):
        again = tables.remedies(swapped, n_resamples=20, seed=0)
    what = ["method", "metric", "kind", "test", "strength", "setting", "selection", "chosen", "cost"]
    transfer = [
        table[(table["effect"] == sweeps[0].effect.name) & (table["condition"] == "transfer")][what]
        for table in (repaired, again)
    ]
    pd.testing.assert_frame_equal(*transfer)


def test_nothing_is_repaired_where_nothing_is_lost():
    with threadpool_limits(1):
        table = tables.remedies(two_effects("nothing"), n_resamples=20, seed=0)
    pooled = table[(table["kind"] == "pooled") & (table["test"] == "effected")]
    assert pooled["recovered"].isna().all() and (pooled["loss"].abs() < 0.01).all()
    mild = pooled[~pooled["method"].isin(["wccn", "whitening", "nap", "augmentation"])]
    assert (mild["change"].abs() < 0.06).all() and (pooled["p_holm"].dropna() > 0.05).all()


def test_too_few_songs_to_choose_take_first_settings():
    sweeps = [synthetic_sweep("nuisance", **SMALL | {"songs": 4, "test_songs": 2})]
    with threadpool_limits(1):
        table = tables.remedies(sweeps, n_resamples=20, seed=0)
    assert table["selection"].isna().all() and set(table["condition"]) == {"own"}
    assert set(table.loc[table["method"] == "wccn", "setting"]) == {json.dumps(REMEDIES["wccn"].settings[0])}
    assert set(table.loc[table["chosen"], "method"]) == {"lda"}
    with pytest.raises(ValueError, match="same clips"):
        tables.remedies(
            [sweeps[0], sweeps[0].take(np.arange(len(sweeps[0].clean)) != 1)], n_resamples=20, seed=0
        )


def test_a_method_from_outside_is_compared_too(monkeypatch):
    class Turned(LEACE):
        def transform(self, x):
            return super().transform(x)[..., ::-1]

    monkeypatch.setattr(projections, "PROJECTIONS", dict(projections.PROJECTIONS))
    projections.register_projection("turned", Turned, title="Turned round")
    sweeps = two_effects("nuisance")[:1]
    with threadpool_limits(1):
        table = tables.remedies(sweeps, n_resamples=20, seed=0)
        removed = tables.projected(sweeps[0], seed=0).set_index("projection")
    assert "turned" in set(table["method"])
    # Chapter 6 measures what its `transform` does, which moves everything.
    assert (removed.loc["turned", "dimension"] > 1).all() and (removed.loc["average", "dimension"] == 1).all()


def test_shares_removed_are_those_of_the_transform(monkeypatch):
    """A projection that hides its rows behind a `transform` of its own comes out as the same one that does not."""

    class Hidden(projections.Projection):
        def learn(self, parts):
            return parts.mean_displacement

        def transform(self, x):
            return projections.remove(x, self.components_)

    monkeypatch.setattr(projections, "PROJECTIONS", dict(projections.PROJECTIONS))
    projections.register_projection("hidden", Hidden)
    sweep = two_effects("nuisance")[0]
    removed = tables.projected(sweep, seed=0).set_index("projection")
    same = ["dimension", "effect_removed", "clean_removed"]
    np.testing.assert_allclose(removed.loc["hidden", same], removed.loc["average", same], atol=1e-5)
    results = tables.classification(sweep, n_resamples=20, seed=0)
    curves = results[results["kind"] == "curve"].set_index("projection")
    np.testing.assert_allclose(curves.loc["hidden", "roc_auc"], curves.loc["average", "roc_auc"], atol=1e-6)


def test_linearity_tells_what_all_share_from_what_is_linear():
    line = tables.linearity(synthetic_sweep("line", noise=0.5), n_resamples=50, seed=0)
    assert line["strength"].tolist() == [*range(6), -1]
    np.testing.assert_allclose(line["shift"], line["linear"], atol=0.05)
    assert (line["shift"].iloc[3:] > 0.9).all()
    scattered = tables.linearity(synthetic_sweep("scattered"), n_resamples=50, seed=0)
    assert (scattered["linear"] < 0.1).all() and (scattered["low"] <= scattered["high"]).all()
    assert tables.linearity(synthetic_sweep("still"), n_resamples=20, seed=0)["linear"].isna().all()


def test_pictures_show_every_method_and_effect(repaired):
    pooled = repaired[(repaired["kind"] == "pooled") & (repaired["test"] == "effected")]
    part = pooled[(pooled["condition"] == "transfer") & (pooled["metric"] == "roc_auc")]
    twin = part.assign(model="musicnn", pretrained=False)
    both = pd.concat([part.assign(model="musicnn", pretrained=True), twin])
    both["effect"] = both["effect"].map({"nuisance": "gain", "other": "reverb"})
    figure = plots.gain_and_cost(both, label="ROC-AUC")
    titles = {ax.get_title() for ax in figure.axes}
    assert {"WCCN", "Whitening (control)", "Augmentation", "CCA SVD"} <= titles
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"musicnn", "Untrained", "Gain", "Reverberation"} == labels
    # The arrow of WCCN under the first effect ends where the table says.
    (ax,) = (ax for ax in figure.axes if ax.get_title() == "WCCN")
    row = part[part["method"] == "wccn"].iloc[0]
    ends = [tuple(line.get_xydata()[-1]) for line in ax.lines if len(line.get_xydata()) == 2]
    assert any(np.allclose(end, (-100 * row["cost"], 100 * row["change"])) for end in ends)
    plt.close(figure)
    linear = tables.linearity(synthetic_sweep("line"), n_resamples=20, seed=0)
    linear = linear[linear["strength"] >= 0].assign(model="musicnn", pretrained=True, effect="lowpass")
    figure = plots.linearity_curves(linear)
    assert figure.axes[0].get_title() == "Low-pass filtering" and len(figure.axes[0].lines) == 3
    plt.close(figure)


def test_further_seeds_ask_for_the_transferred_method_alone():
    whole = tables.remedies(two_effects("nuisance"), n_resamples=50, seed=3)
    brief = tables.remedies(two_effects("nuisance"), n_resamples=50, seed=3, transferred=True)
    expected = whole[whole["chosen"] & (whole["condition"] == "transfer")].reset_index(drop=True)
    pd.testing.assert_frame_equal(brief.drop(columns="p_holm"), expected.drop(columns="p_holm"))
    with pytest.raises(ValueError, match="transferred from other effects"):
        tables.remedies(two_effects("nuisance")[:1], n_resamples=50, seed=3, transferred=True)
