"""Figures and tables of a run, each with its provenance.

A figure is saved as png (screen resolution) and pdf (vector), a table as csv. Beside them, in ``provenance/``, a JSON
file (``NAME.json`` of a figure, ``NAME.csv.json`` of a table, for the two may share a name) says what made them:
profile, data set, models with their weights and whether these are pretrained, seed, package versions, commit and
notebook, caption. The same facts stand in the metadata of the png and pdf. No time stamp is written, so equal results
give equal files.

``run.json`` says which run a folder is of. What lies there from a run of other settings is kept, but it is not this
run's and is nowhere shown as such, see `of_run`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo

from aesens.cache import atomic_path, from_root
from aesens.effects import effect
from aesens.models.weights import WeightsError
from aesens.sources import commit, package_versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

__all__ = [
    "claim",
    "manifest",
    "of_run",
    "provenance",
    "provenance_path",
    "read_manifest",
    "read_table",
    "save_figure",
    "save_table",
    "with_other_runs",
]

# Columns of names, which stay texts whatever they look like: classes may be called 01 or nan.
_NAMES = ("model", "effect", "instrument", "projection", "clip", "song", "data", "path", "genre")

# Of 255 levels of a channel. Spectrograms stay below; a colour bar with a palette of 256 would show bands.
_UNSEEN = 8


def manifest(study) -> dict:
    """What tells the run of a study from others: profile, changed options, content of the data, weights.

    Its ``run`` is a hash of the others.
    """
    about = {
        "profile": study.profile.name,
        # Where a file lies is the machine's; what it holds is told below, or in the provenance.
        "settings": {name: _without_folder(value) for name, value in study.settings.changed.items()},
        "data": study.source.fingerprint,
        "weights": {name: _digest(study, name) for name in study.models},
    }
    whole = json.dumps([about, asdict(study.profile)], sort_keys=True, default=str)
    return about | {"run": hashlib.sha256(whole.encode()).hexdigest()[:16]}


def _without_folder(value):
    """A setting without the folder of a file that it names."""
    if isinstance(value, dict):
        return {key: _without_folder(part) for key, part in value.items()}
    return os.path.basename(value) if isinstance(value, str) and os.path.isabs(value) else value


def _digest(study, name: str) -> str:
    try:
        return study.model(name).weights.digest
    except WeightsError:  # an appendix names the models whose weights are not at hand
        return "not at hand"


def read_manifest(folder: Path) -> dict:
    """The manifest of a folder; empty if it has none, as one of an older version."""
    try:
        return json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise ValueError(f"{folder / 'run.json'} cannot be read: {error}; remove it") from error


def claim(folder: Path, manifest: dict) -> str:
    """Make a folder that of a run; says what is there of others and will not be shown, empty if there is nothing."""
    before = read_manifest(folder)
    if before != manifest:
        with atomic_path(folder / "run.json") as path:
            path.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    saved = [path for ending in ("png", "csv") for path in folder.glob(f"*.{ending}")]
    others = sum(provenance_path(path).exists() and not of_run(folder, path) for path in saved)
    changed = [key for key in manifest if key != "run" and before and before.get(key) != manifest[key]]
    why = f" (other {', '.join(changed)})" if changed else ""
    return f"results of another run{why}, kept and not shown: {others}" if others else ""


def of_run(folder: Path, saved: Path) -> bool:
    """Whether a figure or table in a folder is of the run that the folder is of; all are where no manifest says."""
    if not (run := read_manifest(folder).get("run")):
        return True
    try:
        return json.loads(provenance_path(saved).read_text(encoding="utf-8")).get("run") == run
    except OSError:
        return False
    except ValueError:  # damaged, as the report will say
        return True


def provenance(study, caption: str = "") -> dict:
    """What made a result of a study."""
    data = study.dataset
    return {
        "caption": caption,
        # What executes a notebook says which; JupyterLab does under a name of its own.
        "notebook": Path(os.environ.get("AESENS_NOTEBOOK") or os.environ.get("JPY_SESSION_NAME", "")).stem,
        "commit": commit(),
        "run": study.manifest["run"],
        "profile": study.profile.name,
        "seed": study.seed,
        "data_seed": study.data_seed,
        "weights_seed": study.weights_seed,
        "protocol": study.protocol,
        "split": study.split_origin,
        "data": {
            "name": data.name,
            "title": data.title,
            "clips": len(data),
            "fingerprint": data.fingerprint,
            "citation": data.citation,
            "licence": data.licence,
        },
        "effects": {name: effect(name).describe() for name in study.effects},
        "models": {
            name: {
                "weights": model.weights.source,
                "pretrained": model.weights.pretrained,
                "digest": model.weights.digest,
                "options": model.options(),
                "device": model.device.type,
                "precision": model.precision,
            }
            for name, model in ((name, study.model(name)) for name in study.models)
        },
        # With what the stored embeddings were made, which may be older than what analyses them.
        "embedded_with": study.made_with(),
        "packages": package_versions(),
    }


def provenance_path(saved: Path) -> Path:
    """Where the provenance of a saved figure or table lies, ``NAME.json`` or ``NAME.csv.json``."""
    ending = ".csv.json" if saved.suffix == ".csv" else ".json"
    return saved.parent / "provenance" / f"{saved.stem}{ending}"


def _write_provenance(saved: Path, provenance: dict) -> None:
    with atomic_path(provenance_path(saved)) as path:
        path.write_text(json.dumps(provenance, indent=1, sort_keys=True, default=str) + "\n")


def save_figure(figure: Figure, folder: Path, name: str, provenance: dict) -> None:
    """Save a figure as png and pdf with its provenance, whose ``caption`` doubles as the alternative text.

    What is there already, drawn by the code of the same clean commit, is not drawn a second time as a pdf: its
    provenance holds the hash of the pdf, under that name.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    folder : pathlib.Path
    name : str
        File name without ending.
    provenance : dict
        Facts about the run, such as JSON can hold.
    """
    summary = json.dumps(provenance, sort_keys=True, default=str)
    caption = provenance.get("caption", name)
    png = {"Title": name, "Description": caption, "Comment": summary, "Software": None}
    pdf = {"Title": name, "Subject": caption, "Keywords": summary, "CreationDate": None, "ModDate": None}
    # Imported here, for a run without figures needs none of it.
    from matplotlib import rc_context, rcParams

    from aesens.plots.fonts import lay_out

    # Laid out once for both files, each of which would do so again.
    lay_out(figure)
    box = figure.get_tightbbox().padded(rcParams["savefig.pad_inches"])
    with rc_context({"figure.constrained_layout.use": False}):
        figure.set_layout_engine(None)
        files = picture, drawing = [folder / f"{name}.{ending}" for ending in ("png", "pdf")]
        content = _png(figure, png, box)
        if not (provenance.get("commit", {}).get("clean") and _are_of(files, content)):
            with atomic_path(picture) as path:
                path.write_bytes(content)
            with atomic_path(drawing) as path:
                figure.savefig(path, metadata=pdf, bbox_inches=box)
    _write_provenance(picture, provenance | {"pdf": hashlib.sha256(drawing.read_bytes()).hexdigest()})


def _are_of(files: list[Path], content: bytes) -> bool:
    """Whether a picture is there, its provenance in it, and the pdf that was written with it, which takes longest."""
    picture, drawing = files
    with suppress(OSError, ValueError, KeyError):
        written = json.loads(provenance_path(picture).read_text(encoding="utf-8"))["pdf"]
        return picture.read_bytes() == content and hashlib.sha256(drawing.read_bytes()).hexdigest() == written
    return False


def _png(figure: Figure, metadata: dict, box: Bbox) -> bytes:
    """Without the transparency that no figure has, and with a palette where the eye cannot tell: far fewer bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", bbox_inches=box)
    picture = Image.open(drawn)
    about = PngInfo()
    for key, value in metadata.items():
        if value is not None:
            about.add_text(key, value)
    whole = picture.convert("RGB")
    # On a large ground an error of a few levels is a tint: such colours have places of their own in the palette.
    pixels, colours = np.asarray(whole), whole.getcolors(whole.width * whole.height)
    grounds = [colour for count, colour in colours if count > 0.01 * whole.width * whole.height]
    # Of Pillow's ways the one whose largest error is smallest.
    others = whole.quantize(256 - len(grounds), method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    palette, places = others.getpalette()[: 3 * (256 - len(grounds))], np.array(others)
    for place, ground in enumerate(grounds, len(palette) // 3):
        places[(pixels == ground).all(axis=2)] = place
    few = Image.fromarray(places, "P")
    few.putpalette(palette + np.ravel(grounds).tolist())
    largest = max(high for _, high in ImageChops.difference(whole, few.convert("RGB")).getextrema())
    chosen = few if largest <= _UNSEEN else whole
    content = io.BytesIO()
    chosen.save(content, format="png", optimize=True, pnginfo=about, dpi=picture.info["dpi"])
    return content.getvalue()


def save_table(table: pd.DataFrame, folder: Path, name: str, provenance: dict) -> None:
    """Save a table without its index as csv, floats to six significant digits, with its provenance."""
    with atomic_path(folder / f"{name}.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
    _write_provenance(folder / f"{name}.csv", provenance)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table that `save_table` wrote; names are texts, whatever they look like.

    Raises
    ------
    ValueError
        If it cannot be read.
    """
    try:
        # Of a text that is missing and one that is empty nothing is known apart.
        return pd.read_csv(path, dtype=dict.fromkeys(_NAMES, str), keep_default_na=False, na_values=[""])
    except ValueError as error:  # pandas' errors are such
        raise ValueError(f"{path} cannot be read: {error}") from error


def with_other_runs(folder: Path | None, name: str, table: pd.DataFrame) -> pd.DataFrame:
    """A table of a run followed by the table of the same name of every other run beside its folder.

    Parameters
    ----------
    folder : pathlib.Path or None
        Of the run; None for one that saves nothing, beside which are those below ``figures/``.
    name : str
        File name without ending.
    table : pandas.DataFrame
        With a column ``data``; tables of other runs on the same data, those without that column, which an older
        version wrote, and those that are not of their folder's run are left out.

    Returns
    -------
    pandas.DataFrame
        Where several other runs have the same data, ``data`` names the run too, so that it tells the runs apart.
        ``attrs["sources"]`` names the other runs, for the provenance of what is drawn of them, see
        `aesens.study.Study.figure`.
    """
    others = {}
    for path in sorted((folder.parent if folder else from_root("figures")).glob(f"*/{name}.csv")):
        if folder and path.parent.resolve() == folder.resolve() or not of_run(path.parent, path):
            continue
        other = read_table(path)
        if "data" in other and not set(other["data"]) & set(table["data"]):
            others[path] = other
    runs = pd.Series(
        [data for other in others.values() for data in set(other["data"])], dtype=str
    ).value_counts()
    parts, sources = [table], []
    for path, other in others.items():
        run, data = path.parent.name, sorted(set(other["data"]))
        labels = {title: f"{title} ({run})" if runs[title] > 1 else title for title in data}
        parts.append(other.assign(data=other["data"].map(labels)))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        sources.append({"run": run, "data": data, "table": path.name, "sha256": digest})
    joined = pd.concat(parts, ignore_index=True)
    joined.attrs["sources"] = sources
    return joined
