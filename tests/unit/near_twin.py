"""The slow twin of the table of nearest items: whole float64 matrices and full sorts."""

import numpy as np

N_NEAR = 32  # the contract of the table


class NearTwin:
    """What an exact table holds after all vectors came, in whatever order.

    Args:
        vectors: Vector by row: a dict, or a sequence for rows 0, 1, ...
    """

    def __init__(self, vectors):
        items = vectors.items() if isinstance(vectors, dict) else enumerate(vectors)
        rows, wide = zip(*items, strict=True)
        wide = np.asarray(wide, np.float64)
        codes = np.rint(127.0 * wide / np.linalg.norm(wide, axis=1, keepdims=True))
        self.rows = list(rows)
        self._place = {row: place for place, row in enumerate(rows)}
        self._cosines = np.clip(codes @ codes.T / 127.0**2, -1.0, 1.0).tolist()

    def similarity(self, a, b):
        """Cosine of the rounded vectors, within what a cosine can be."""
        return self._cosines[self._place[a]][self._place[b]]

    def nearest(self, row):
        """All rows that the table should list for this one, nearest first, ties to the lower row."""
        others = [other for other in self.rows if other != row]
        return sorted(others, key=lambda other: (-self.similarity(row, other), other))[:N_NEAR]

    def row(self, row):
        """Similarity by listed row."""
        return {other: self.similarity(row, other) for other in self.nearest(row)}

    def mass(self, row):
        """Weight of all other rows."""
        return sum(np.exp((self.similarity(row, other) - 1.0) / 0.12) for other in self.rows if other != row)


def table_of(nearest, row):
    """Similarity by row, as the table has it."""
    slots = zip(nearest.table.item[row].tolist(), nearest.table.similarity[row].tolist(), strict=True)
    return {item - 1: similar for item, similar in slots if item > 0}


def neighbours_of(nearest, row):
    """The rows that the table lists for this one."""
    return set(table_of(nearest, row))
