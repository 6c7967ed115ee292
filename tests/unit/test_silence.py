"""When all that was on the log is read: silence alone does not say so."""

from typing import Any

import pytest
from runner_records import TP

from streamer.adapters.memory import ManualClock, MemoryLog, MemorySource
from streamer.config import Settings
from streamer.errors import Unavailable
from streamer.runner.patience import Patience
from streamer.runner.phases import CatchUp, Phase
from streamer.runner.positions import Positions
from streamer.silence import QUIET_S, Silence


@pytest.mark.parametrize(("n_there", "then"), [(5, Phase.READING), (3, Phase.PUBLISHING)])
def test_silence_alone_is_not_the_end(
    patience: Patience, clock: ManualClock, n_there: int, then: Phase
) -> None:
    """A log that was away, or is slow, says nothing for long: only where it holds no more record is all of it read."""
    settings, log = Settings(), MemoryLog({"interactions": 1, "catalog": 1, "profiles": 1, "texts": 1})
    for n in range(n_there):
        log.append("interactions", 0, None, b"%d" % n)
    source = MemorySource(log, list(settings.kinds()), "g", clock=clock)
    catch_up = CatchUp(settings, source, Positions({TP: 3}, {}), {TP: 5}, patience, clock, lambda: None)
    catch_up.begin(seek=False)
    assert catch_up.look(Phase.READING, any_records=False) is Phase.READING
    clock.advance(QUIET_S)
    assert catch_up.look(Phase.READING, any_records=False) is then


def test_the_end_is_asked_for_until_the_log_answers(clock: ManualClock) -> None:
    """A log that is away when it is asked is asked again at once; one that has more, after another silence."""
    log = MemoryLog({"interactions": 1})
    silence = Silence(MemorySource(log, ["interactions"], "g", clock=clock), clock)
    clock.advance(QUIET_S)
    log.down = True
    with pytest.raises(Unavailable):
        silence.is_the_end({TP: 0})
    log.down = False
    log.append("interactions", 0, None, b"v")
    assert not silence.is_the_end({TP: 0})
    assert not silence.is_the_end({TP: 1})
    clock.advance(2 * QUIET_S)
    assert silence.is_the_end({TP: 1})
    silence.broken()
    assert not silence.is_the_end({TP: 1})


def test_a_reader_who_lost_his_place_is_put_back(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """He hears nothing of what is there: he is told where to go on. At the end of the log there is nothing to hear."""
    log = MemoryLog({"interactions": 1})
    source, sought = MemorySource(log, ["interactions"], "g", clock=clock), list[Any]()
    monkeypatch.setattr(source, "seek", sought.append)
    silence = Silence(source, clock)
    log.append("interactions", 0, None, b"v")
    clock.advance(QUIET_S)
    assert not silence.is_the_end({TP: 0})
    assert sought == [{TP: 0}]
    clock.advance(1.9 * QUIET_S)  # a log that is merely slow has ever more time
    assert not silence.is_the_end({TP: 1})
    clock.advance(0.1 * QUIET_S)
    assert silence.is_the_end({TP: 1})
    assert sought == [{TP: 0}]
