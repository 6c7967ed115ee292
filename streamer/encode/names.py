"""Names of feature nodes. Two different features never share one, whatever their fields and values are called.

A name is the field, one separator that says what kind of node it is, and the rest:

    category=Drama   price#3   price#missing   word~hanging   profile:age=45-54   context:device=mobile

Separators inside a *field* are percent-encoded, so the first one in a name is ours and what follows it needs no
escape: `discount=50%` and `pair:Beef` as values stay readable. A *value* that begins like our own words ("__rare__")
or like an escape ("%") gets a "%" in front.
"""

CONTEXT = "context:"
WORD = "word~"
RARE = "__rare__"
MISSING = "__missing__"


def pool_name(stem: str, pool: str) -> str:
    """Name of the node that stands for all rare values of a field (`RARE`), or for none (`MISSING`)."""
    return f"{stem}={pool}"


def bin_name(stem: str, bin_number: int) -> str:
    """Name of a bin's node: "price#3"."""
    return f"{stem}#{bin_number}"


def missing_number_name(stem: str) -> str:
    """Name of the node of items that lack a number which most items have."""
    return f"{stem}#missing"


def word_name(word: str) -> str:
    """Name of a word's node: "word~hanging"."""
    return f"{WORD}{word}"
