"""Colours for classes that colour-blind readers can distinguish, on a light page and a dark one."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

__all__ = ["Colour", "class_colours", "to_hex"]

Colour = tuple[int, int, int]

# The palette of Okabe and Ito without black and yellow, which are invisible on one of the pages.
_PALETTE: dict[str, Colour] = {
    "blue": (0, 114, 178),
    "orange": (230, 159, 0),
    "green": (0, 158, 115),
    "purple": (204, 121, 167),
    "red": (213, 94, 0),
    "sky": (86, 180, 233),
}


def class_colours(names: Sequence[str]) -> list[Colour]:
    """One colour per class, as red, green and blue from 0 to 255.

    Classes that are named after colours get these: a plot of red points in blue misleads.
    """
    given = [name.strip().lower() for name in names]
    if len(set(given)) == len(names) and _PALETTE.keys() >= set(given):
        return [_PALETTE[name] for name in given]
    if len(names) <= len(_PALETTE):
        return list(_PALETTE.values())[: len(names)]
    # No palette of this size suits every eye: hues in equal steps, with alternating lightness.
    return [_from_hls(i / len(names), (0.42, 0.62)[i % 2], 0.7) for i in range(len(names))]


def to_hex(colour: Colour) -> str:
    """As HTML writes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _from_hls(hue: float, lightness: float, saturation: float) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)
