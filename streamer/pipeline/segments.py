"""A list for each segment of users: what somebody of whom only one value of his profile is known would be shown."""

from collections.abc import Iterable

from streamer.encode.names import MISSING, RARE
from streamer.events import PROFILE_NODE, segment_list_id
from streamer.pipeline.state import State

MAX_SEGMENTS = 1_000  # of all profiles together; values that come later have no list of their own
ONE_IN = 8  # rows of users at most: nobody can evict a segment
_POOLS = (RARE, MISSING)  # values of our own making: no reader asks for their list


def admit_segments(state: State, names: Iterable[str]) -> None:
    """Give each value of a profile a user who has nothing but this value, once; his list is that of the segment.

    His id is reserved (`events.segment_list_id`), so no event is ever his, and nobody can erase him. Beyond
    `MAX_SEGMENTS`, or their share of the users' table, or where that is full, the value goes without.

    Args:
        state: Its tables and `segments` are changed.
        names: Nodes of one profile, as the encoders name them; each has its row, unless that table is full.
    """
    for name in names:
        node_row = state.ids.nodes.row(name)
        if node_row < 0 or node_row in state.segments or not _is_value(name):
            continue
        if len(state.segments) >= min(MAX_SEGMENTS, state.settings.max_users // ONE_IN):
            return
        user_row = state.ids.users.admit(segment_list_id(name))
        if user_row < 0:
            return
        state.graph.users["nodes"][user_row][0] = node_row + 1
        state.segments[node_row] = user_row


def _is_value(name: str) -> bool:
    """Whether a node stands for a value that readers can name, and not for a bin of numbers or a pool."""
    # separators in a field are escaped, so the first "=" is that of a value, and a bin ("#") has none
    _, separator, value = name.partition("=")
    return name.startswith(PROFILE_NODE) and separator == "=" and value not in _POOLS
