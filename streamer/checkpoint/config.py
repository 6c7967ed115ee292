"""What a checkpoint belongs to: every setting that changes what the fold computes."""

from collections.abc import Mapping

from streamer import paths
from streamer.errors import CheckpointRefused
from streamer.graph import FoldSettings
from streamer.ranker.features import N_FEATURES

# To be raised when the numbers of a table come to mean something else and its shape does not tell: then the log is folded anew.
STATE_VERSION = 5
_MAX_NAMED = 5
_MAX_SHOWN = 60


def config_of(settings: FoldSettings, measure_share: float) -> dict[str, str]:
    """Name -> value, as text; two folds of one log agree only where all of these do."""
    own = {name: repr(value) for name, value in settings._asdict().items()}
    return {
        **own,
        "state_version": str(STATE_VERSION),
        "measure_share": repr(measure_share),
        "paths": ",".join(paths.NAMES),
        "ranker_features": str(N_FEATURES),
    }


def check_config(kept: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Refuse a checkpoint of another configuration.

    Raises:
        CheckpointRefused: which settings differ.
    """
    odd = sorted(name for name in kept.keys() | ours.keys() if kept.get(name) != ours.get(name))
    if odd:
        differences = [
            f"{name[:_MAX_SHOWN]} was {kept.get(name, 'not there')[:_MAX_SHOWN]} and is "
            f"{ours.get(name, 'not there')[:_MAX_SHOWN]}"
            for name in odd[:_MAX_NAMED]
        ]
        raise CheckpointRefused(f"it belongs to another configuration: {'; '.join(differences)}")
