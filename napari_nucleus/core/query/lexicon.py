"""The words that queries are made of: what each means, in the spelling that `words` brings them to.

Phrases are parted by ``|`` and written without articles, in American spelling and, apart from words
that are plural only, in the singular. ``normal+epithelial`` means any word of the first list
followed by any of the second. Words are here because pathologists say them; what the nuclei table
cannot answer is not: tissues and organs, names of diseases, stains and markers, cell types that no
class stands for (a request for endothelial nuclei must not show all connective ones).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from itertools import product
from typing import Any

from napari_nucleus.core.query.query import UNCLASSIFIED

__all__ = ["KNOWN_OTHERWISE", "NUMBER_WORDS", "UNIT_WORDS", "Kind", "phrases"]


class Kind(Enum):
    """What a word or phrase does in a query; the value that goes with it in brackets."""

    CLASS = auto()  # name of the class, with "-" for all but that one
    QUALITY = auto()  # qualities that hold together, with "-" for those that do not
    PLACE = auto()  # a relation that is complete, in notation
    MEASURE = auto()  # attribute, "size" for area or diameter by the unit
    LEVEL = auto()  # ">" for high, "<" for low
    COMPARE = auto()  # operator
    LARGER = auto()  # operator and attribute, None for any
    WITHIN = auto()
    BETWEEN = auto()
    THAN = auto()
    AVERAGE = auto()
    TO = auto()
    FROM = auto()
    OF = auto()
    RELATION = auto()  # touching, near, far
    CLOSER = auto()  # operator
    INSIDE = auto()  # False for outside
    IN = auto()
    ON = auto()
    WITH = auto()
    DISTANCE = auto()
    AWAY = auto()
    OUTLINE = auto()  # border or edge
    PICTURE = auto()
    TISSUE = auto()
    REGION = auto()
    DRAWN = auto()
    NEIGHBOR = auto()
    NUCLEI = auto()
    NOT = auto()
    EXCEPT = auto()
    BUT = auto()
    AND = auto()
    OR = auto()
    NUMBER = auto()  # float
    UNIT = auto()  # "um", "um2", "px", "px2", "%"
    COMMA = auto()
    GLUE = auto()
    LINK = auto()  # glue that begins a clause: that, which are
    STRANGE = auto()  # known to mean something else
    QUESTION = auto()  # what no set of nuclei answers
    SHAPE = auto()  # shape, outline of a nucleus: glue after a quality


Entry = tuple[str, Kind, Any]


def _spelled_out(texts: str) -> Iterator[str]:
    for text in texts.split("|"):
        parts = [part.split(",") for part in text.split("+")]
        yield from (" ".join(words) for words in product(*parts))


_CLASSES: dict[str, str] = {
    "neoplastic": "neoplastic|neoplasm|neoplasia|tumor|tumoral|tumorous|cancer|cancerous|"
    "carcinoma|carcinomatous|malignant|malignancy",
    "inflammatory": "inflammatory|inflammation|immune|lymphocyte|lymphocytic|lymphoid|leukocyte|"
    "leucocyte|immunocyte|til|white blood cell|plasma cell|plasmacyte|plasmacytic|"
    "lymphoplasmacytic|macrophage|histiocyte|neutrophil|granulocyte|eosinophil|monocyte|"
    "mononuclear cell",
    "connective": "connective|connective tissue|stroma|stromal|fibroblast|fibroblastic|"
    "fibrocyte|myofibroblast|mesenchymal|soft tissue|fibrous|fibrous tissue|tumor stroma|"
    "cancer stroma|cancer associated fibroblast|tumor associated fibroblast",
    "dead": "dead|dying|necrotic|necrosis|apoptotic|apoptosis|apoptotic body|apoptotic bodies|"
    "pyknotic|pycnotic|karyorrhectic|karyorrhexis|karyolytic|cell death|non viable|nonviable|"
    "not viable|no longer viable|not alive",
    "epithelial": "epithelial|epithelium|epithelia|benign|glandular|benign,normal,healthy,"
    "non neoplastic,nonneoplastic,non malignant,nonmalignant,non tumor,non cancerous,"
    "noncancerous,unremarkable+epithelial,epithelium,epithelia,glandular,gland",
    "neoplastic ": "malignant,neoplastic,cancerous,tumor,carcinoma+epithelial,epithelium,epithelia",
    "-neoplastic": "nonneoplastic|nonmalignant|noncancerous|nontumor|nontumoral|nontumorous",
    "-inflammatory": "noninflammatory|nonimmune",
    "-connective": "nonstromal",
    "-epithelial": "nonepithelial",
    "-dead": "viable|living|alive|vital|live|nonnecrotic|nonapoptotic",
    UNCLASSIFIED: "unclassified|not classified|non classified|no class|without class|"
    "without any class|with no class|have no class|has no class|lacking class|unlabeled|"
    "not labeled|untyped|unassigned|class unknown|unknown class|unknown type|of unknown type|"
    "unknown|undetermined|class not known|not assigned to class|not assigned to any class|"
    "not assigned|no,without,without any,missing+label,type,classification|class missing|"
    "missing class|belonging to no class|not belonging to any class|not in any class",
    "-unclassified": "classified|labeled|with any class",
}

_QUALITIES: dict[str, str] = {
    "large": "large|big|huge|giant|enlarged|oversized|largest|biggest|sizable|sizeable|bulky|"
    "voluminous|large,big,great+size,sized",
    "medium": "medium|middling|intermediate|medium,mid,middle,intermediate,average,moderate,"
    "normal,moderately+size,sized|midsize|midsized",
    "small": "small|little|tiny|smallest|tiniest|minute|shrunken|shrunk|undersized|smallish|"
    "miniature|small,little+size,sized",
    "round": "round|rounded|circular|rounder|roundish|spherical|roundest|globular|disc shaped|"
    "disk shaped|ball shaped",
    "oval": "oval|ovoid|ovoidal|elliptical|elliptic|ellipsoid|ellipsoidal|egg shaped|ovally",
    "elongated": "elongated|elongate|spindle|spindled|spindly|fusiform|long|slender|thin|narrow|"
    "stretched|stretched out|oblong|longish|cigar,needle,rod,spindle+shaped,like,shape",
    "irregular": "irregular|irregularly|misshapen|misshaped|pleomorphic|deformed|distorted|"
    "jagged|ragged|indented|notched|lobulated|lobed|convoluted|angular|bizarre|crooked|uneven|"
    "nonconvex|non convex|concave|fragmented|oddly,odd,weird,weirdly,strange,strangely,ill+"
    "shaped,shape|irregular,jagged,ragged,rough,uneven,indented,lobulated,bumpy+outline,contour,"
    "border,boundary,membrane,edge,margin,nuclear outline,nuclear contour,nuclear border,"
    "nuclear membrane",
    "regular": "regular|regularly|smooth|smoothly|uniform|convex|well shaped|well formed|"
    "regular,smooth,even,uniform+outline,contour,border,boundary,membrane,edge,margin,"
    "nuclear outline,nuclear contour,nuclear border,nuclear membrane,outlined,contoured",
    "dark": "dark|darkly|darker|darkest|hyperchromatic|hyperchromasia|hyperchromatism|dense|"
    "hyperdense|basophilic|blackish|dark,deep+blue,purple,violet|deep,deeply,intensely,intense,"
    "strongly,heavily+stained,staining,colored|dense chromatin|condensed chromatin",
    "pale": "pale|paler|palest|light|lighter|lightest|lightly|faint|faintly|hypochromatic|"
    "washed out|bright|faded|vesicular|light,pale+blue,purple,violet|weakly,weak,poorly,palely+"
    "stained,staining,colored",
    "isolated": "isolated|single|solitary|lone|lonely|alone|scattered|sparse|sparsely|singly|"
    "dispersed|standalone|stand alone|standing alone|lying alone|lying apart|far apart|"
    "spread out|freestanding|free standing|by itself|by themselves|on its own|on their own|few,"
    "with few+neighbor",
    "crowded": "crowded|clustered|clustering|cluster|clump|clumped|packed|aggregated|aggregate|"
    "grouped|bunched|crammed|crowd|close together|lying close together|high density|"
    "dense cluster|densely,tightly,closely,close,dense,tight+packed,arranged,spaced,clustered|"
    "many,several,lots of+neighbor|in cluster|in clump|in group|in aggregate|in crowd|"
    "in dense cluster|in dense group",
    "doubtful": "doubtful|uncertain|unsure|dubious|questionable|ambiguous|in doubt|unreliable|"
    "insecure|to check|to be checked|to review|to be reviewed|needs,need,needing+review,"
    "checking,check,attention,second look|worth checking|doubt|with doubt|low scoring|low,poor+"
    "confidence,certainty",
    "-doubtful": "confident|reliable|sure|beyond doubt|undoubted|high scoring|high,good+"
    "confidence,certainty",
    "corrected": "corrected|edited|modified|changed|altered|adjusted|manual|manually|redrawn|"
    "retouched|amended|refined|by hand|by user|added by hand|drawn by hand|hand drawn|hand made|"
    "hand,manually+edited,corrected,drawn,added,annotated,segmented,outlined|user,self+drawn,"
    "made,corrected,edited,added|handmade|handdrawn|drawn by me|added by me|made by me|"
    "drawn by user",
    "-corrected": "uncorrected|unedited|unchanged|unmodified",
    "accepted": "accepted|approved|confirmed|verified|validated|signed off|checked|reviewed",
    "-accepted": "unaccepted|unapproved|unconfirmed|unverified|unchecked|unreviewed",
    "imported": "imported|from import|from file|from other program|from other tool|from qupath|"
    "brought in",
    "-accepted -corrected -imported": "automatic|automatically|found,predicted,made,segmented,"
    "detected+by model",
    "-accepted -corrected": "untouched|not touched by user|nobody looked at",
}

_PLACES: dict[str, str] = {
    "in:border": "tumor infiltrating|intratumoral|intratumorally",
    "near:border": "peritumoral|peritumorally",
    "at:edge": "cut off|truncated|cropped|clipped|incomplete|partial|partly visible|"
    "partially visible",
}

_RELATIONS: dict[str, str] = {
    "touching": "touching|touch|touches|touched|touched by|contacting|contact|contact with|"
    "contact to|in contact|in contact with|in contact to|in direct contact with|"
    "in direct contact|direct contact|direct contact with|direct contact to|abutting|abut|abuts|"
    "adjoining|adjoin|adjoins|attached to|attached|bordering|bordering on|directly adjacent to|"
    "directly next to|immediately adjacent to|immediately next to|directly beside|joined to|"
    "stuck to|glued to|pressed against|cut by|cut off by|cut off at|clipped by|truncated by|"
    "cropped by|crossing|straddling|crossed by|overlapping with|overlapping|sharing border with|"
    "share border with|that share border with|against",
    "near": "near|nearby|near to|nearest to|closest to|close|close to|close by|closely to|"
    "next to|beside|around|surrounding|surrounded by|encircled by|neighboring|neighboring on|"
    "in vicinity of|in vicinity|in close vicinity of|vicinity of|in proximity to|"
    "in proximity of|in proximity with|in close proximity to|in close proximity of|proximal to|"
    "adjacent|adjacent to|alongside|along|in neighborhood of|neighbor of|neighbor to|by side of|"
    "not far from|not far away from|in surroundings of|lining|near by|among|amongst|amid|amidst|"
    "in among|in,close to+their,its+vicinity,neighborhood,proximity,surroundings",
    "far": "far|far from|far away|far away from|away from|distant|distant from|distant to|"
    "remote|remote from|well away from|at distance from|distal to|far off|far off from|"
    "nowhere near",
}

_OTHER: dict[tuple[Kind, Any], str] = {
    (Kind.MEASURE, "area"): "area|surface|surface area|nuclear area|cross section",
    (
        Kind.MEASURE,
        "diameter",
    ): "diameter|diam|ø|width|length|across|wide|breadth|equivalent diameter",
    (Kind.MEASURE, "size"): "size|nuclear size|sized",
    (Kind.MEASURE, "eccentricity"): "eccentricity",
    (Kind.MEASURE, "solidity"): "solidity",
    (
        Kind.MEASURE,
        "score",
    ): "score|scoring|scored|confidence|probability|certainty|detection score|"
    "confidence score|model score|detection confidence|detection probability",
    (Kind.LEVEL, ">"): "high|highest|great",
    (Kind.LEVEL, "<"): "low|lowest|poor",
    (Kind.COMPARE, ">"): "over|above|exceeding|exceed|exceeds|in excess of|beyond",
    (Kind.COMPARE, "<"): "under|below|beneath",
    (Kind.COMPARE, ">="): "at least|minimum|min|minimum of|minimally|upwards of|more,greater,"
    "larger,bigger,higher+than or equal,than or equal to,or equal to,or equal",
    (Kind.COMPARE, "<="): "at most|maximum|max|maximum of|maximally|up to|less,fewer,smaller,"
    "lower+than or equal,than or equal to,or equal to,or equal",
    (Kind.LARGER, (">", "size")): "larger|bigger",
    (Kind.LARGER, ("<", "size")): "smaller|tinier",
    (Kind.LARGER, (">", "diameter")): "longer|wider|broader",
    (Kind.LARGER, ("<", "diameter")): "shorter|narrower|thinner",
    (Kind.LARGER, (">", None)): "more|greater|higher",
    (Kind.LARGER, ("<", None)): "less|fewer|lower",
    (Kind.CLOSER, "<"): "closer|nearer",
    (Kind.CLOSER, ">"): "farther|further",
    (Kind.WITHIN, None): "within|within distance of|within radius of|in radius of",
    (Kind.BETWEEN, None): "between|ranging from|ranging between|in range|in range of",
    (Kind.THAN, None): "than|then",
    (Kind.AVERAGE, None): "average|median|mean|usual|normal|most|typical|rest",
    (Kind.TO, None): "to|until|till|through",
    (Kind.FROM, None): "from",
    (Kind.OF, None): "of",
    (Kind.INSIDE, True): "inside|inside of|located inside|enclosed by|in interior of|in inside of",
    (Kind.INSIDE, False): "outside|outside of|out of|beyond|not inside|exterior to",
    (Kind.IN, None): "in|into",
    (Kind.ON, None): "on|at|by|onto",
    (Kind.WITH, None): "with|having|have|has|possessing|possess",
    (Kind.DISTANCE, None): "distance|distances|spacing",
    (Kind.AWAY, None): "away|apart|off|distant",
    (Kind.OUTLINE, "border"): "border|borderline|margin|boundary|front|interface|periphery|"
    "perimeter|invasive front|invasion front|invasive margin|invasive edge|invasive border|"
    "leading edge|advancing edge|advancing front|front of invasion",
    (Kind.OUTLINE, "edge"): "edge|rim",
    (Kind.PICTURE, None): "image|picture|field|tile|slide|patch|frame|photo|photograph|view|"
    "scan|field of view|image tile|image patch|micrograph",
    (Kind.TISSUE, None): "tissue|section|specimen|sample|biopsy",
    (Kind.REGION, None): "region|zone|nest|bed|mass|roi|annotation|polygon|compartment|island|"
    "lesion|outline|contour|line|selection",
    (Kind.DRAWN, None): "drawn|my|marked|annotated|outlined|invasive|i drew|drawn by me",
    (Kind.NEIGHBOR, None): "neighbor|each other|one another|another one|themselves",
    (Kind.NUCLEI, None): "nucleus|nuclei|nucleii|cell|nuclear profile|everything",
    (Kind.NOT, None): "not|non|no|never|neither|nor|without being|isn't|aren't|don't|doesn't|"
    "didn't|wasn't|weren't|haven't|hasn't|cannot|can't|none",
    (Kind.EXCEPT, None): "except|except for|excepting|excluding|exclude|excluded|without|minus|"
    "apart from|other than|aside from|leaving out|leave out|omitting|omit|ignoring|ignore|"
    "rather than|skip|skipping|disregarding|disregard|excl|with exception of|lacking|instead of",
    (Kind.BUT, None): "but|though|although",
    (Kind.AND, None): "and|plus|as well as|also|and also|together with|additionally",
    (Kind.OR, None): "or|or else|alternatively|and or",
    (Kind.QUESTION, None): "is this|is it|are these|are they|is he|is she|do i have|"
    "does he have|what is|who is|who are|why|how can|should i|can i",
    (Kind.STRANGE, None): "small,large,giant,round,spindle,oval,signet,clear+cell+carcinoma,"
    "cancer,tumor,neoplasm,adenoma,sarcoma",
    (Kind.LINK, None): "that|which|who|whose|where|while|when",
    (Kind.SHAPE, None): "shape|shaped|form|looking|appearance|appearing|stained|staining|"
    "colored|color|outline|contour|chromatin|texture|like|type|kind|morphology|silhouette|"
    "infiltrate",
}

_GLUE = (
    "these|those|this|it|its|they|them|their|he|she|all|every|each|any|some|everyone|both|only|"
    "exclusively|please|kindly|me|us|i|i'm|i'd|i'll|i've|we've|that's|it's|they're|there's|we|"
    "you|your|our|be|is|are|was|were|been|being|am|do|does|did|can|could|would|will|should|shall|"
    "must|may|might|want|need|like|wish|look|looks|looked|see|let|let's|show|showing|showed|find|"
    "finding|found|display|displaying|segment|segmenting|segmented|mark|marking|select|selecting|"
    "selected|highlight|highlighting|get|give|list|listing|count|counting|locate|locating|"
    "located|identify|identifying|identified|detect|detecting|detected|delineate|pick|choose|"
    "search|filter|query|return|retrieve|fetch|extract|isolate|label|outline all|outline|trace|"
    "tell|point out|look for|looking for|search for|ask for|asking for|either|there|here|how|"
    "how many|what|number of|number|many|amount of|population|subset|group of|set of|set|class|"
    "category|classes|type of|kind of|sort of|sort|as|if|so|such|such as|for|own|one|ones|thing|"
    "object|member|present|visible|shown|seen|anywhere|everywhere|wherever|occur|occurring|"
    "across|throughout|over|whole|entire|full|complete|current|belong|belonging|belonging to|"
    "look like|looks like|looking like|classified as|labeled as|assigned to|annotated as|"
    "predicted as|called|very|really|quite|rather|fairly|extremely|unusually|especially|"
    "particularly|relatively|somewhat|slightly|mostly|most|clearly|rather|too|highly|pretty|"
    "abnormally|markedly|already|yet|still|now|about|right|just|deep|well|fully|completely|"
    "entirely|approximately|roughly|about|human|user|person|pathologist|someone|somebody|model|"
    "anything|anyone|detection|instance|component|currently|probably|lying|lie|lies|sitting|sit|"
    "situated|placed|positioned|other|another|at all|of any type|of any kind|of any class|"
    "of any size|of all classes|of all types|of all kinds|regardless of class|at least one|"
    "one or more|nearest|closest|direct|immediate|immediately|directly|value|h e|he stained|"
    "purple|blue|bluish|violet|hematoxylin stained|hematoxylin positive|stained with hematoxylin|"
    "alike|respectively|again|to be|to find|to see|to show|to have|able|wanted|interested in|"
    "in addition|in total|altogether|in general|together|individual|thank|thanks|hello|hi|ok|"
    "okay|yes|per|via|using|nuclear|measured|measuring|estimated|by model|by me"
)

_UNITS = _spelled_out(
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|"
    "sixteen|seventeen|eighteen|nineteen"
)
_TENS = _spelled_out("ten|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred")

NUMBER_WORDS: dict[str, float] = {
    **{word: float(value) for value, word in enumerate(_UNITS) if word != "one"},
    **{word: 10.0 * tens for tens, word in enumerate(_TENS, 1)},
}
"""Numbers in words; "one" is more often a nucleus."""

UNIT_WORDS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("um", "µm", "µ", "micron", "micrometer"), ("um", 1.0)),
    **dict.fromkeys(("px", "pixel", "pix"), ("px", 1.0)),
    **dict.fromkeys(("%", "percent"), ("%", 0.01)),
    **dict.fromkeys(("mm", "millimeter"), ("um", 1000.0)),
    **dict.fromkeys(("nm", "nanometer"), ("um", 0.001)),
}
"""Units: what they measure in, and how much of it."""

KNOWN_OTHERWISE = frozenset(
    _spelled_out(
        "accented|aground|annular|attacked|bedside|birder|boarder|bonder|borer|bought|breath|caner|"
        "canker|cankerous|canner|canter|certainly|chancer|cheeked|chipped|chopped|chucking|clammed|"
        "clapped|closet|clouted|clutter|conclave|confidant|contract|contracting|convective|copped|"
        "cramped|crocked|crowed|crowned|dearth|defection|dejection|densify|detention|dispensed|"
        "drying|dyeing|ecliptic|ecliptical|flustered|glans|hypertense|immure|imparted|incense|"
        "indebted|interlace|jointed|lacing|largess|leaking|leaning|leaping|leasing|lending|licking|"
        "liking|linger|linking|loading|locking|lodger|logger|lounger|loving|marlin|martin|marvin|"
        "meddling|messing|microphage|needless|needling|neurosis|neurotic|nucleas|nucleo|nucleole|"
        "nucleon|nucleons|nucleos|outlive|outlived|sanding|scorned|searing|sender|shading|shaking|"
        "shaping|shaving|shearing|shingle|shingles|slander|smeller|snoring|soaring|solidary|"
        "solidify|souring|sparing|spender|staring|stoma|stomal|strained|straining|stranding|"
        "strangle|struma|suction|swindle|timorous|tumeur|tumeurs|tumore|tumores|tumori|unaccented|"
        "uncharged|vehicular|violent"
    )
)
"""Words that are one letter from a known one and mean something else."""


def phrases() -> Iterator[Entry]:
    """Yield every phrase with what it does; of two with the same words the first counts."""
    for values, kind in ((_PLACES, Kind.PLACE), (_CLASSES, Kind.CLASS), (_QUALITIES, Kind.QUALITY)):
        for value, texts in values.items():
            for phrase in _spelled_out(texts):
                yield phrase, kind, value.strip()
    for value, texts in _RELATIONS.items():
        for phrase in _spelled_out(texts):
            yield phrase, Kind.RELATION, value
    for (kind, value), texts in _OTHER.items():
        for phrase in _spelled_out(texts):
            yield phrase, kind, value
    for phrase in _spelled_out(_GLUE):
        yield phrase, Kind.GLUE, None
