"""What runs beside the fold gives way, and nothing else does."""

import os
import sys
import threading

import pytest

from streamer.priority import NICER, give_way


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own only there")
def test_one_thread_gives_way() -> None:
    """The thread that calls it stands behind where it was; the others stay where they are."""

    def own() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def work() -> None:
        before = own()
        give_way()
        found.extend((before, own()))

    found: list[int] = []
    here = own()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [here, min(19, here + NICER)]
    assert own() == here
