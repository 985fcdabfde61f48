"""The text: every number in it is a feature, and no word goes beyond what was told apart."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tme_helpers import cells_at, changed, random_cells, some_cells, worked_example

from napari_nucleus.core.narrative import narrate
from napari_nucleus.core.narrative_llm import (
    NarrativeLLM,
    narrate_with,
    narrative_prompt,
    unfounded_numerals,
)
from napari_nucleus.core.tme import TmeSettings, features
from napari_nucleus.core.tme_phenotypes import interpret
from napari_nucleus.core.tme_words import feature_rows, feature_text

MERGED = TmeSettings(not_told_apart=(1, 5))
NATIVE = TmeSettings(thresholds_px="native")
TOPICS = [
    "composition",
    "morphology",
    "stroma",
    "immune infiltrate",
    "engagement",
    "architecture",
]


def told(found, chosen=TmeSettings(), mpp=0.25):
    return narrate(found, interpret(found, mpp, chosen), chosen)


class Parrot:
    """A language model that says one thing."""

    name = "parrot"

    def __init__(self, text: str | Exception) -> None:
        self.said, self.prompts = text, []

    def generate(self, prompt: str) -> str:
        self.prompts.append(prompt)
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


@given(some_cells(most=25), st.sampled_from([TmeSettings(), MERGED, NATIVE]))
@settings(deadline=None, max_examples=200)
def test_every_number_in_the_text_is_one_of_its_evidence(cells, chosen):
    found = features(cells, chosen)
    narrative = told(found, chosen, cells.mpp)
    assert [s.topic for s in narrative.sentences] == TOPICS
    for sentence in narrative.sentences:
        assert sentence.evidence
        numerals = re.findall(r"\d+(?:\.\d+)?", sentence.text)
        assert numerals == [feature_text(key, found[key]) for key in sentence.evidence]
        assert re.search(r"\(.*\d.*\)", sentence.text)
    assert unfounded_numerals(narrative.text, found) == []
    assert told(found, chosen, cells.mpp) == narrative
    if chosen.merged:
        assert "tumo" not in narrative.text.lower()
        assert "neoplas" not in narrative.text.lower()


def test_the_worked_example_in_words():
    text = told(worked_example(), NATIVE).text
    assert text == (
        "Tumour purity is low: neoplastic nuclei are a minority (0.29), and inflammatory nuclei "
        "outnumber connective ones (0.70 against 0.02). "
        "Neoplastic nuclei are large on average (mean area 3216.4 px², 201.0 µm²). "
        "There is hardly any stroma: connective nuclei are rare (0.02). "
        "Although the infiltrate is heavy (0.70), inflammatory nuclei are kept out of the tumour "
        "(mean distance 136.1 px, 34.0 µm). "
        "Inflammatory nuclei are mostly bystanders: few are engaged with neoplastic ones "
        "(0.08; 257 of 3133). "
        "Neighbouring nuclei are mostly of one class, segregated (mean entropy 0.27 bit)."
    )


@pytest.mark.parametrize(
    ("ratio", "distance", "said"),
    [
        (0.5, 10, "The infiltrate is heavy (0.50), and inflammatory nuclei lie directly against"),
        (0.5, 90, "Although the infiltrate is heavy (0.50), inflammatory nuclei are kept out of"),
        (0.5, 30, "The infiltrate is heavy (0.50), and inflammatory nuclei lie near the tumour"),
        (0.05, 10, "The infiltrate is sparse (0.05), but the inflammatory nuclei lie directly"),
        (0.05, 90, "The infiltrate is sparse (0.05), and inflammatory nuclei are kept out of"),
        (0.2, 90, "The infiltrate is patchy (0.20), and inflammatory nuclei are kept out of"),
    ],
)
def test_the_connective_follows_from_amount_and_distance(ratio, distance, said):
    found = changed(ratio_Inflammatory=ratio, mean_dist_Inflammatory_to_Neoplastic=distance / 1.0)
    assert told(found).sentences[3].text.startswith(said)


def test_what_is_not_there_is_said():
    assert "no classified nuclei (0)" in told(features(cells_at([], []))).text
    no_immune = told(features(cells_at([(1, 1), (9, 9)], [1, 3]))).text
    assert "There are no inflammatory nuclei (0)." in no_immune
    no_tumour = told(features(cells_at([(1, 1), (9, 9)], [2, 3]))).text
    assert "there are no neoplastic nuclei (0.00)" in no_tumour
    assert "Without neoplastic nuclei their size cannot be assessed (0)." in no_tumour
    assert "cannot be assessed" in no_tumour


def test_where_the_tumour_was_not_told_apart_the_text_is_about_epithelium():
    cells = random_cells(80, classes=(1, 5, 5, 2))
    text = told(features(cells, MERGED), MERGED).text
    assert text.startswith("The epithelial fraction is ")
    assert "Epithelial nuclei are" in text


class TestLanguageModel:
    def answer(self, text, chosen=TmeSettings(), found=None):
        found = worked_example() if found is None else found
        model = Parrot(text)
        assert isinstance(model, NarrativeLLM)
        return narrate_with(model, found, interpret(found, 0.25, chosen), chosen), model

    def test_a_text_of_measured_values_is_taken_with_its_evidence(self):
        text = "Of 4,501 nuclei 0.70 are inflammatory. They lie 136.1 px off; f is 0.9478."
        narrative, model = self.answer(text)
        assert narrative.text == text
        assert (narrative.source, narrative.note) == ("parrot", "")
        assert [s.evidence for s in narrative.sentences] == [
            ("total_cells", "ratio_Inflammatory"),
            ("mean_dist_Inflammatory_to_Neoplastic", "tumor_stroma_fraction"),
        ]
        assert len(model.prompts) == 1

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("Purity is 0.31.", "0.31"),
            ("70 % of nuclei are inflammatory.", "70"),
            ("There are 4502 nuclei.", "4502"),
            ("There are 45,01 nuclei.", "45,01"),
            ("CD8 cells dominate (0.70).", "8"),
            ("The score is -0.70.", "-0.70"),
            ("The score is 7.0e-1.", "7.0e-1"),
            ("About ½ are inflammatory.", "½"),
            ("Nuclei measure 3216 px².", "3216"),
        ],
    )
    def test_a_number_that_is_no_feature_is_refused_by_name(self, text, named):
        narrative, _ = self.answer(text)
        assert narrative.sentences == told(worked_example()).sentences
        assert narrative.source == "rules"
        assert repr(named) in narrative.note
        assert "text by rules" in narrative.note

    def test_a_model_that_fails_or_is_silent_leaves_the_text_by_rules(self):
        for said, reason in ((RuntimeError("no memory"), "no memory"), ("  ", "wrote nothing")):
            narrative, _ = self.answer(said)
            assert narrative.text == told(worked_example()).text
            assert reason in narrative.note

    def test_words_about_a_tumour_that_was_not_told_apart_are_refused(self):
        found = features(random_cells(50), MERGED)
        for text in ("Solid tumor.", "Malignant nuclei.", "An adenocarcinoma.", "Peritumoural."):
            narrative, _ = self.answer(text, MERGED, found)
            assert narrative.source == "rules"
            assert "not told apart" in narrative.note
        assert self.answer("Epithelial nests.", MERGED, found)[0].source == "parrot"
        assert self.answer("Solid tumour.")[0].source == "parrot"

    def test_the_prompt_has_four_fields_in_order(self):
        found = features(random_cells(50, classes=(2, 5, 3)), MERGED)
        prompt = narrative_prompt(found, interpret(found, 0.25, MERGED), MERGED)
        fields = ("TME features: {", "Phenotype labels: ", "Biological tokens: ", "Narrative:")
        lines = prompt.splitlines()
        assert all(a.startswith(b) for a, b in zip(lines, fields, strict=True))
        assert "null" not in prompt
        assert "not told apart" in lines[1]


def test_every_row_of_the_table_has_a_title_of_its_own_and_a_unit():
    found = features(random_cells(50))
    rows = feature_rows(found, TmeSettings())
    assert len({row.title for row in rows}) == len(rows) == 23
    units = {row.key: row.unit for row in rows}
    assert units["mean_area_Dead_um2"] == "µm²"
    assert units["min_dist_Inflammatory_to_Neoplastic_um"] == "µm"
    texts = {row.key: row.text for row in rows}
    assert texts["count_Dead"] == str(found["count_Dead"])
    assert texts["ratio_Dead"] == f"{found['ratio_Dead']:.2f}"
    assert texts["mean_area_Dead_um2"] == f"{found['mean_area_Dead_um2']:.1f}"
    assert feature_rows(features(cells_at([], [])), TmeSettings())[2].text == "–"


def test_no_row_names_what_was_not_told_apart():
    rows = feature_rows(features(random_cells(50), MERGED), MERGED)
    assert len({row.title for row in rows}) == len(rows) == 20
    assert not any("neoplastic" in row.title.lower() for row in rows)
