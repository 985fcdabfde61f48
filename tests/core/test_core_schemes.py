"""Colours that everybody can tell apart, and classes that go from one scheme to another."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import orjson
import pytest
from skimage.color import rgb2lab

from napari_nucleus.core.classes import PANNUKE, ClassScheme, NucleusClass
from napari_nucleus.core.schemes import (
    CONSEP,
    MONUSAC,
    SCHEMES,
    SYNONYMS,
    class_mapping,
    mapped_ids,
    mapped_probabilities,
    scheme_of_text,
    text_of_scheme,
)

VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
"""Dichromacy of full strength in linear RGB (Machado, Oliveira and Fernandes 2009)."""

STAINS = {
    "eosin": (231, 170, 200),
    "strong eosin": (214, 120, 170),
    "pale stroma": (243, 220, 232),
    "haematoxylin": (110, 70, 150),
    "pale haematoxylin": (150, 105, 175),
    "dark haematoxylin": (75, 45, 110),
}

APART = 19.0
"""Distance in CIELAB; 2 is just noticeable side by side, an outline is a pixel wide."""


def seen(color, vision):
    """CIELAB of a colour as somebody with this vision sees it."""
    rgb = np.array(color) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(VISIONS[vision] @ linear, 0, 1)
    rgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(rgb[None, None])[0, 0]


def colors_of(scheme):
    return {c.name: c.color for c in scheme.classes} | {"unclassified": scheme.unknown_color}


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_classes_are_told_apart_with_every_kind_of_colour_vision(scheme, vision):
    lab = {name: seen(color, vision) for name, color in colors_of(scheme).items()}
    for a, b in combinations(lab, 2):
        assert np.linalg.norm(lab[a] - lab[b]) > APART, f"{a} and {b}"


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_classes_stand_out_on_pink_and_purple(scheme, vision):
    for name, color in colors_of(scheme).items():
        for stain, ground in STAINS.items():
            distance = np.linalg.norm(seen(color, vision) - seen(ground, vision))
            assert distance > APART, f"{name} on {stain}"


def test_the_check_of_colours_notices_a_pair_that_is_confused():
    red, green = (213, 60, 0), (120, 110, 0)
    assert np.linalg.norm(seen(red, "normal") - seen(green, "normal")) > APART
    assert np.linalg.norm(seen(red, "deuteranopia") - seen(green, "deuteranopia")) < APART


def test_the_schemes_have_the_classes_of_their_data_sets():
    assert set(SCHEMES) == {"PanNuke", "CoNSeP", "MoNuSAC"}
    assert CONSEP.names == ("other", "inflammatory", "epithelial", "spindle-shaped")
    assert MONUSAC.names == ("epithelial", "lymphocyte", "macrophage", "neutrophil")
    for scheme in SCHEMES.values():
        assert [c.key for c in scheme.classes] == [str(c.id) for c in scheme.classes]


def named(source, target):
    mapping = class_mapping(source, target)
    return {source.name_of(a): target.name_of(b) for a, b in mapping.items()}


def test_pannuke_goes_to_consep_by_name_then_by_synonym():
    assert named(PANNUKE, CONSEP) == {
        "neoplastic": "epithelial",
        "inflammatory": "inflammatory",
        "connective": "spindle-shaped",
        "dead": "other",
        "epithelial": "epithelial",
    }


def test_what_monusac_cannot_tell_from_pannuke_becomes_unclassified():
    assert named(PANNUKE, MONUSAC) == {
        "neoplastic": "epithelial",
        "inflammatory": "unclassified",
        "connective": "unclassified",
        "dead": "unclassified",
        "epithelial": "epithelial",
    }
    assert named(MONUSAC, PANNUKE)["lymphocyte"] == "inflammatory"
    assert named(CONSEP, PANNUKE)["other"] == "unclassified"


def test_what_the_user_decided_goes_before_the_rule():
    decided = replace(MONUSAC, taken_in=(("inflammatory", 2), ("neoplastic", 0)))
    assert named(PANNUKE, decided)["inflammatory"] == "lymphocyte"
    assert named(PANNUKE, decided)["neoplastic"] == "unclassified"
    assert named(PANNUKE, decided)["epithelial"] == "epithelial"


def test_names_are_compared_without_regard_to_case():
    own = ClassScheme("own", (NucleusClass(7, "Inflammatory", (0, 0, 0)),))
    assert class_mapping(PANNUKE, own)[2] == 7
    assert class_mapping(own, PANNUKE) == {7: 2}


def test_a_scheme_maps_to_itself_by_id():
    assert class_mapping(PANNUKE, PANNUKE) == {i: i for i in PANNUKE.ids}


def test_synonyms_name_no_class_twice_and_never_itself():
    for name, others in SYNONYMS.items():
        assert name == name.casefold()
        assert name not in others
        assert len(set(others)) == len(others)


def test_ids_are_mapped_and_unknown_ones_become_unclassified():
    ids = mapped_ids(np.array([0, 1, 2, 77, 255, 300, -1]), {1: 3, 2: 0})
    assert ids.tolist() == [0, 3, 0, 0, 0, 0, 0]


def test_probabilities_of_classes_that_become_one_are_added():
    prob = np.array([[0.3, 0.4, 0.0, 0.0, 0.3]], np.float32)
    ids, sums = mapped_probabilities(prob, PANNUKE, CONSEP)
    assert ids.tolist() == [3], "epithelial, though inflammatory was the likeliest of the five"
    assert np.allclose(sums, [[0, 0.4, 0.6, 0]])


def test_a_nucleus_that_is_most_likely_of_no_class_here_is_unclassified():
    prob = np.array([[0.1, 0.8, 0.0, 0.0, 0.1], [0.4, 0.3, 0.0, 0.0, 0.3]], np.float32)
    ids, sums = mapped_probabilities(prob, PANNUKE, MONUSAC)
    assert ids.tolist() == [0, 1]
    assert np.allclose(sums, [[0, 0, 0, 0], [0.7, 0, 0, 0]])
    assert MONUSAC.ids_of_probabilities(sums).tolist() == [0, 1]


def test_probabilities_of_the_same_scheme_are_left_as_they_are():
    prob = np.array([[0.1, 0.8, 0.0, 0.0, 0.1], [0, 0, 0, 0, 0]])
    ids, same = mapped_probabilities(prob, PANNUKE, PANNUKE)
    assert ids.tolist() == [2, 0]
    assert same is prob
    with pytest.raises(ValueError, match="3 class columns"):
        mapped_probabilities(prob[:, :3], PANNUKE, CONSEP)


@pytest.mark.parametrize(
    "scheme", [*SCHEMES.values(), replace(MONUSAC, name="Ä", taken_in=(("inflammatory", 2),))]
)
def test_a_scheme_is_the_same_after_it_was_written(scheme):
    assert scheme_of_text(text_of_scheme(scheme)) == scheme


def test_the_text_is_for_people():
    first = orjson.loads(text_of_scheme(CONSEP))["classes"][0]
    assert first == {"id": 1, "name": "other", "color": "#141414", "key": "1"}


def test_the_list_that_older_projects_have_is_read():
    old = '["two",[[1,"a",[1,2,3],"1"],[9,"b",[4,5,6],""]],[7,8,9]]'
    assert scheme_of_text(old) == ClassScheme(
        "two",
        (NucleusClass(1, "a", (1, 2, 3), "1"), NucleusClass(9, "b", (4, 5, 6))),
        (7, 8, 9),
    )


GOOD = orjson.loads(text_of_scheme(CONSEP))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"name": "x"}, "classes"),
        (GOOD | {"unclassified": "yellow"}, "yellow"),
        (GOOD | {"classes": [GOOD["classes"][0] | {"id": 1.5}]}, "class scheme"),
        (GOOD | {"classes": GOOD["classes"][:1] * 2}, "repeats the class id 1"),
        (GOOD | {"classes": [GOOD["classes"][0] | {"name": 3}]}, "class scheme"),
        (GOOD | {"taken_in": {"a": 9}}, "no class"),
        (GOOD | {"name": " "}, "no name"),
        (3, "class scheme"),
        ([1, 2], "unpack"),
    ],
)
def test_a_text_that_is_no_scheme_is_refused(value, says):
    with pytest.raises(ValueError, match=says):
        scheme_of_text(orjson.dumps(value))
    with pytest.raises(ValueError):
        scheme_of_text("not even JSON")


def test_names_and_keys_differ_whatever_their_case():
    a = NucleusClass(1, "Tumour", (0, 0, 0), "1")
    with pytest.raises(ValueError, match="repeats the class name 'tumour'"):
        ClassScheme("x", (a, NucleusClass(2, "tumour", (0, 0, 0))))
    with pytest.raises(ValueError, match="repeats the class key '1'"):
        ClassScheme("x", (a, NucleusClass(2, "b", (0, 0, 0), "1")))


def test_classes_are_found_by_key():
    assert CONSEP.by_key("3") is CONSEP.by_id(3)
    assert CONSEP.by_key("9") is None
    assert ClassScheme("x", (NucleusClass(1, "a", (0, 0, 0)),)).by_key("") is None
