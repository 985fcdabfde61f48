"""What people may type, and how it is understood; grammar by grammar rule."""

from __future__ import annotations

import pytest

from napari_nucleus.core.query import Query, parse

UNDERSTOOD = """
# classes
nuclei | all
all nuclei | all
every cell | all
show me everything | all
how many nuclei are there? | all
neoplastic | neoplastic
tumour nuclei | neoplastic
Tumor cells | neoplastic
cancer cells | neoplastic
all malignant nuclei, please | neoplastic
carcinoma cells | neoplastic
lymphocytes | inflammatory
find the lymphocytes | inflammatory
immune cells | inflammatory
plasma cells | inflammatory
white blood cells | inflammatory
leucocytes and macrophages | inflammatory
inflammatory infiltrate | inflammatory
nuclei of inflammatory cells | inflammatory
fibroblasts | connective
stromal nuclei | connective
connective tissue nuclei | connective
necrotic cells | dead
apoptotic bodies | dead
dead nuclei | dead
non-viable nuclei | dead
viable nuclei | -dead all
epithelial nuclei | epithelial
benign epithelium | epithelial
normal epithelial cells | epithelial
healthy glandular epithelium | epithelial
benign epithelial and malignant nuclei | epithelial neoplastic
malignant epithelial nuclei | neoplastic
unclassified nuclei | unclassified
nuclei without a class | unclassified
tumour and stromal nuclei | connective neoplastic
tumour or stroma | connective neoplastic
tumour/stroma | connective neoplastic
lymphocytes, fibroblasts and dead cells | connective dead inflammatory
class: dead | dead
nuclei that look neoplastic | neoplastic
nuclei classified as epithelial | epithelial
# what is left out
not neoplastic | -neoplastic all
non-neoplastic nuclei | -neoplastic all
everything except lymphocytes | -inflammatory all
all but the tumour nuclei | -neoplastic all
all nuclei but lymphocytes and fibroblasts | -connective -inflammatory all
nuclei that aren't epithelial | -epithelial all
nuclei other than tumour | -neoplastic all
no lymphocytes | -inflammatory all
neither neoplastic nor epithelial | -epithelial -neoplastic all
not tumour or stroma | -connective -neoplastic all
large nuclei excluding lymphocytes and fibroblasts | -connective -inflammatory all large
lymphocytes without the small ones | -small inflammatory
epithelial cells, but not neoplastic ones | -neoplastic epithelial
enlarged dark neoplastic nuclei, excluding lymphocytes | -inflammatory dark large neoplastic
everything except lymphocytes, larger than 80 µm² | -inflammatory all area>80
# qualities
large nuclei | all large
big round tumour nuclei | large neoplastic round
the largest nuclei | all large
larger nuclei | all large
very large neoplastic nuclei | large neoplastic
medium-sized nuclei | all medium
average size lymphocytes | inflammatory medium
tiny cells | all small
nuclei of small size | all small
nuclei with a large area | all large
round | all round
circular nuclei | all round
ovoid epithelial nuclei | epithelial oval
round or oval nuclei | all oval round
round and oval nuclei | all oval round
spindle-shaped nuclei | all elongated
long thin nuclei | all elongated
elongated fibroblasts | connective elongated
irregularly shaped nuclei | all irregular
nuclei with irregular outlines | all irregular
pleomorphic tumour nuclei | irregular neoplastic
nuclei with a smooth contour | all regular
hyperchromatic nuclei | all dark
dark stained nuclei | all dark
darkly-stained lymphocytes | dark inflammatory
deeply stained nuclei | all dark
pale nuclei | all pale
weakly stained tumour cells | neoplastic pale
isolated nuclei | all isolated
solitary tumour cells | isolated neoplastic
nuclei without neighbours | all isolated
densely packed nuclei | all crowded
lymphocytes in clusters | crowded inflammatory
clusters of tumour cells | crowded neoplastic
doubtful nuclei | all doubtful
nuclei with low confidence | all doubtful
uncertain epithelial nuclei | doubtful epithelial
nuclei to be reviewed | all doubtful
corrected nuclei | all corrected
hand-drawn nuclei | all corrected
nuclei corrected by hand | all corrected
nuclei I edited | all corrected
accepted nuclei | accepted all
confirmed tumour nuclei | accepted neoplastic
imported nuclei | all imported
automatic nuclei | -accepted -corrected -imported all
not large | -large all
non-round tumour nuclei | -round neoplastic
nuclei that are not round | -round all
neither round nor oval | -oval -round all
not dark, large nuclei | -dark all large
nuclei that have not been accepted | -accepted all
unreviewed nuclei | -accepted all
small but dark nuclei | all dark small
high eccentricity | all elongated
nuclei whose solidity is low | all irregular
size: large | all large
small to medium-sized nuclei | all medium small
small, round and dark lymphocytes | dark inflammatory round small
# limits
area > 80 | all area>80
area over 80 µm² | all area>80
area: > 80 um2 | all area>80
nuclei larger than 80 µm² | all area>80
nuclei bigger than 80 square microns | all area>80
lymphocytes smaller than 40 µm² | area<40 inflammatory
lymphocytes smaller then 40 um^2 | area<40 inflammatory
>80µm² | all area>80
nuclei above 80 sq µm | all area>80
nuclei of at least 25 µm² | all area>=25
nuclei no smaller than 25 µm² | all area>=25
at most 35 µm² | all area<=35
not larger than 35 µm² | all area<=35
no more than 35 um² | all area<=35
35 µm² or less | all area<=35
80+ µm² | all area>=80
nuclei of 80 µm² and more | all area>=80
greater than or equal to 80 µm² | all area>=80
nuclei between 25 and 35 µm² | all area<=35 area>=25
area 25-35 µm² | all area<=35 area>=25
from 25 to 35 square micrometres | all area<=35 area>=25
25 µm² to 35 µm² | all area<=35 area>=25
25 < area < 35 | all area<35 area>25
larger than 25 and smaller than 35 µm² | all area<35 area>25
larger than 8 and smaller than 12 µm | all diameter<12 diameter>8
larger than 10 µm | all diameter>10
nuclei bigger than 10 microns | all diameter>10
diameter > 12 | all diameter>12
nuclei with a diameter of more than 12 µm | all diameter>12
more than 12 µm in diameter | all diameter>12
nuclei at least 12 micrometers across | all diameter>=12
wider than 12 µm | all diameter>12
diameter between 6 and 8 µm | all diameter<=8 diameter>=6
twenty microns or more | all diameter>=20
eccentricity above 0.9 | all eccentricity>0.9
eccentricity of at least 0,9 | all eccentricity>=0.9
solidity < 0.85 | all solidity<0.85
score below 0.5 | all score<0.5
nuclei with a confidence under 50% | all score<0.5
score less than 0.5 or area below 20 µm² | all area<20 score<0.5
tumour nuclei excluding those smaller than 25 µm² | area>=25 neoplastic
larger than 1,000 µm² | all area>1000
# relations
touching tumour nuclei | all touching:neoplastic
lymphocytes touching tumour cells | inflammatory touching:neoplastic
lymphocytes in contact with tumor | inflammatory touching:neoplastic
immune cells that touch a cancer cell | inflammatory touching:neoplastic
nuclei touching each other | all touching:all
touching nuclei | all touching:all
nuclei that touch another nucleus | all touching:all
overlapping nuclei | all touching:all
nuclei not touching any other nucleus | -touching:all all
lymphocytes without contact to tumour cells | -touching:neoplastic inflammatory
lymphocytes near tumour cells | inflammatory near:neoplastic
lymphocytes close to the tumour | inflammatory near:neoplastic
fibroblasts next to cancer cells | connective near:neoplastic
tumour cells surrounded by lymphocytes | near:inflammatory neoplastic
tumour cells with lymphocytes nearby | near:inflammatory neoplastic
tumour cells with no lymphocytes nearby | -near:inflammatory neoplastic
tumour cells not near lymphocytes | -near:inflammatory neoplastic
dead cells near tumour or stroma | dead near:connective near:neoplastic
lymphocytes within 20 µm of tumour nuclei | inflammatory near:neoplastic<=20
lymphocytes less than 20 microns from tumour cells | inflammatory near:neoplastic<=20
lymphocytes closer than 20 µm to a tumour nucleus | inflammatory near:neoplastic<=20
lymphocytes no more than 20um away from tumor | inflammatory near:neoplastic<=20
lymphocytes near tumour cells (within 20 µm) | inflammatory near:neoplastic<=20
lymphocytes within a radius of 20 µm around tumour cells | inflammatory near:neoplastic<=20
tumour cells with a lymphocyte within 20 µm | near:inflammatory<=20 neoplastic
not within 20 µm of lymphocytes | -near:inflammatory<=20 all
far from tumour cells | all far:neoplastic
lymphocytes away from the tumour | far:neoplastic inflammatory
lymphocytes more than 30 µm away from tumour cells | far:neoplastic>30 inflammatory
farther than 30 µm from any tumour cell | all far:neoplastic>30
at least 30 µm from tumour nuclei | all far:neoplastic>30
lymphocytes at a distance of more than 30 µm from tumour | far:neoplastic>30 inflammatory
distance to tumour nuclei > 30 µm | all far:neoplastic>30
nuclei near other nuclei | all near:all
small nuclei touching tumour nuclei, not dead | -dead all small touching:neoplastic
lymphocytes touching tumour cells and smaller than 40 µm² | area<40 inflammatory touching:neoplastic
# places
near the border | all near:border
nuclei near the tumour border | all near:border
lymphocytes at the invasive margin | inflammatory near:border
lymphocytes close to the edge of the tumour | inflammatory near:border
nuclei within 50 µm of the border | all near:border<=50
nuclei within 0.05 mm of the tumour margin | all near:border<=50
not near the border | -near:border all
lymphocytes inside the border | in:border inflammatory
lymphocytes inside the tumour | in:border inflammatory
nuclei in the drawn region | all in:border
lymphocytes outside the tumour | -in:border inflammatory
lymphocytes not in the tumour | -in:border inflammatory
tumor-infiltrating lymphocytes | in:border inflammatory
nuclei at the image edge | all at:edge
nuclei cut off by the edge of the image | all at:edge
nuclei touching the image border | all at:edge
nuclei not touching the edge | -at:edge all
excluding nuclei at the image edge | -at:edge all
lymphocytes in the image | inflammatory
connective nuclei in the stroma | connective
# spelling
neoplatic nuclei | neoplastic
inflamatory cells | inflammatory
lymphocites | inflammatory
tumuor nuclie | neoplastic
epithelal nuclei | epithelial
elongatd fibroblasts | connective elongated
hyperchromatc nuclei | all dark
LARGE TUMOUR NUCLEI | large neoplastic
  large   tumour\tnuclei  | large neoplastic
"""

CASES = [
    tuple(part.strip(" ") for part in line.rsplit("|", 1))
    for line in UNDERSTOOD.strip().splitlines()
    if not line.startswith("#")
]


def notation_of(text):
    found = parse(text)
    return found.notation() if isinstance(found, Query) else str(found)


@pytest.mark.parametrize(("text", "notation"), CASES)
def test_a_phrase_is_understood_as_a_person_would(text, notation):
    assert notation_of(text) == notation
