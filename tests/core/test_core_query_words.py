"""What is refused and why, slips of the keyboard, names of other schemes, and completions."""

from __future__ import annotations

import pytest

from napari_nucleus.core.classes import ClassScheme, NucleusClass
from napari_nucleus.core.query import Query, Unknown, completions, parse
from napari_nucleus.core.query.completing import OFFERED
from napari_nucleus.core.query.words import lexicon_of


def refusal(text, **options):
    found = parse(text, **options)
    assert isinstance(found, Unknown), found
    return str(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("liver", ["liver"]),
        ("large kidney nuclei near glands", ["kidney", "glands"]),
        ("endothelial cells", ["endothelial"]),
        ("Ki-67 positive nuclei", ["ki", "positive"]),
        ("Lymphozyten", ["lymphozyten"]),
        ("cellules tumorales", ["cellules", "tumorales"]),
        ("nucleos", ["nucleos"]),
        ("fibroblastos", ["fibroblastos"]),
        ("große Kerne", ["große", "kerne"]),
        ("ядра клеток", ["ядра", "клеток"]),
        ("细胞核", ["细胞核"]),
        ("round 🦠 nuclei", ["🦠"]),
        ("small cell carcinoma", ["small cell carcinoma"]),
        ("area > banana", ["banana"]),
        ("area > -5", ["-5"]),
    ],
)
def test_words_that_are_not_known_are_named(text, words):
    found = parse(text)
    assert isinstance(found, Unknown)
    assert list(found.words) == words
    assert all(word in str(found) for word in words)


def test_only_the_first_unknown_words_are_named_and_long_ones_are_cut():
    said = refusal("a1 bb cc dd ee ff gg hh " + "z" * 100)
    assert "more are not known" in said
    assert len(said) < 200
    assert "U+0007" in refusal("nuclei \x07")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nothing was typed"),
        ("  \n", "nothing was typed"),
        ("nuclei " * 1500, "10,500 letters"),
        ("please show me the", "neither nuclei nor"),
        ("larger than", "than"),
        ("larger than lymphocytes", "numbers"),
        ("area", "above, below or between"),
        ("80 µm²", "more or less"),
        ("within 20 of tumour", "needs a unit"),
        ("within 20 µm", "of or from what"),
        ("near", "“near” what"),
        ("not", "“not” what"),
        ("large and", "missing after “and”"),
        ("small large nuclei", "not large and small at once"),
        ("round but not round", "cannot be"),
        ("tumour but not tumour", "left out at once"),
        ("large or tumour nuclei", "“or” joins"),
        ("20-30 µm² or above 80 µm²", "“or” joins single"),
        ("stromal lymphocytes", "one class"),
        ("lymphocytes and large tumour nuclei", "one kind at a time"),
        ("lymphocytes touching small nuclei", "class only"),
        ("lymphocytes in the stroma", "near connective"),
        ("everything except small lymphocytes", "too much at once"),
        ("score above 2", "0 to 1"),
        ("area below 0", "smaller than nothing"),
        ("diameter above 12 µm²", "mixed up"),
        ("larger than 50 px", "pixel size is unknown"),
        ("is this cancer?", "questions"),
        ("all nuclei outside the image", "image"),
    ],
)
def test_what_has_no_meaning_is_refused_with_the_reason(text, why):
    assert why.split()[0] in refusal(text)
    said = refusal(text)
    assert why in said or "small and large" in said, said


def test_pixels_count_where_their_size_is_known():
    found = parse("larger than 100 px", mpp=0.5)
    assert isinstance(found, Query)
    assert found.notation() == "all area>25"
    assert parse("diameter over 20 pixels", mpp=0.5).notation() == "all diameter>10"
    assert parse("tumour within 40 px of lymphocytes", mpp=0.25).notation() == (
        "near:inflammatory<=10 neoplastic"
    )


@pytest.mark.parametrize(
    "text", ["neoplatic", "inflamatory", "epithelail", "lymphocites", "conective", "nuclie"]
)
def test_one_slip_in_a_longer_word_is_mended(text):
    assert isinstance(parse(text), Query)


@pytest.mark.parametrize(
    "text", ["martin", "stomal", "neurotic", "attacked", "breath", "smal", "tumeurs", "tumores"]
)
def test_other_words_are_not_taken_for_slips(text):
    assert isinstance(parse(text), Unknown)


def test_words_are_known_in_both_spellings_and_in_the_plural():
    lexicon = lexicon_of()
    for typed, known in (
        ("tumour", "tumor"),
        ("tumours", "tumor"),
        ("micrometres", "micrometer"),
        ("neighbours", "neighbor"),
        ("unlabelled", "unlabeled"),
        ("boundaries", "boundary"),
        ("masses", "mass"),
    ):
        assert lexicon.known(typed) == known


def test_classes_of_a_scheme_are_known_by_their_names():
    scheme = ClassScheme(
        "Own", (NucleusClass(1, "Mitosis", (0, 0, 0)), NucleusClass(2, "tumour bud", (9, 9, 9)))
    )
    assert parse("large mitosis", scheme).notation() == "Mitosis large"
    assert parse("near tumour buds", scheme).notation() == "all near:tumour bud"
    assert isinstance(parse("mitosis"), Unknown)


def test_the_line_says_how_it_was_understood():
    said = parse("show me lymphocytes that are smaller than 40 µm2").describe(312)
    assert said == "inflammatory nuclei, smaller than 40 µm²: 312"
    assert parse("nuclei").describe(1200) == "all nuclei: 1,200"
    text = "big round or oval tumour, no edge nuclei, area 30-50, within 20 um of TILs"
    assert parse(text).describe() == (
        "large, round or oval neoplastic nuclei, not at the image edge, area between 30 and 50 "
        "µm², within 20 µm of inflammatory nuclei"
    )


def test_either_of_two_conditions_is_said_so_that_it_is_understood_again():
    found = parse("nuclei that are not doubtful or else accepted")
    assert found.notation() == "-accepted -doubtful all"
    either = parse("high scoring or accepted nuclei")
    assert either.describe() == "nuclei, accepted or not doubtful"
    assert parse(either.describe()).notation() == either.notation()


class TestCompletions:
    """Words are offered as soon as one is begun."""

    def test_a_word_that_is_begun_is_offered(self):
        assert completions("small ly") == ["small lymphocytes"]
        assert completions("ne")[:3] == ["neoplastic", "necrotic", "near"]
        assert "near the border" in completions("near the")

    def test_nothing_is_offered_after_a_space_or_for_what_is_not_known(self):
        assert completions("") == []
        assert completions("large ") == []
        assert completions("liver") == []
        assert completions("lymphocytes") == []

    def test_classes_of_the_scheme_are_offered(self):
        scheme = ClassScheme("Own", (NucleusClass(1, "Mitosis", (0, 0, 0)),))
        assert completions("large mi", scheme) == ["large Mitosis"]

    def test_everything_that_is_offered_is_known(self):
        for offer in OFFERED:
            found = parse(f"{offer} 3" if "than" in offer else offer)
            assert not (isinstance(found, Unknown) and found.words), offer
