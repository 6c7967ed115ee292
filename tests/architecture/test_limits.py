"""Limits that stand twice, since their rooms may not import each other: kernels look at no bounds, and would write past them."""

from streamer import encode
from streamer.adapters import text_model
from streamer.encode import encoders
from streamer.events.contract import MAX_TEXT_DIM
from streamer.graph.state import N_NUMBERS, PROFILE_NODES


def test_no_model_makes_wider_vectors_than_a_message_may_hold() -> None:
    """Adapters know no events: the limit on texts' vectors is the same on both sides."""
    assert text_model.MAX_DIM == MAX_TEXT_DIM


def test_encoders_give_as_much_as_rows_have_room_for() -> None:
    """Numbers of an item, and feature nodes of a profile: encoders know no tables."""
    assert encode.N_NUMBERS == N_NUMBERS
    assert encoders.N_PROFILE == PROFILE_NODES
