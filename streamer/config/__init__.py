"""One frozen `Settings`: flags > `STREAMER_*` environment > TOML file > defaults.

settings   what can be set, what it means, and which values it may have
load       where settings come from
addresses  what addresses of servers look like
redis      which options of redis-py may be set
secret     secrets: read from files, and never shown
parts      what of the model `without` can switch off
"""

from streamer.config.load import CONFIG_FILE_ENV, Loaded, load, parse_assignments
from streamer.config.secret import mask_url
from streamer.config.settings import ENV_PREFIX, NO_TEXT_MODEL, Settings

__all__ = [
    "CONFIG_FILE_ENV",
    "ENV_PREFIX",
    "NO_TEXT_MODEL",
    "Loaded",
    "Settings",
    "load",
    "mask_url",
    "parse_assignments",
]
