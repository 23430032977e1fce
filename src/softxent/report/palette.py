"""Colours for classes that stay apart for colour-blind eyes, on a white page and on a dark one."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

__all__ = ["Colour", "class_colours", "to_hex"]

Colour = tuple[int, int, int]

# Okabe and Ito's set without black and yellow, which vanish on one of the two pages.
_APART: dict[str, Colour] = {
    "blue": (0, 114, 178),
    "orange": (230, 159, 0),
    "green": (0, 158, 115),
    "purple": (204, 121, 167),
    "red": (213, 94, 0),
    "sky": (86, 180, 233),
}


def class_colours(names: Sequence[str]) -> list[Colour]:
    """One colour a class, as red, green and blue of 0 to 255.

    Classes that are called after colours get them: nobody could read a plot of red in blue.
    """
    called = [name.strip().lower() for name in names]
    if len(set(called)) == len(names) and _APART.keys() >= set(called):
        return [_APART[name] for name in called]
    if len(names) <= len(_APART):
        return list(_APART.values())[: len(names)]
    # No set of so many is safe for every eye: turns of the hue, neighbours of unlike lightness.
    return [_from_hls(i / len(names), (0.42, 0.62)[i % 2], 0.7) for i in range(len(names))]


def to_hex(colour: Colour) -> str:
    """As HTML writes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _from_hls(hue: float, lightness: float, saturation: float) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)
