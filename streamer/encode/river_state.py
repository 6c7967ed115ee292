"""River's estimators <-> plain data, so that they can be hashed and kept without pickle.

An estimator is an object with plain attributes, estimators inside it, and parts in Rust whose `__getstate__`
gives canonical bytes: numbers in a fixed order, little endian. Nothing here names a class, so that what is
read can only ever fill the estimator that the code made for it.
"""

from typing import Any

_PLAIN = (bool, int, float, str, type(None))


def freeze(estimator: Any) -> Any:
    """What the estimator knows: a dict of its attributes (names in order), or the bytes of a part in Rust.

    Raises:
        TypeError: It holds something else; then this version of river cannot be kept.
    """
    state = estimator.__getstate__()
    if isinstance(state, bytes):
        return state
    if not isinstance(state, dict):
        raise TypeError(
            f"{type(estimator).__name__}: expected a state of attributes or bytes, got {type(state).__name__}"
        )
    return {
        name: value if isinstance(value, _PLAIN) else freeze(value) for name, value in sorted(state.items())
    }


def thaw(estimator: Any, state: Any) -> None:
    """Fill a new estimator, made with the same arguments, with what `freeze` gave.

    Raises:
        ValueError: It is the state of another estimator, or of none.
    """
    own = estimator.__getstate__()
    if type(state) is not type(own) or (isinstance(own, dict) and state.keys() != own.keys()):
        raise ValueError(f"{type(estimator).__name__}: expected the state of one, got something else")
    if isinstance(own, bytes):
        _fill(estimator, state)
        return
    for name, value in state.items():
        if not isinstance(own[name], _PLAIN):
            thaw(getattr(estimator, name), value)
        elif isinstance(value, _PLAIN):
            setattr(estimator, name, value)
        else:
            raise ValueError(f"{type(estimator).__name__}.{name}: expected a number or a text")


def _fill(part: Any, state: bytes) -> None:
    """Fill a part in Rust, which panics over bytes that are not its own."""
    try:
        part.__setstate__(state)
    except BaseException as exc:
        if type(exc).__name__ != "PanicException":  # no class that Python knows by name, and no Exception
            raise
        raise ValueError(f"{type(part).__name__}: expected its own bytes, got others") from exc
