"""Catalog records and profiles for the tests of the encoders."""

from streamer.events import CatalogItem, Profile


def record(title="", text="", categorical=None, numerical=None):
    """A catalog record of these fields."""
    return CatalogItem(
        item_id="i",
        title=title,
        text=text,
        categorical=categorical or {},
        numerical=numerical or {},
        timestamp_ms=0,
    )


def profile(categorical=None, numerical=None):
    """A profile of these fields."""
    return Profile(user_id="u", categorical=categorical or {}, numerical=numerical or {}, timestamp_ms=0)


def fed(encoders, records):
    """What the last of these records became."""
    for one in records:
        features = encoders.item(one)
    return features
