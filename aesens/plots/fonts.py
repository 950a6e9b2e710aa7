"""Fonts for names in any script: figures fall back on those installed, and say what none of them can write."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from matplotlib import rcParams
from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager, get_font
from matplotlib.text import Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cover", "lay_out"]

# Characters that are named where no font has them.
_SHOWN = 20


def lay_out(figure: Figure) -> None:
    """Lay a figure out, to be saved, in fonts that have its characters."""
    figure.draw_without_rendering()  # before that, ticks have no text
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    families = cover("".join(text.get_text() for text in texts))
    changed = False
    for text in texts:
        own = list(text.get_fontfamily())
        # One of another font keeps it.
        if own != families and own == families[: len(own)]:
            text.set_fontfamily(families)
            changed = True
    if changed:
        figure.draw_without_rendering()


def cover(characters: str) -> list[str]:
    """Give figures installed fonts for the characters that theirs lack; returns all families, in order.

    Says which characters no font has, once for this process and those that it starts.
    """
    told = os.environ.get("AESENS_BOXES", "")
    # What joins or directs others needs no glyph, and every font of a figure has ASCII.
    lacking = {one for one in characters if one.isprintable() and not one.isascii()} - {*told}
    families = list(rcParams["font.family"])
    for family in families if lacking else []:
        lacking -= _glyphs(findfont(FontProperties(family=[family])))
    installed = _installed() if lacking else {}
    while lacking:
        best = max(installed, key=lambda name: len(lacking & installed[name]))
        if not lacking & installed[best]:
            break
        families.append(best)
        # Of type 42, matplotlib writes fonts with outlines of PostScript's kind so that no reader draws them.
        rcParams["pdf.fonttype"] = 3
        lacking -= installed[best]
    rcParams["font.family"] = families
    if lacking:
        os.environ["AESENS_BOXES"] = told + "".join(lacking)
        more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
        print(
            f"figures show boxes for {' '.join(sorted(lacking)[:_SHOWN])}{more}: no installed font has them. Install "
            "one (for Chinese, Japanese and Korean e.g. fonts-noto-cjk) and run again",
            file=sys.stderr,
        )
    return families


def _installed() -> dict[str, set[str]]:
    """Characters of each family of installed fonts, those that came after matplotlib had listed them as well."""
    listed = {entry.fname for entry in fontManager.ttflist}
    for file in sorted({*findSystemFonts()} - listed):
        with suppress(OSError, RuntimeError, NotImplementedError):  # not one that matplotlib can draw
            fontManager.addfont(file)
    found = {}
    for entry in sorted(fontManager.ttflist, key=lambda entry: entry.fname):
        # One kind of font has for every character the box that says it is missing.
        if entry.name not in found and "lastresort" not in entry.name.replace(" ", "").lower():
            with suppress(OSError, RuntimeError):  # gone or damaged
                found[entry.name] = _glyphs(entry.fname)
    return found


def _glyphs(file: str) -> set[str]:
    return {chr(code) for code in get_font(file).get_charmap()}
