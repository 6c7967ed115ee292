"""The parts of the model that the setting `without` can switch off."""

import difflib

# As `pipeline.switchable` has them, which a test holds this against: asking it would load the model for a typing error.
PARTS = (
    *("sequence", "sequence_sharp", "sequence_far", "lag_one", "cooccurrence", "cooccurrence_sharp"),
    *("trending_30", "trending_300", "trending_3000", "popularity", "starting_300", "newcomers_300"),
    *("fresh", "category", "repeat", "segment", "feature", "feature_cold", "feature_new", "rate"),
    *("text", "text_cold", "text_new", "vectors", "transfer", "ranker", "content", "time"),
    *("numerical", "categorical", "words", "context", "rating"),
)


def check_parts(names: tuple[str, ...]) -> None:
    """Raise a ValueError that says what is wrong with names of parts, if anything is."""
    for name in names:
        if name not in PARTS:
            close = difflib.get_close_matches(name, PARTS, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"expected some of {', '.join(PARTS)}; got {name}{meant}")
