"""How long what is written may live: checked in every store that forgets."""


def check_ttl(ttl_s: int) -> None:
    """Raise `ValueError` unless there is time left: Redis would refuse it with an error that looks as if waiting could help."""
    if ttl_s <= 0:
        raise ValueError(f"ttl_s must be positive, got {ttl_s}")
