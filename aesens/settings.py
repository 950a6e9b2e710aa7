"""What a run computes: its profile and its options, in one place for command line, notebooks and Python.

A profile is data. The demo computes the registry's two pretrained networks on all of its clips, and the three large
networks of the study on fewer clips and strengths, so that a newcomer's run ends within minutes on two cores; the
paper profile computes everything on IRMAS. Each notebook says which profile it shows.

An option is one entry in `OPTIONS`: its flag on the command line, its check and its line of ``--help``. Notebooks take
it in their parameter ``options``, a dictionary that goes to `aesens.study.Study`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from aesens import data, models
from aesens.analysis.parallel import cores
from aesens.cache import from_root
from aesens.data.folder import composed
from aesens.effects import PROTOCOLS, effect
from aesens.models.base import POOLINGS
from aesens.models.policies import POLICIES
from aesens.models.precision import PRECISIONS
from aesens.sources import execute_additions

__all__ = ["OPTIONS", "PROFILES", "Option", "Profile", "Scale", "Settings", "absolute"]


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
    purpose : str
        One line for ``--help``.
    data, data_options : str, dict
        Name of a data set, or a folder; options of its loader.
    model_options : dict of dict
        By model, e.g. ``{"openl3": {"hop": 1.0}}``.
    scale, short : Scale
        Of the run's models, and of those that stand `beside` them.
    n_permutations : int
        Draws of each permutation null, of joint orders only where there are too many to take all. The smallest p-value
        is 1 / (n_permutations + 1), which Holm's correction over the eleven instruments multiplies by 11: fewer than
        220 draws can never show p < 0.05 for one of them.
    n_resamples : int
        Bootstrap resamples over songs.
    twins : bool
        Whether each pretrained model stands beside its twin, the same network untrained, in every chapter.
    beside : tuple of str
        Models that only chapter 3 shows beside the profile's own; with models of the run's own, none.
    picture_clips : int
        Clips whose trajectories are drawn.
    n_folds : int
        Folds that songs are dealt into, of which the first is the test set; four in the study. A given split has none.
    appendices : bool
        Whether a run ends with the appendices, notebooks 80 to 89.
    seed, data_seed, weights_seed : int
        Of the split and every random draw of the analysis; of rendered music; of untrained weights. The first costs no
        embedding.
    seeds : int
        Seeds, from `seed` on, whose verdicts on the claims must agree.

    The others are run options, see `OPTIONS`.
    """

    name: str
    purpose: str
    data: str = "rendered"
    data_options: dict = field(default_factory=dict)
    models: tuple[str, ...] = ("yamnet", "musicnn")
    effects: tuple[str, ...] = ("gain", "lowpass", "reverb", "bitcrush")
    weights: str = "auto"
    protocol: str = "study"
    model_options: dict = field(default_factory=dict)
    scale: Scale = Scale()
    short: Scale = Scale(strengths=2, songs=(2, 1), pictured=2)
    n_permutations: int = 500
    n_resamples: int = 10_000
    twins: bool = False
    beside: tuple[str, ...] = ()
    picture_clips: int = 11
    n_folds: int = 4
    appendices: bool = False
    seed: int = 20220419
    seeds: int = 5
    data_seed: int = 20220419
    weights_seed: int = 20220419


_LARGE = ("openl3", "panns", "msclap", "clap")

#: The registry.
PROFILES: dict[str, Profile] = {
    entry.name: entry
    for entry in (
        Profile(
            "tiny",
            "a handful of rendered clips, two effects and four strengths, for the tests; about 2 minutes",
            data_options={"songs": 5, "excerpts": 1, "instruments": ("cel", "pia", "voi")},
            model_options={"openl3": {"hop": 1.5}},
            effects=("lowpass", "bitcrush"),
            scale=Scale(strengths=4, pictured=5),
            twins=True,
            beside=_LARGE,
            n_permutations=20,
            n_resamples=200,
            picture_clips=3,
            seeds=2,
        ),
        Profile(
            "demo",
            "embedded: rendered clips, no download needed; about 10 minutes on 2 cores, 2 when repeated",
            # Six test songs an instrument: of fewer an interval over songs would be no interval.
            data_options={"songs": 12, "excerpts": 1},
            n_folds=2,
            model_options={"openl3": {"hop": 2.0, "center": False}},
            scale=Scale(strengths=6, pictured=16),
            twins=True,
            beside=_LARGE,
        ),
        Profile(
            "paper",
            "the study itself: IRMAS, full grids, pretrained OpenL3, PANNs and CLAP 2023, three more models beside "
            "them; for a GPU or a cluster",
            data="irmas",
            models=("openl3", "panns", "msclap", "clap", "yamnet", "musicnn"),
            weights="pretrained",
            n_permutations=1000,
            appendices=True,
            seeds=1,
        ),
    )
}


@dataclass(frozen=True)
class Option:
    """A run option: how it is given, what it is checked against, what it says in ``--help``.

    Attributes
    ----------
    help : str
    check : callable
        ``check(value, settings) -> value``: the value to use, of what was given (None if nothing was) and of the
        options above it in `OPTIONS`. Raises `ValueError` if it makes no sense.
    flag : dict
        How the command line takes it: keywords of `argparse.ArgumentParser.add_argument`.
    counts : bool
        Whether results depend on it, see `Settings.changed`.
    """

    help: str
    check: Callable
    flag: dict = field(default_factory=dict)
    counts: bool = True


class Settings:
    """A profile with the run's own options, checked: an attribute for each of `OPTIONS`. None counts as not given.

    Attributes
    ----------
    changed : dict
        What results depend on and is not the profile's own, such as JSON can hold: options by name, and under
        ``with`` the hashes of the user's files.

    Raises
    ------
    ValueError
        If there is no such option, or a value makes no sense.

    Examples
    --------
    >>> settings = Settings("tiny", models="yamnet,yamnet", seed="7")
    >>> settings.models, settings.seed, settings.protocol
    (['yamnet'], 7, 'study')
    """

    def __init__(self, profile: str | Profile = "demo", **options):
        execute_additions()
        if unknown := [name for name in options if name not in OPTIONS]:
            raise ValueError(f"there is no run option {unknown[0]!r}; there are {', '.join(OPTIONS)}")
        if isinstance(profile, str) and profile not in PROFILES:
            raise ValueError(f"no profile named {profile!r}; there are {', '.join(PROFILES)}")
        self.profile = PROFILES[profile] if isinstance(profile, str) else profile
        self.changed = {}
        for name, option in OPTIONS.items():
            value = option.check(options.get(name), self)
            setattr(self, name, value)
            if option.counts and value != option.check(None, self):
                self.changed[name] = json.loads(json.dumps(value, default=str))
        if files := os.environ.get("AESENS_WITH"):
            contents = [from_root(path).read_bytes() for path in filter(None, files.split(os.pathsep))]
            self.changed["with"] = [hashlib.sha256(content).hexdigest() for content in contents]
        # Beside models that were asked for stands nothing else.
        shown = () if options.get("models") else self.profile.beside
        self.beside = [name for name in shown if name not in self.models]

    @property
    def folder(self) -> Path:
        """Where a run's figures and tables go unless it is told: a folder of its own where anything is `changed`."""
        name = self.profile.name
        if self.changed:
            name += f"-{hashlib.sha256(json.dumps(self.changed, sort_keys=True).encode()).hexdigest()[:8]}"
        return from_root(Path("figures") / name)


def absolute(text: str) -> str:
    """A path as it is meant where the command is given; run_all.sh, which goes elsewhere, says where that was."""
    return os.path.abspath(os.path.join(os.environ.get("AESENS_FROM", ""), os.path.expanduser(text)))


def _model_names(text: str) -> str:
    """Names of models, among which may be ``hear:path/to/file.py``."""
    parts = (part.strip().partition(":") for part in text.split(","))
    return ",".join(
        f"{name}:{absolute(place) if place.endswith('.py') else place}" if mark else name
        for name, mark, place in parts
    )


def _weights_paths(text: str) -> str:
    """Paths of weights, each alone or after its model and a sign of equality, which paths may hold too."""
    found = []
    for part in map(str.strip, text.split(",")):
        model, mark, path = part.partition("=")
        named = mark and not os.path.exists(part) and (model in models.MODELS or model.startswith("hear"))
        found.append(f"{_model_names(model)}={absolute(path)}" if named else absolute(part))
    return ",".join(found)


def _listed(value) -> list[str]:
    """A list from a list or a comma-separated text, each name once; empty from nothing."""
    parts = value.split(",") if isinstance(value, str) else value or ()
    # Classes may be called by numbers, which reach here as such from a notebook.
    return list(dict.fromkeys(text for part in parts if (text := composed(str(part).strip()))))


def _choice(name: str, choices: Iterable[str], default: str | None = None) -> Callable:
    """A check that takes one of some words; the profile's by default."""

    def check(value, settings):
        value = value or default or getattr(settings.profile, name)
        if value not in choices:
            raise ValueError(f"{name}={value!r} is not one of {', '.join(choices)}")
        return value

    return check


def _models(value, settings) -> list[str]:
    names = _listed([models.canonical_name(name) for name in _listed(value) or settings.profile.models])
    for name in names:
        if name not in models.MODELS:
            raise ValueError(f"no model named {name!r}; there are {', '.join(models.MODELS)}")
    return names


def _effects(value, settings) -> list[str]:
    names = _listed(value) or list(settings.profile.effects)
    for name in names:
        effect(name)
    return names


def _data(value, settings) -> str:
    value = str(value or settings.profile.data)
    # The name of a data set means the data set, whatever folders there are; see `aesens.data.load_dataset`.
    if value not in data.DATASETS and (folder := from_root(value)).is_dir():
        return str(folder)
    return value


def _twins(value, settings) -> bool:
    words = {"yes": True, "no": False, True: True, False: False, None: settings.profile.twins}
    if value not in words:
        raise ValueError(f"twins={value!r} is neither yes nor no")
    return words[value]


def _seed(name: str) -> Callable:
    """A check of one of the seeds."""

    def check(value, settings) -> int:
        seed = getattr(settings.profile, name) if value is None else int(value)
        if not 0 <= seed < 2**32:
            raise ValueError(f"{name}={value} is not between 0 and 2**32 - 1")
        return seed

    return check


def _jobs(value, settings) -> int:
    jobs = cores() if value is None else int(value)
    if jobs < 1:
        raise ValueError(f"jobs={value} is less than one thread; leave it out for all cores")
    return jobs


def _precision(value, settings) -> str:
    value = _choice("precision", PRECISIONS, "float32")(value, settings)
    if settings.backend == "reference" and value != "float32":
        raise ValueError("backend='reference' computes in float32 alone; leave the precision out")
    return value


def _weights_file(given, settings) -> dict[str, Path]:
    """Weights files by model, from ``"path"`` where there is one model, or from ``"model=path"``."""
    chosen, named = settings.models, {}
    for part in os.fspath(given or "").split(","):
        # Official names hold signs of equality too, so only what begins with a model is taken as one.
        model, _, path = part.strip().partition("=")
        if path and models.canonical_name(model) in chosen:
            named[models.canonical_name(model)] = from_root(path)
    if named or not given:
        return named
    if len(chosen) != 1:
        raise ValueError(
            f"the weights file {given} could be that of any of {', '.join(chosen)}: choose one with --models, or say "
            f"--weights-file {chosen[0]}={given}"
        )
    return {chosen[0]: from_root(given)}


def _device(value, settings) -> str | None:
    # What the command line tells the kernels: the embeddings are made elsewhere, and read here.
    elsewhere = settings.scheduler or os.environ.get("AESENS_SCHEDULER")
    models.choose_device(value, here=not elsewhere)
    return value


#: Every run option, for the command line, for ``options`` of a notebook and for `aesens.study.Study` alike. Each is
#: checked after those above it.
OPTIONS: dict[str, Option] = {
    "models": Option(
        "models instead of the profile's; your own: hear:module or hear:path/to/file.py (HEAR 2021 API)",
        _models,
        {"type": _model_names, "metavar": "A,B"},
    ),
    "effects": Option("effects instead of the profile's", _effects, {"metavar": "A,B"}),
    "instruments": Option(
        "classes instead of all of them", lambda value, _: _listed(value) or None, {"metavar": "A,B"}
    ),
    "weights": Option(
        "see the README; default: the profile's", _choice("weights", POLICIES), {"choices": POLICIES}
    ),
    "twins": Option(
        "whether each pretrained model stands beside its twin, the same network untrained; default: the profile's",
        _twins,
        {"choices": ("yes", "no")},
    ),
    "data": Option(
        "rendered, irmas, or a folder (IRMAS layout, or one folder a class)", _data, {"metavar": "PATH"}
    ),
    "split": Option(
        "a given split: a csv file with the columns file_name and split (train, test), and perhaps instrument and "
        "genre, such as the authors' train_test_split.csv",
        lambda value, _: from_root(value) if value else None,
        {"type": absolute, "metavar": "FILE"},
    ),
    "protocol": Option(
        "how effected audio reaches the networks: through a 16-bit file, as in the study (default), or as it is",
        _choice("protocol", PROTOCOLS),
        {"choices": PROTOCOLS},
    ),
    "weights_file": Option(
        "weights of your own for the model named by --models, or MODEL=FILE, comma-separated for several",
        _weights_file,
        {"type": _weights_paths, "metavar": "FILE"},
    ),
    "backend": Option(
        "reference: OpenL3, PANNs and CLAP computed by the packages openl3, panns_inference and laion_clap",
        _choice("backend", models.BACKENDS, "aesens"),
        {"choices": models.BACKENDS},
    ),
    "pooling": Option(
        "of a clip's frames; default: mean, as in the study",
        _choice("pooling", POOLINGS, "mean"),
        {"choices": tuple(POOLINGS)},
    ),
    "precision": Option(
        "of the networks; default: float32. The others are for GPUs, faster and coarser",
        _precision,
        {"choices": PRECISIONS},
    ),
    "seed": Option("of the split and every random draw of the analysis", _seed("seed"), {"type": int}),
    "data_seed": Option(
        "of rendered music; another one is other music, embedded anew", _seed("data_seed"), {"type": int}
    ),
    "weights_seed": Option(
        "of untrained weights; other ones are embedded anew", _seed("weights_seed"), {"type": int}
    ),
    "jobs": Option("threads; default: all cores", _jobs, {"type": int}, counts=False),
    "scheduler": Option(
        "spread the extraction over a Dask cluster: tcp://host:port, a scheduler file, or slurm:N for N workers "
        "through dask-jobqueue",
        lambda value, _: value,
        {"metavar": "ADDRESS"},
        counts=False,
    ),
    "device": Option(
        "torch device, e.g. cuda; default: CUDA where there is one, else the CPU; with --scheduler, what its workers "
        "have",
        _device,
        counts=False,
    ),
    "out": Option(
        "folder of figures and tables; default: figures/PROFILE, or with options that change the results "
        "figures/PROFILE-HASH",
        lambda value, _: from_root(value) if value else None,
        {"type": absolute, "metavar": "PATH"},
        counts=False,
    ),
}
