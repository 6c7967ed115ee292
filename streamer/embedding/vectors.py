"""Rows of a model -> the bytes that caches and messages hold."""

from collections.abc import Mapping, Sequence

from streamer.errors import Unavailable
from streamer.events import vector_problem
from streamer.ports import TextModel


def embed(model: TextModel, contents: Sequence[str]) -> list[bytes]:
    """The vector of each text, float16, little endian.

    Raises:
        Unavailable: the model does not work for now, or gives what is no vector.
    """
    rows = model.embed(contents)
    if rows.shape != (len(contents), model.dim):
        expected = (len(contents), model.dim)
        raise Unavailable(
            f"text model {model.name!r}: expected vectors of shape {expected}, got {rows.shape}"
        )
    vectors = [row.astype("<f2").tobytes() for row in rows]
    for vector in vectors:
        problem = vector_problem(vector)
        if problem is not None:
            raise Unavailable(f"text model {model.name!r}: expected a vector, got {problem}")
    return vectors


def sound(found: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those of a cache that are vectors: what is not is made again."""
    return {key: vector for key, vector in found.items() if vector_problem(vector) is None}
