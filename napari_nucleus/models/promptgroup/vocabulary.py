"""The vocabulary of the bundled model: words of classes, of appearance, of nuclei, and small words.

Data alone; `words` reads texts with it.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "CLASS_WORDS",
    "FILLERS",
    "LEAVING_OUT",
    "MORPHOLOGY",
    "NOT_NUCLEI",
    "NUCLEUS_WORDS",
]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CLASS_WORDS: Mapping[int, tuple[str, ...]] = {
    1: _words(
        "neoplastic neoplasm neoplasia tumor tumors tumour tumours tumoral tumorous cancer "
        "cancers cancerous carcinoma carcinomas adenocarcinoma malignant malignancy dysplastic "
        "metastatic"
    ),
    2: _words(
        "inflammatory inflammation inflamed immune lymphocyte lymphocytes lymphocytic lymphoid "
        "lymphoplasmacytic leukocyte leukocytes leucocyte leucocytes plasma plasmacytes "
        "neutrophil neutrophils eosinophil eosinophils macrophage macrophages infiltrate "
        "infiltrating infiltration til tils mononuclear"
    ),
    3: _words(
        "connective stroma stromal fibroblast fibroblasts fibroblastic fibrous fibrocytes "
        "mesenchymal muscle endothelial endothelium myofibroblast myofibroblasts"
    ),
    4: _words(
        "dead dying death necrotic necrosis apoptotic apoptosis apoptoses karyorrhectic "
        "karyorrhexis pyknotic pyknosis"
    ),
    5: _words(
        "epithelial epithelium epithelia glandular gland glands crypt crypts benign nonneoplastic "
        "enterocytes colonocytes"
    ),
}
"""Words that name a class of PanNuke, by its id."""

MORPHOLOGY: Mapping[int, tuple[str, ...]] = {
    1: _words(
        "enlarged irregular pleomorphic pleomorphism atypical atypia hyperchromatic crowded "
        "abnormal vesicular coarse"
    ),
    2: _words("small round dark compact"),
    3: _words("thin spindle spindled shaped elongated slender long wavy flat narrow"),
    4: _words("shrunken dense fragmented fragments shriveled condensed bodies"),
    5: _words("regular oval uniform basal lining line columnar healthy normal ordered"),
}
"""Words of what nuclei of a class look like; other nuclei may look so too."""

NUCLEUS_WORDS = _words(
    "nucleus nuclei nuclear nucleuses cell cells cellular profile profiles hematoxylin "
    "haematoxylin stained staining stain basophilic chromatin blue purple violet"
)
"""Words of nuclei as such."""

FILLERS = _words(
    # verbs and requests
    "segment segments segmentation segmented find finds mark marks show shows outline outlines "
    "outlined delineate delineates locate detect detects detection identify highlight select pick "
    "give get draw trace contour contours extract label labels mask masks masked map display see "
    "look looks looking want need would like can could please help me i you we us let capture "
    "separate annotate recognise recognize point out paint colour color fill cover list return "
    "visualise visualize indicate choose search count "
    # quantity and reference
    "all every each any everything everywhere whole entire complete completely full set single "
    "individual both many only just exclusively also too together including included include "
    "regardless matter whatever no not without excluding exclude except leaving leave ignore "
    "ignoring skip avoid but other others another than non rather instead the a an of in on at "
    "with within and or to from for by as is are be being been it its their this that these those "
    "there here where which what who whose how my his her our your them they one two between "
    "across throughout over through into up about around wherever whenever occur occurs occurring "
    "belong belongs belonging contain contains containing form forming seen visible present "
    "exist existing found so if then very more most some such same own kind kinds type types "
    "class classes category categories sort sorts population populations component components "
    "part parts "
    # where
    "image images picture pictures photo patch patches tile tiles slide slides field fields view "
    "area areas region regions section sections sample specimen tissue histology histological "
    "histopathology pathology h e he h&e eosin scan frame "
    # what nuclei have
    "size sizes shape shapes large larger big little tiny medium light pale faint bright clear "
    "texture textured intact overlapping touching border borders boundary boundaries edge edges "
    "contoured margin margins positive precise precisely exact exactly ones one while anywhere "
    "debris lesion colon"
)
"""Words that ask, count and place; they name no class."""

LEAVING_OUT = _words(
    "no not without excluding exclude except leaving leave ignore ignoring skip avoid but other "
    "others another than non rather instead from"
)
"""Words after which that is named which is not asked for, or which tell it from what is."""

NOT_NUCLEI = _words(
    "background cytoplasm extracellular matrix mucin vessel vessels red blood viable living alive"
)
"""Words of what is left out; the model cannot find it."""
