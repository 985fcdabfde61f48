"""What "large", "round", "near" and the like mean, as numbers; each is used in `conditions` only.

Sizes and stain differ between organs, scanners and laboratories, so that "large" and "dark" are
relative: to the nuclei of the classes asked for, in this image. With fewer than `FEW` of them they
are absolute. Shapes are absolute. Distances run from centre to centre, as in the measurements of
the microenvironment.
"""

from __future__ import annotations

__all__ = [
    "ALMOST_TOUCHING_UM",
    "CROWD",
    "CROWDED_UM",
    "DARK",
    "DARK_FEW",
    "DOUBTFUL",
    "ELONGATED",
    "FAR_BORDER_UM",
    "FAR_UM",
    "FEW",
    "IRREGULAR",
    "ISOLATED_UM",
    "LARGE",
    "LARGE_FEW_UM2",
    "NEAR_BORDER_UM",
    "NEAR_UM",
    "PALE_FEW",
    "REGULAR",
    "ROUND",
    "SMALL_FEW_UM2",
]

FEW = 20
"""With fewer nuclei of the classes asked for, a median says little."""

LARGE = 1.5
"""Large nuclei have at least this multiple of the median area, small ones at most its inverse, and
medium ones lie between: about one standard deviation of log area on either side."""

LARGE_FEW_UM2, SMALL_FEW_UM2 = 80.0, 30.0
"""Areas of large and small nuclei where few are there: circles of 10 and of 6 µm, the latter a
small lymphocyte."""

ROUND = 0.6
"""Largest eccentricity of a round nucleus: axes of 5 to 4."""

ELONGATED = 0.866
"""Least eccentricity of an elongated nucleus: axes of 2 to 1. What lies between is oval."""

IRREGULAR, REGULAR = 0.87, 0.90
"""Irregular nuclei have a solidity below the one, regular ones of at least the other; a smooth
ellipse has 0.91 and more once it is cut into pixels."""

DARK = 1.0
"""Dark nuclei lie at least so many robust standard deviations above the median darkness, pale ones
as many below."""

DARK_FEW, PALE_FEW = 1.2, 0.5
"""Mean optical densities of hematoxylin of dark and pale nuclei where few are there."""

DOUBTFUL = 0.5
"""Least doubt of a doubtful nucleus; see `session.review.doubts`."""

ISOLATED_UM = 20.0
"""An isolated nucleus has no other within this distance."""

CROWD, CROWDED_UM = 6, 15.0
"""A crowded nucleus has at least so many others within this distance."""

ALMOST_TOUCHING_UM = 0.5
"""Nuclei touch if nothing wider than this parts their pixels: a light microscope shows no less."""

NEAR_UM, FAR_UM = 20.0, 50.0
"""Where no distance is given: near is within the one of a nucleus, far beyond the other."""

NEAR_BORDER_UM, FAR_BORDER_UM = 50.0, 100.0
"""The same for the drawn border, on either side of it."""
