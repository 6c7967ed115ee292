"""A checkpoint is the state: what is restored has the same hash, and goes on as if nothing had happened."""

import msgspec
import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_model import SETTINGS, DrawnTables, a_log, new_state

from streamer import checkpoint, pipeline
from streamer.encode import Encoders
from streamer.encode.encoders import _MAGIC
from streamer.errors import CheckpointRefused
from streamer.measure import Scoreboard
from streamer.propagate.learner import Learner
from streamer.training import ThreadTrainer

META = checkpoint.Meta({"k": "v"}, [("interactions", 0, 7)], 3, 1, 2, "test")


def folded(state, scoreboard, log, size=50):
    """The state after these events."""
    for start in range(0, len(log), size):
        state, info = pipeline.step(state, log[start : start + size])
        scoreboard.update(info.outcomes)
    return state


def as_bytes(state, scoreboard):
    """The checkpoint of a state."""
    return b"".join(checkpoint.written(META, checkpoint.freeze(state, scoreboard)()))


def restored(data, trainer, sizes=SETTINGS, piece=1000):
    """What a checkpoint holds; read in small pieces."""
    reader = checkpoint.Reader(data[at : at + piece] for at in range(0, len(data), piece))
    header = checkpoint.read_header(reader)
    assert header.meta == META
    return checkpoint.restore(header, reader, sizes, trainer)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0.0, 1.0),
    repeats=st.booleans(),
    late=st.sets(st.integers(1, 12)),
)
def test_a_restored_state_goes_on_as_the_one_that_was_kept(seed, share, repeats, late):
    """Half of the log, checkpoint, restore, the other half: hash, figures and lists of one that never stopped."""
    log, sizes = a_log(seed % 1000, n_views=200), SETTINGS._replace(repeats=repeats)
    cut = int(share * len(log))
    whole, board = new_state(sizes, DrawnTables(late)), Scoreboard()
    whole = folded(whole, board, log[:cut])
    data = as_bytes(whole, board)
    again = restored(data, DrawnTables(late), sizes)
    assert pipeline.state_hash(again.state) == pipeline.state_hash(whole)
    assert as_bytes(*again) == data  # and nothing was left out that a hash does not see
    state, board_again = again
    whole, state = folded(whole, board, log[cut:]), folded(state, board_again, log[cut:], size=31)
    assert pipeline.state_hash(state) == pipeline.state_hash(whole)
    for figures in ("lists", "months", "paths", "windows"):
        assert getattr(board_again, figures)() == getattr(board, figures)()
    assert board_again.beyond(50) == board.beyond(50)
    rows = np.arange(-1, whole.ids.users.n_rows, dtype=np.int32)
    for mine, theirs in zip(*(pipeline.rank_users(s, rows, 20) for s in (state, whole)), strict=True):
        assert mine.tobytes() == theirs.tobytes()


def test_the_network_in_training_goes_on_too():
    """The real learner, a round at hand when the checkpoint is taken: it is done, and comes in when it is due."""
    log, hashes = a_log(5, n_views=260), []
    for cut in (None, 3, 130, 170):
        trainer = ThreadTrainer(Learner())
        state, board = new_state(SETTINGS, trainer), Scoreboard()
        if cut is not None:
            state = folded(state, board, log[:cut])
            data = as_bytes(state, board)
            trainer.close()
            trainer = ThreadTrainer(Learner())
            state, board = restored(data, trainer)
        state = folded(state, board, log[cut or 0 :])
        hashes.append(pipeline.state_hash(state))
        assert state.graph.vectors.version > 3
        trainer.close()
    assert len(set(hashes)) == 1


@pytest.fixture(scope="module")
def kept():
    """A checkpoint of a state that has everything."""
    state, board = new_state(), Scoreboard()
    return as_bytes(folded(state, board, a_log(3)), board)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_damaged_byte_is_taken(kept, data):
    """A byte changed, cut off or put in between: refused with a sentence, whatever and wherever it is."""
    at = data.draw(st.integers(0, len(kept) - 1) | st.integers(0, 20_000))
    kind = data.draw(st.sampled_from(["changed", "cut", "inserted"]))
    bad = {
        "changed": kept[:at] + bytes([kept[at] ^ data.draw(st.integers(1, 255))]) + kept[at + 1 :],
        "cut": kept[:at],
        "inserted": kept[:at] + b"\x01" + kept[at:],
    }[kind]
    with pytest.raises(CheckpointRefused, match=r"it |array "):
        restored(bad, DrawnTables(), piece=1 << 20)


@pytest.mark.parametrize(
    "change",
    [{"max_items": 40}, {"n_neighbours": 16}, {"max_users": 8}, {"repeats": True}],
)
def test_tables_of_other_sizes_are_refused(kept, change):
    """What does not fit into the tables of the settings is never put there; the sentence names the array."""
    with pytest.raises(CheckpointRefused, match=r"expected .*, got"):
        restored(kept, DrawnTables(), SETTINGS._replace(**change), piece=1 << 20)


def huge(array):
    """Every number far out of range."""
    changed = array.copy()
    if changed.dtype.names is None:
        changed[...] = np.iinfo(changed.dtype).max if changed.dtype.kind in "iu" else np.inf
        return changed
    for name in ("ring", "nodes", "top"):
        if name in changed.dtype.names:
            changed[name][...] = 2**31 - 1
    return changed


@pytest.mark.parametrize(
    "name",
    [
        *("table.users", "table.items", "table.nodes", "table.neighbours", "table.taken", "table.taken_free"),
        *(
            "table.taken_used",
            "table.clock_lists",
            "table.clock_lengths",
            "table.rates_ring",
            "table.rates_arrived",
        ),
        *(
            "table.window_n",
            "table.rates_n",
            "table.fresh",
            "table.ranker_memory_n",
            "table.ranker_memory_taken",
        ),
        *("takes.target", "takes.items", "changed", "segments", "nearest.table.item", "texts.rows"),
        *("ids.users.rows", "ids.items.lengths", "ids.nodes.n_rows", "ids.users.text", "texts.early_sizes"),
    ],
)
def test_rows_that_are_not_there_are_refused(name):
    """A checkpoint whose hashes are right and whose numbers are not: kernels look nothing up twice, so it must not reach them."""
    state, board = new_state(), Scoreboard()
    arrays = checkpoint.freeze(folded(state, board, a_log(3)), board)()
    assert arrays[name].size
    arrays[name] = huge(arrays[name])
    data = b"".join(checkpoint.written(META, arrays))
    with pytest.raises(CheckpointRefused):
        restored(data, DrawnTables(), piece=1 << 20)


@pytest.fixture(scope="module")
def trained():
    """Arrays of a state with the real learner, and a round at hand that has made tables."""
    trainer = ThreadTrainer(Learner())
    state, board = new_state(SETTINGS, trainer), Scoreboard()
    arrays = checkpoint.freeze(folded(state, board, a_log(5, n_views=170)), board)()
    trainer.close()
    return arrays


@pytest.mark.parametrize(
    "name",
    [
        *("inputs.nodes", "inputs.neighbours", "network.buffer.target", "network.buffer.items"),
        *("tables.h", "tables.bias", "network.n_taken", "network.mean.node", "network.buffer.gap_s"),
    ],
)
def test_rows_that_a_trainer_cannot_have_are_refused(trained, name):
    """It trains later, in a thread: numbers that no item has, and parts that are not of one length, must not get there."""
    array = trained[f"trainer.{name}"]
    assert array.size
    changed = huge(array) if array.dtype == np.int32 else array[:-1]
    data = b"".join(checkpoint.written(META, {**trained, f"trainer.{name}": changed}))
    trainer = ThreadTrainer(Learner())
    with pytest.raises(CheckpointRefused, match=r"trainer|network|array"):
        restored(data, trainer, piece=1 << 20)
    trainer.close()


@pytest.mark.parametrize("change", ["missing", "unknown", "twice as long", "other type"])
def test_arrays_that_are_not_ours_are_refused(change):
    """One too few, one too many, of another shape, of another type: with the name in the sentence."""
    state, board = new_state(), Scoreboard()
    arrays = checkpoint.freeze(folded(state, board, a_log(3)), board)()
    values = arrays.pop("table.values")
    if change == "unknown":
        arrays |= {"table.values": values, "table.of_others": values}
    elif change == "twice as long":
        arrays["table.values"] = np.concatenate([values, values])
    elif change == "other type":
        arrays["table.values"] = values.astype(np.float32)
    with pytest.raises(CheckpointRefused, match=r"table\.(values|of_others)"):
        restored(b"".join(checkpoint.written(META, arrays)), DrawnTables(), piece=1 << 20)


@pytest.mark.parametrize("name", ["nearest.table.item", "table.neighbours", "table.rates_arrived"])
def test_one_row_too_many_is_refused(name):
    """The first row that nobody has is as wrong as any other; these tables hold rows + 1, or rows."""
    state, board = new_state(), Scoreboard()
    state = folded(state, board, a_log(3))
    arrays = checkpoint.freeze(state, board)()
    arrays[name].reshape(-1)[0] = state.ids.items.n_rows + (name != "table.rates_arrived")
    with pytest.raises(CheckpointRefused, match="expected 0 to"):
        restored(b"".join(checkpoint.written(META, arrays)), DrawnTables(), piece=1 << 20)


def test_a_list_of_free_blocks_that_never_ends_is_refused():
    """The first block names itself as the next one: whoever followed it would never come back."""
    state, board = new_state(), Scoreboard()
    arrays = checkpoint.freeze(folded(state, board, a_log(3)), board)()
    arrays["table.taken_free"][3] = 0
    arrays["table.taken"][0] = 1  # of units of a block, + 1: block 0
    with pytest.raises(CheckpointRefused, match="lists of free blocks that end"):
        restored(b"".join(checkpoint.written(META, arrays)), DrawnTables(), piece=1 << 20)


def test_what_never_grows_has_its_size():
    """A table of fewer lists than are measured, and texts wider than any model makes them."""
    for name, change in (
        ("board.totals", lambda totals: totals[:-1]),
        ("nearest.table.vector", lambda codes: np.zeros((len(codes), 1025), np.int8)),
    ):
        state, board = new_state(), Scoreboard()
        arrays = checkpoint.freeze(folded(state, board, a_log(3)), board)()
        arrays[name] = np.ascontiguousarray(change(arrays[name]))
        with pytest.raises(CheckpointRefused, match=rf"array {name}: expected"):
            restored(b"".join(checkpoint.written(META, arrays)), DrawnTables(), piece=1 << 20)


def test_an_array_that_is_there_twice_is_refused(kept):
    """Whoever forges a checkpoint can make all hashes right: which of the two counts is nobody's guess."""
    begin = 20 + 4 + 16
    end = begin + int.from_bytes(kept[20:24], "little")
    header, body = msgspec.json.decode(kept[begin:end]), kept[end:]
    last = header["arrays"][-1]
    body += body[-last[-1] :]
    header["arrays"].append(last)
    header["body_hash"] = xxhash.xxh3_128_hexdigest(body)
    forged = msgspec.json.encode(header)
    data = kept[:20] + len(forged).to_bytes(4, "little") + xxhash.xxh3_128_digest(forged) + forged + body
    with pytest.raises(CheckpointRefused, match="expected each of ours once"):
        restored(data, DrawnTables(), piece=1 << 20)


@pytest.mark.parametrize("name", ["items", "nodes", "clock_epochs"])
def test_a_weight_of_an_epoch_to_come_is_refused(name):
    """How long ago a weight was written is an index into a table of the kernels: below zero it would read beside it."""
    state, board = new_state(), Scoreboard()
    arrays = checkpoint.freeze(folded(state, board, a_log(3)), board)()
    spoiled = arrays[f"table.{name}"]
    (spoiled if spoiled.dtype.names is None else spoiled["epoch"])[...] = -1 if name == "clock_epochs" else 7
    with pytest.raises(CheckpointRefused, match="epoch"):
        restored(b"".join(checkpoint.written(META, arrays)), DrawnTables(), piece=1 << 20)


def test_a_node_that_was_settled_in_time_to_come_is_refused():
    """How long ago its cold items were counted is an index, too."""
    state, board = new_state(), Scoreboard()
    arrays = checkpoint.freeze(folded(state, board, a_log(3)), board)()
    arrays["table.nodes"]["cold_event"][0] = 2**40
    with pytest.raises(CheckpointRefused, match=r"nodes\.cold_event"):
        restored(b"".join(checkpoint.written(META, arrays)), DrawnTables(), piece=1 << 20)


def test_a_header_that_nests_is_refused(kept):
    """Whoever forges a header can make its hash right, and its JSON deeper than a stack."""
    header = b'{"format": 1, "meta": ' + b"[" * 100_000
    data = kept[:20] + len(header).to_bytes(4, "little") + xxhash.xxh3_128_digest(header) + header
    with pytest.raises(CheckpointRefused, match="header cannot be read"):
        restored(data, DrawnTables())


def test_a_newer_format_is_told(kept):
    """By its number, whatever else it holds."""
    header = msgspec.json.encode({"format": 2, "and": "whatever"})
    data = kept[:20] + len(header).to_bytes(4, "little") + xxhash.xxh3_128_digest(header) + header
    with pytest.raises(CheckpointRefused, match="newer format: expected 1, got 2"):
        restored(data, DrawnTables())


def test_no_bytes_are_run_or_believed_by_the_encoders(kept):
    """River's parts in Rust panic over bytes that are not theirs; that is a refusal, too."""
    state, board = new_state(), Scoreboard()
    state = folded(state, board, a_log(3))
    plain = state.encoders.freeze()
    parts = msgspec.msgpack.decode(plain[len(_MAGIC) + 8 :])

    def spoil(value):
        if isinstance(value, bytes):
            return value[:5]
        if isinstance(value, list):
            return [spoil(part) for part in value]
        return {key: spoil(part) for key, part in value.items()} if isinstance(value, dict) else value

    payload = msgspec.msgpack.encode(spoil(parts))
    with pytest.raises(ValueError, match="expected its own bytes"):
        Encoders.from_bytes(_MAGIC + xxhash.xxh3_64_digest(payload) + payload)
