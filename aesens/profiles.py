"""Profiles: how much of the study a run computes.

A profile is data. The demo computes the registry's two pretrained networks on all of its clips, and the three large
networks of the study on fewer clips and strengths, so that a newcomer's run ends within minutes on two cores; the
paper profile computes everything on IRMAS. Each notebook says which profile it shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["PROFILES", "Profile", "Scale", "profile"]


@dataclass(frozen=True)
class Scale:
    """How much a model is given.

    Attributes
    ----------
    strengths : int or None
        Strengths an effect, spread over the study's grid; None for the whole grid.
    excerpts : int or None
        Clips a song; None for all.
    songs : tuple of int or None
        Training and test songs an instrument; None for all.
    pictured : int or None
        Strengths an effect of the few clips whose trajectories are drawn, where those are to be finer than
        `strengths`; None for the same.

    Examples
    --------
    >>> Scale(strengths=3).songs is None
    True
    """

    strengths: int | None = None
    excerpts: int | None = None
    songs: tuple[int, int] | None = None
    pictured: int | None = None


@dataclass(frozen=True)
class Profile:
    """A run's default settings.

    Attributes
    ----------
    name : str
    purpose : str
        One line for ``--help``.
    data : str
        Dataset name or folder.
    data_options : dict
        For the dataset's loader.
    models, effects : tuple of str
    weights : {"auto", "pretrained", "untrained"}
    protocol : {"study", "float"}
        How effected audio reaches the networks, see `aesens.effects.PROTOCOLS`.
    model_options : dict of dict
        Options by model name, e.g. ``{"openl3": {"hop": 1.0}}``.
    scale : Scale
        For every model that `scales` does not name.
    scales : dict of Scale
        By model name.
    permutations : int
        Draws of each permutation null. The smallest p-value is 1 / (permutations + 1), which Holm's correction over
        the eleven instruments multiplies by 11: fewer than 220 draws can never show p < 0.05 for one of them.
    resamples : int
        Bootstrap resamples over songs.
    picture_clips : int
        Clips whose trajectories are drawn.
    n_folds : int
        Folds that songs are dealt into, of which the first is the test set; four in the study. A given split has none.
    appendices : bool
        Whether a run ends with the appendices, notebooks 80 to 89.
    seed : int
        Of the split, the untrained weights and every random draw.

    Examples
    --------
    >>> Profile("mine", "a question of my own", models=("yamnet",), scale=Scale(strengths=5)).seed
    20220419
    """

    name: str
    purpose: str
    data: str = "rendered"
    data_options: dict = field(default_factory=dict)
    models: tuple[str, ...] = ("openl3", "panns", "clap", "yamnet", "musicnn")
    effects: tuple[str, ...] = ("gain", "lowpass", "reverb", "bitcrush")
    weights: str = "auto"
    protocol: str = "study"
    model_options: dict = field(default_factory=dict)
    scale: Scale = Scale()
    scales: dict[str, Scale] = field(default_factory=dict)
    permutations: int = 500
    resamples: int = 10_000
    picture_clips: int = 11
    n_folds: int = 4
    appendices: bool = False
    seed: int = 20220419


_LARGE = ("openl3", "panns", "msclap", "clap")

#: The registry.
PROFILES: dict[str, Profile] = {
    entry.name: entry
    for entry in (
        Profile(
            "tiny",
            "a handful of rendered clips and three strengths, for the tests; about 2 minutes",
            data_options={"songs": 5, "excerpts": 1, "instruments": ("cel", "pia", "voi")},
            model_options={"openl3": {"hop": 1.5}},
            scale=Scale(strengths=3, pictured=4),
            scales={name: Scale(strengths=3, songs=(3, 1)) for name in _LARGE},
            permutations=20,
            resamples=200,
            picture_clips=3,
        ),
        Profile(
            "demo",
            "embedded: rendered clips, no download needed; about 15 minutes on 2 cores, 3 when repeated",
            data_options={"songs": 8, "excerpts": 2},
            model_options={"openl3": {"hop": 2.0, "center": False}},
            scale=Scale(strengths=6, pictured=16),
            scales={name: Scale(strengths=4, excerpts=1, songs=(2, 2)) for name in _LARGE},
        ),
        Profile(
            "paper",
            "the study itself: IRMAS, full grids, pretrained OpenL3, PANNs and CLAP 2023, three more models beside "
            "them; for a GPU or a cluster",
            data="irmas",
            models=("openl3", "panns", "msclap", "clap", "yamnet", "musicnn"),
            weights="pretrained",
            permutations=1000,
            appendices=True,
        ),
    )
}


def profile(name: str) -> Profile:
    """Return a profile by name; `ValueError` names the known ones otherwise.

    Examples
    --------
    >>> profile("tiny").scale.strengths
    3
    """
    if name not in PROFILES:
        raise ValueError(f"no profile named {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name]
