"""The options of redis-py that may be set, by its own names: what secures and times a connection, not what changes answers."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

_Text = Annotated[str, Field(min_length=1, max_length=65_536)]
_Seconds = Annotated[float, Field(gt=0.0, le=3600.0, allow_inf_nan=False)]


class _RedisOptions(BaseModel):
    """Names and types as redis-py has them."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    username: _Text | None = None
    password: _Text | None = None
    ssl_ca_certs: _Text | None = None
    ssl_ca_path: _Text | None = None
    ssl_ca_data: _Text | None = None
    ssl_certfile: _Text | None = None
    ssl_keyfile: _Text | None = None
    ssl_password: _Text | None = None
    ssl_cert_reqs: Literal["none", "optional", "required"] | None = None
    ssl_check_hostname: bool | None = None
    ssl_ciphers: _Text | None = None
    socket_timeout: _Seconds | None = None
    socket_connect_timeout: _Seconds | None = None
    socket_keepalive: bool | None = None
    client_name: _Text | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_is_meant(cls, value: object, info: Any) -> object:
        """`socket_timeout = true` is not one second, and `ssl_check_hostname = 2` is not true."""
        is_switch = info.field_name in ("ssl_check_hostname", "socket_keepalive")
        if isinstance(value, bool) != is_switch and not isinstance(value, str):
            raise ValueError("expected true or false" if is_switch else "expected a value, not true or false")
        return value


def redis_options(given: Mapping[str, object]) -> dict[str, bool | int | float | str]:
    """The options with their types; texts, as flags have them, are read.

    Raises:
        ValueError: an unknown name, or a value that it cannot have; the text does not repeat values.
    """
    try:
        return _RedisOptions.model_validate(dict(given)).model_dump(exclude_unset=True)
    except ValidationError as exc:
        raise ValueError("; ".join(_sentence(error) for error in exc.errors(include_input=False))) from None


def _sentence(error: Any) -> str:
    name = str(error["loc"][0])[:80]
    if error["type"] == "extra_forbidden":
        return f"{name!r} is none of {', '.join(_RedisOptions.model_fields)}"
    return f"{name}: {error['msg'].removeprefix('Value error, ').replace('Input should be', 'expected')}"
