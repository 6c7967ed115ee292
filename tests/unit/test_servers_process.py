"""Ports for processes of ours."""

import socket

from streamer.servers.process import HOST, free_port


def test_a_port_is_taken_where_it_is_free_and_another_where_it_is_not() -> None:
    """Whoever wants the usual one gets it, unless somebody has it."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        port = int(taken.getsockname()[1])
        assert free_port(port) not in (0, port)
    assert free_port(port) == port


def test_a_port_lies_below_the_limit() -> None:
    """A node of a cluster listens on a second one, 10,000 higher."""
    assert all(0 < free_port(below=55_000) < 55_000 for _ in range(20))
