"""Texts of items -> vectors, in the shell: what is embedded enters the fold as an event of the log alone.

`background` embeds beside the worker's loop, `inline` at once, for a replay. Both look in the cache first. `waiting` holds
what a slow model has not come to, `vectors` is what they share.
"""

from streamer.embedding.background import Embedder, EmbedderStats
from streamer.embedding.inline import InlineTexts

__all__ = ["Embedder", "EmbedderStats", "InlineTexts"]
