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

    The bytes of a part in Rust are not checked by river: whoever reads them from outside checks them first.
    """
    if isinstance(state, bytes):
        estimator.__setstate__(state)
        return
    for name, value in state.items():
        if isinstance(value, _PLAIN):
            setattr(estimator, name, value)
        else:
            thaw(getattr(estimator, name), value)
