"""All fields of one kind of record: of the catalog, of profiles, or of the context of interactions."""

import math
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest
from typing import Any

from streamer.encode.categorical import CategoricalField, Room
from streamer.encode.drift import Drift, Means
from streamer.encode.names import CONTEXT, MISSING, missing_number_name, pool_name
from streamer.encode.numerical import NumericalField
from streamer.events import escaped

BYTES_A_FIELD = 16_000
"""Of a field's own: points of quantiles, windows of drift detectors, running moments."""
_RARE_FIELD = 100
"""A field is rare that fewer than one record in so many had."""
MAX_CHANGES = 256
"""Changes kept until they are taken; the oldest give way."""


class Fields:
    """The fields of one kind of record, in the order in which they were first seen.

    Beyond `max_fields` a new one takes the place of the one that fewest records had, if fewer than one in a hundred had that, so
    that a record of made-up fields does not take all places for ever; else it is refused.

    Args:
        prefix: In front of field names in node names: "", "profile:" or "context:".
        max_fields: Fields kept, both kinds together.
        max_values: Values kept of one categorical field; all together keep twice as many.
        ignore: "numerical" and "categorical": fields that are passed over.
    """

    def __init__(self, prefix: str, max_fields: int, max_values: int, ignore: frozenset[str]) -> None:
        self.n_records = 0
        self.n_refused = 0
        self.categorical: dict[str, CategoricalField] = {}
        self.numerical: dict[str, NumericalField] = {}
        self.changes: list[Drift] = []
        self._prefix = prefix
        self._watched = prefix != CONTEXT  # of context only what is cheap
        self._max_fields = max_fields
        self._max_values = max_values
        self._ignore = ignore
        self._room = Room(2 * max_values)

    def learn(self, categorical: Mapping[str, list[str]], numerical: Mapping[str, float]) -> None:
        """Learn one record of any number of fields."""
        self.n_records += 1
        for name, values in categorical.items():
            field = self._categorical(name) if values else None
            if field is not None:
                self._note(field, "categorical", field.learn(dict.fromkeys(values)))
        for name, number in numerical.items():
            scale = self._numerical(name) if math.isfinite(number) else None
            if scale is not None:
                self._note(scale, "numerical", scale.learn(number))

    def category_nodes(self, categorical: Mapping[str, list[str]], n_most: int) -> tuple[str, ...]:
        """Node names of the values of a record that was learned, each once.

        First the first value of every field, then the second ones, ...: a field of many tags leaves room for the
        brand. The rare nodes, which say least, come last; then those of fields which most records have and this one
        lacks.
        """
        named: list[list[str]] = []
        rest: list[str] = []
        for name, values in categorical.items():
            field = self.categorical.get(name)
            if field is None:
                continue
            nodes = [field.node(value) for value in dict.fromkeys(values)]
            named.append([node for node in nodes if node is not None])
            if len(named[-1]) < len(nodes):
                rest.append(field.rare_node)
        for name, field in self.categorical.items():
            if not categorical.get(name) and self._is_usual(field):
                rest.append(pool_name(field.stem, MISSING))
        return tuple([*_in_turn(named), *rest][:n_most])

    def bin_nodes(self, numerical: Mapping[str, float], n_most: int) -> tuple[str, ...]:
        """Node names of the bins of a record that was learned, then of numbers which it lacks and most records have."""
        present: list[str] = []
        missing: list[str] = []
        for name, field in self.numerical.items():
            number = numerical.get(name)
            if number is not None and math.isfinite(number):
                present.append(field.node(number))
            elif self._is_usual(field):
                missing.append(missing_number_name(field.stem))
        return tuple([*present, *missing][:n_most])

    def numbers(self, numerical: Mapping[str, float], n_numbers: int) -> tuple[float, ...]:
        """Standardised values of the first `n_numbers` numerical fields ever seen; nan where there is none."""
        found = [math.nan] * n_numbers
        for n, (name, field) in zip(range(n_numbers), self.numerical.items(), strict=False):
            number = numerical.get(name)
            if number is not None and math.isfinite(number):
                found[n] = field.standardised(number)
        return tuple(found)

    def quick_nodes(self, record: Mapping[str, str | float], n_most: int) -> tuple[str, ...]:
        """Learn and name the first `n_most` known fields of a record, at the cost of a few look-ups."""
        self.n_records += 1
        nodes: list[str] = []
        for name, value in record.items():
            if isinstance(value, str):
                field = self.categorical.get(name) or self._categorical(name)
                if field is not None:
                    field.learn((value,))
                    nodes.append(field.node(value) or field.rare_node)
            elif math.isfinite(value):
                scale = self.numerical.get(name) or self._numerical(name)
                if scale is not None:
                    scale.learn_sparsely(value)
                    nodes.append(scale.node(value))
            if len(nodes) == n_most:
                break
        return tuple(nodes)

    def n_bytes(self) -> int:
        """About how many bytes the tables take."""
        n_fields = len(self.categorical) + len(self.numerical)
        return n_fields * BYTES_A_FIELD + self._room.n_bytes

    def readable(self) -> dict[str, Any]:
        """JSON-able summary."""
        return {
            "n_records": self.n_records,
            "n_fields_refused": self.n_refused,
            "categorical": {name: field.readable() for name, field in self.categorical.items()},
            "numerical": {name: field.readable() for name, field in self.numerical.items()},
        }

    def freeze(self) -> list[Any]:
        """The state as plain data; changes not taken yet are no part of it."""
        return [
            [self.n_records, self.n_refused],
            [[name, field.freeze()] for name, field in self.categorical.items()],
            [[name, field.freeze()] for name, field in self.numerical.items()],
        ]

    def thaw(self, state: list[Any]) -> None:
        """Take the state that `freeze` gave."""
        (self.n_records, self.n_refused), categorical, numerical = state
        for name, field_state in categorical:
            field = self.categorical[name] = self._new_categorical(name)
            field.thaw(field_state)
        for name, field_state in numerical:
            scale = self.numerical[name] = self._new_numerical(name)
            scale.thaw(field_state)

    def _is_usual(self, field: CategoricalField | NumericalField) -> bool:
        return 2 * field.n_seen >= self.n_records

    def _may_add(self) -> bool:
        if len(self.categorical) + len(self.numerical) < self._max_fields:
            return True
        kinds: tuple[Mapping[str, CategoricalField | NumericalField], ...] = (
            self.categorical,
            self.numerical,
        )
        n_seen, name = min((field.n_seen, name) for fields in kinds for name, field in fields.items())
        if _RARE_FIELD * n_seen >= self.n_records:
            self.n_refused += 1
            return False
        if name in self.categorical:
            self._room.give_back(self.categorical.pop(name).counts)
        else:
            del self.numerical[name]
        return True

    def _categorical(self, name: str) -> CategoricalField | None:
        field = self.categorical.get(name)
        if field is None and "categorical" not in self._ignore and self._may_add():
            field = self.categorical[name] = self._new_categorical(name)
        return field

    def _numerical(self, name: str) -> NumericalField | None:
        field = self.numerical.get(name)
        if field is None and "numerical" not in self._ignore and self._may_add():
            field = self.numerical[name] = self._new_numerical(name)
        return field

    def _new_categorical(self, name: str) -> CategoricalField:
        return CategoricalField(self._prefix + escaped(name), self._watched, self._max_values, self._room)

    def _new_numerical(self, name: str) -> NumericalField:
        return NumericalField(self._prefix + escaped(name), self._watched)

    def _note(self, field: CategoricalField | NumericalField, kind: str, means: Means | None) -> None:
        if means is not None:
            self.changes.append(Drift(field.stem, kind, field.n_seen, *means))
            del self.changes[:-MAX_CHANGES]


def _in_turn(lists: Iterable[list[str]]) -> list[str]:
    """The first of every list, then the second of every list, and so on."""
    return [name for name in chain.from_iterable(zip_longest(*lists)) if name is not None]
