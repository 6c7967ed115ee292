"""`replay.run` with texts: the vector of a text comes right behind its item, whatever the cache holds."""

from pathlib import Path
from typing import Any

import pytest

from streamer import datasets, pipeline, replay
from streamer.adapters.memory.texts import MemoryTextCache, MemoryTextModel
from streamer.config import Settings
from streamer.embedding import InlineTexts
from streamer.events import CatalogItem, Interaction, TextEmbedded
from streamer.texts import content_key

SETTINGS = Settings(text_model="memory", max_items=1000, max_users=1000, max_nodes=100, max_taken=10_000)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three items, of which the second has no text and the last no events; four events."""
    (tmp_path / "items.csv").write_text(
        "item_id,title,text,categories\na,red lamp,,\nb,,,\nc,blue chair,of oak,\n"
    )
    events = ["u,a,1,1600000000", "u,b,1,1600000001", "v,a,1,1600000002", "v,b,1,1600000003"]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,value,timestamp", *events, ""]))
    return tmp_path


def inline(model: MemoryTextModel, cache: MemoryTextCache) -> InlineTexts:
    """With this model and cache."""
    return InlineTexts("memory", lambda: model, cache)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_vector_comes_right_behind_its_item(directory: Path, batch_size: int) -> None:
    """Wherever the log is cut into batches; items without a text have none."""
    dataset = datasets.load(directory, catalog_first=False)
    texts = inline(MemoryTextModel(), MemoryTextCache())
    events = [event for batch in replay._batches(dataset, batch_size, texts) for event in batch]
    assert [type(event) for event in events] == [
        *(Interaction, CatalogItem, TextEmbedded, Interaction, CatalogItem, Interaction, Interaction)
    ]
    assert isinstance(events[2], TextEmbedded)
    assert events[2].key == content_key("memory", "red lamp")


def test_a_second_replay_embeds_nothing_and_is_the_same(directory: Path) -> None:
    """Same figures, same state; with and without the cache of the first."""
    model, cache = MemoryTextModel(), MemoryTextCache()
    reports = [replay.run(directory, SETTINGS, texts=inline(model, cache)) for _ in range(2)]
    assert model.n_embedded == 2
    reports.append(replay.run(directory, SETTINGS, texts=inline(model, MemoryTextCache())))
    assert model.n_embedded == 4
    for report in reports:
        del report["timing"]
    assert reports[0] == reports[1] == reports[2]


@pytest.mark.parametrize(
    ("max_events", "catalog_first", "n_embedded"), [(1, False, 1), (1, True, 2), (None, False, 2)]
)
def test_a_short_replay_embeds_what_it_meets(
    directory: Path, max_events: int | None, catalog_first: bool, n_embedded: int
) -> None:
    """The first events of a large set must not wait for the texts of all of it."""
    model = MemoryTextModel()
    told: list[tuple[int, int]] = []
    replay.run(
        directory,
        SETTINGS,
        max_events=max_events,
        catalog_first=catalog_first,
        text_progress=lambda *step: told.append(step),
        texts=inline(model, MemoryTextCache()),
    )
    assert model.n_embedded == n_embedded
    assert told == [(n_embedded, n_embedded)]


def test_without_texts_nothing_is_embedded(directory: Path) -> None:
    """`text_model = none`."""
    model = MemoryTextModel()
    settings = SETTINGS.model_copy(update={"text_model": "none"})
    replay.run(directory, settings, texts=inline(model, MemoryTextCache()))
    assert model.n_embedded == 0


def test_figures_of_lists_know_which_items_were_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More items than there is room for: coverage is of those known at the end, and counts none that had their rows before."""
    (tmp_path / "items.csv").write_text("item_id,title\na,A\n")
    rows = "".join(f"u{n % 29},i{n * n % 7 + n // 8},1,{1_600_000_000 + n}\n" for n in range(710))
    (tmp_path / "events.csv").write_text("user_id,item_id,value,timestamp\n" + rows)
    step, listed, known = pipeline.step, set[int](), list[int]()

    def looked_at(state: pipeline.State, *arguments: Any) -> tuple[pipeline.State, pipeline.StepInfo]:
        state, info = step(state, *arguments)
        listed.difference_update(info.evicted_item_rows)
        listed.update(info.outcomes.listed[info.outcomes.n_cold_listed >= 0].ravel().tolist())
        known[:] = [len(state.ids.items)]
        return state, info

    monkeypatch.setattr(pipeline, "step", looked_at)
    sizes = {"max_items": 64, "max_users": 100, "max_nodes": 100, "max_taken": 10_000}
    settings = Settings(text_model="none", without=("vectors", "ranker"), **sizes)
    report = replay.run(tmp_path, settings, batch_size=1)
    listed.discard(-1)
    assert known[0] < 64
    assert report["beyond"]["coverage"] == len(listed) / known[0]
