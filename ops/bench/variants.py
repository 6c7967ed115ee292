"""The rows of the ablation: which parts of the model each goes without."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

PARTS = ("numerical", "categorical", "words", "text", "time", "rating", "ranker", "vectors")


class Variant(NamedTuple):
    """One row.

    Args:
        name: As shown.
        subject: The part that it is about; how `--only` knows it.
        without: Names of paths and PARTS that are switched off.
    """

    name: str
    subject: str
    without: tuple[str, ...]


def variants(paths: Sequence[str]) -> list[Variant]:
    """The full model; without each path, each family of paths, each part; each path and each family alone.

    A family are the paths whose names begin alike (sequence, sequence_far): single ones stand in for each other, so that
    taking away one says little. A path alone is ranked by nothing but itself: the ranker would add what it knows.

    Args:
        paths: Names of all paths.
    """
    families = _families(paths)
    removed = [
        *(Variant(f"- {path}", path, (path,)) for path in paths),
        *(Variant(f"- {name}", name, members) for name, members in families.items()),
        *(Variant(f"- {part}", part, (part,)) for part in PARTS if part not in paths),
    ]
    alone = [
        Variant(f"{name} alone", name, _but(paths, members))
        for name, members in {**{path: (path,) for path in paths}, **families}.items()
    ]
    return [Variant("full model", "full", ()), *removed, *alone]


def chosen(rows: Sequence[Variant], only: Collection[str]) -> list[Variant]:
    """Rows that are named, or whose subject is; nothing named: all.

    Raises:
        ValueError: a name is none of theirs.
    """
    known = {row.name for row in rows} | {row.subject for row in rows}
    unknown = sorted(set(only) - known)
    if unknown:
        subjects = ", ".join(dict.fromkeys(row.subject for row in rows))
        raise ValueError(f"--only: expected a row, or one of {subjects}; got {', '.join(unknown)}")
    return [row for row in rows if not only or {row.name, row.subject} & set(only)]


def _families(paths: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """First word and a star -> paths of the family, where it has several."""
    members: dict[str, tuple[str, ...]] = {}
    for path in paths:
        family = f"{path.partition('_')[0]}*"
        members[family] = (*members.get(family, ()), path)
    return {family: of_it for family, of_it in members.items() if len(of_it) > 1}


def _but(paths: Sequence[str], kept: Collection[str]) -> tuple[str, ...]:
    return (*(path for path in paths if path not in kept), "ranker")
