"""Figures and tables of a run, each with its provenance.

A figure is saved as png (screen resolution) and pdf (vector), a table as csv. Beside them, in ``provenance/``, a JSON
file (``NAME.json`` of a figure, ``NAME.csv.json`` of a table, for the two may share a name) says what made them:
profile, data set, models with their weights and whether these are pretrained, seed, package versions, caption. The same
facts stand in the metadata of the png and pdf. No time stamp is written, so equal results give equal files.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo

from aesens.cache import atomic_path
from aesens.effects import effect
from aesens.sources import package_versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["provenance", "provenance_path", "save_figure", "save_table", "with_other_runs"]

# Of 255 levels of a channel. Spectrograms stay below; a colour bar with a palette of 256 would show bands.
_UNSEEN = 8


def provenance(study, caption: str = "") -> dict:
    """What made a result of a study."""
    data = study.dataset
    return {
        "caption": caption,
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
    with atomic_path(folder / f"{name}.png") as path:
        _save_png(figure, path, png)
    with atomic_path(folder / f"{name}.pdf") as path:
        figure.savefig(path, metadata=pdf)
    _write_provenance(folder / f"{name}.png", provenance)


def _save_png(figure: Figure, path: Path, metadata: dict) -> None:
    """Without the transparency that no figure has, and with a palette where the eye cannot tell: far fewer bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    picture = Image.open(drawn)
    about = PngInfo()
    for key, value in metadata.items():
        if value is not None:
            about.add_text(key, value)
    whole = picture.convert("RGB")
    # Of Pillow's ways the one whose largest error is smallest.
    few = whole.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    largest = max(high for _, high in ImageChops.difference(whole, few.convert("RGB")).getextrema())
    chosen = few if largest <= _UNSEEN else whole
    chosen.save(path, optimize=True, pnginfo=about, dpi=picture.info["dpi"])


def save_table(table: pd.DataFrame, folder: Path, name: str, provenance: dict) -> None:
    """Save a table without its index as csv, floats to six significant digits, with its provenance."""
    with atomic_path(folder / f"{name}.csv") as path:
        table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
    _write_provenance(folder / f"{name}.csv", provenance)


def with_other_runs(folder: Path, name: str, table: pd.DataFrame) -> pd.DataFrame:
    """A table of a run followed by the table of the same name of every other run beside its folder.

    Parameters
    ----------
    folder : pathlib.Path
        Of the run.
    name : str
        File name without ending.
    table : pandas.DataFrame
        With a column ``data``; tables of other runs on the same data, and those without that column, which an
        older version wrote, are left out.

    Returns
    -------
    pandas.DataFrame
        ``attrs["sources"]`` names the other runs, for the provenance of what is drawn of them, see
        `aesens.study.Study.figure`.
    """
    parts, sources = [table], []
    for path in sorted(folder.parent.glob(f"*/{name}.csv")):
        other = pd.read_csv(path)
        if path.parent.resolve() == folder.resolve() or "data" not in other:
            continue
        if not set(other["data"]) & set(table["data"]):
            parts.append(other)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            run = {"run": path.parent.name, "data": sorted(set(other["data"]))}
            sources.append({**run, "table": path.name, "sha256": digest})
    joined = pd.concat(parts, ignore_index=True)
    joined.attrs["sources"] = sources
    return joined
