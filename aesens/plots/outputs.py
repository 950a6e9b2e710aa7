"""Figures and tables of a run, each with its provenance.

A figure is saved as png (screen resolution) and pdf (vector), a table as csv. Beside them, in ``provenance/``, a JSON
file (``NAME.json`` of a figure, ``NAME.csv.json`` of a table, for the two may share a name) says what made them:
profile, data set, models with their weights and whether these are pretrained, seed, package versions, caption. The same
facts stand in the metadata of the png and pdf. No time stamp is written, so equal results give equal files.
"""

from __future__ import annotations

import io
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo

from aesens.cache import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["package_versions", "provenance_path", "save_figure", "save_table"]

_PACKAGES = (
    "aesens",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "torch",
    "transformers",
    "pedalboard",
    "soxr",
    "symusic",
    "umap-learn",
    "xarray",
    "zarr",
)

# Of 255 levels of a channel. Spectrograms stay below; a colour bar with a palette of 256 would show bands.
_UNSEEN = 8


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def provenance_path(saved: Path) -> Path:
    """Where the provenance of a saved figure or table lies, ``NAME.json`` or ``NAME.csv.json``."""
    ending = ".csv.json" if saved.suffix == ".csv" else ".json"
    return saved.parent / "provenance" / f"{saved.stem}{ending}"


def _provenance(saved: Path, provenance: dict) -> None:
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
    _provenance(folder / f"{name}.png", provenance)


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
    _provenance(folder / f"{name}.csv", provenance)
