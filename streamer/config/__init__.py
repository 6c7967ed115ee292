"""One frozen `Settings`: flags > `STREAMER_*` environment > TOML file > defaults."""

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
