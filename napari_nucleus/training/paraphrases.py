"""Prompts that no model is trained on: how people may word what the training bank words otherwise.

They were written down before the bank (`prompt_bank`) and are in no training prompt; the spread of
a model's scores over them says how much its answer depends on the wording. Some have typing errors,
as people's have.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ALL_NUCLEI", "BY_CLASS", "paraphrases"]

ALL_NUCLEI: tuple[str, ...] = (
    "outline each nucleus you can see",
    "please segment all of the nuclei",
    "where are the nuclei",
    "show me every cell nucleus",
    "highlight nuclei of all types",
    "give me a mask of all nuclei",
    "every nuclear profile in this field",
    "all cell nuclei regardless of their type",
    "mark each and every nucleus in the picture",
    "detect nuclei everywhere",
    "nuclei, whatever the cell type",
    "contour all visible nuclei",
    "find the blue-purple stained nuclei",
    "extract all nuclear regions of the slide",
    "draw the borders of every nucleus",
    "pick out all the nuclei in this region",
    "any nucleus, large or small",
    "the complete set of nuclei in the tile",
    "identify each single nucleus in the specimen",
    "delineate all haematoxylin stained nuclei in the section",
    "segment nuclei of tumour, stromal and immune cells together",
    "trace the outline of all nuclei",
    "nuclear segmentation of the whole image",
    "I want all the cell nuclei",
    "select every nucleus, pale ones too",
    "all nuclei without cytoplasm or background",
    "label all nuclei, dark and light",
    "nuclei of every kind in this H&E image",
    "all the cells here",
    "segmnt all the nucleii",
)
"""Thirty ways to ask for all nuclei."""

BY_CLASS: Mapping[int, tuple[str, ...]] = {
    1: (
        "tumour cells",
        "outline the cancerous nuclei",
        "where are the malignant cells",
        "show me all tumor nuclei",
        "every neoplastic cell in the picture",
        "highlight nuclei of carcinoma cells",
        "mark each cancer nucleus in this region",
        "please segment the malignant nuclei",
        "large atypical tumour nuclei, no lymphocytes",
        "pleomorphic hyperchromatic cancer nuclei",
        "only the nuclei of the tumor, not stroma",
        "neoplasic nucleii",
    ),
    2: (
        "lymphocytes",
        "outline the immune cells",
        "where are the inflammatory cells",
        "show me all lymphocyte nuclei",
        "every leukocyte in the picture",
        "highlight nuclei of plasma cells and lymphocytes",
        "mark each immune nucleus in this region",
        "please segment the inflammatory infiltrate",
        "small round dark nuclei of lymphoid cells, no epithelium",
        "tumor infiltrating lymphocytes",
        "only the nuclei of inflammatory cells, not stroma",
        "lymphocites",
    ),
    3: (
        "fibroblasts",
        "outline the stromal cells",
        "where are the connective tissue cells",
        "show me all fibroblast nuclei",
        "every spindle cell in the picture",
        "highlight nuclei of stromal and muscle cells",
        "mark each stroma nucleus in this region",
        "please segment the spindle-shaped nuclei",
        "long thin nuclei of the stroma, no lymphocytes",
        "elongated fibroblast-like nuclei",
        "only the nuclei of connective tissue, not glands",
        "fibroblsts",
    ),
    4: (
        "apoptotic cells",
        "outline the dead cells",
        "where are the necrotic cells",
        "show me all apoptotic bodies",
        "every dying cell in the picture",
        "highlight nuclei of necrotic cells",
        "mark each pyknotic nucleus in this region",
        "please segment the dead nuclei",
        "shrunken fragmented nuclei, no living cells",
        "karyorrhectic debris of dead nuclei",
        "only the nuclei of dead cells, not viable ones",
        "apoptosic nuclei",
    ),
    5: (
        "epithelial cells",
        "outline the epithelium",
        "where are the epithelial cells",
        "show me all epithelial nuclei",
        "every glandular cell in the picture",
        "highlight nuclei of the gland lining",
        "mark each epithelial nucleus in this region",
        "please segment the nuclei of the crypts",
        "oval regular nuclei of benign epithelium, no fibroblasts",
        "non-neoplastic epithelial cells",
        "only the nuclei of the glands, not stroma",
        "epithelal nuclei",
    ),
}
"""Twelve ways to ask for each of PanNuke's classes, by id."""


def paraphrases(classes: tuple[int, ...] = ()) -> tuple[str, ...]:
    """Return the prompts for any of these classes, or for all nuclei if there is none."""
    return tuple(p for c in classes for p in BY_CLASS[c]) if classes else ALL_NUCLEI
