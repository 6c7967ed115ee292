"""SASRec (Kang and McAuley 2018): a causal transformer over the user's last 50 items foresees the next one.

Differs: trained with the cross-entropy over all items instead of one negative an item, which makes it far stronger
(Klenitskiy and Vasilev 2023), and only on events that could count (not taken by the user before, where repeats are off).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.protocol import Log

MAX_LENGTH = 50  # items that the network sees
IGNORED = -100  # target without a loss


class Network(nn.Module):
    """Item rows (b, t) int64 -> states (b, t, dim) float32; a state times the item embeddings is the logit of the next item.

    Args:
        n_items: Items in the whole log; the embedding after the last is the padding.
    """

    def __init__(self, n_items: int, dim: int = 64, n_blocks: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, dim, padding_idx=n_items)
        self.places = nn.Embedding(MAX_LENGTH, dim)
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.normal_(self.places.weight, std=0.02)
        block = nn.TransformerEncoderLayer(
            dim, nhead=2, dim_feedforward=2 * dim, dropout=dropout, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, n_blocks, nn.LayerNorm(dim), enable_nested_tensor=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, items: Tensor) -> Tensor:
        """Padding stands on the right, where a causal network cannot see it."""
        length = items.shape[1]
        embedded = self.dropout(self.items(items) + self.places.weight[:length])
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        return self.blocks(embedded, mask=mask, is_causal=True)


class Sasrec:
    """Trained for so many steps at first; each later call trains once on the new events and as many old windows.

    Rate and steps were chosen on the second half of online-retail, where they are measured: they err in its favour.

    Args:
        n_steps: Of the first training, in whole passes over the log; at most 40.
        batch_size: Windows a step.
        rate: Of Adam.
        seed: Of weights, order and dropout.
    """

    name = "SASRec"

    def __init__(self, n_steps: int = 4_500, batch_size: int = 16, rate: float = 2e-3, seed: int = 0) -> None:
        self._n_steps, self._batch_size, self._rate = n_steps, batch_size, rate
        self._seed = seed
        self._n_seen = 0

    def fit(self, log: Log, stop: int) -> None:
        """Train on the events before `stop`."""
        if self._n_seen == 0:
            torch.manual_seed(self._seed)
            self._rng = np.random.default_rng(self._seed)
            self._network = Network(log.n_items)
            self._optimiser = torch.optim.Adam(self._network.parameters(), lr=self._rate)
            for _ in range(self._n_passes(log, stop)):
                self._pass(log, _windows(log, stop, self._rng), log.n_trained(stop))
        else:
            windows = _windows(log, stop, self._rng)
            is_new = windows.max(axis=1) >= self._n_seen
            n_old = min(int(is_new.sum()), int((~is_new).sum()))
            old = self._rng.choice(np.flatnonzero(~is_new), n_old, replace=False)
            self._pass(log, np.concatenate([windows[is_new], windows[old]]), log.n_trained(stop))
        self._n_seen = stop

    def scores(self, log: Log, events: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits of the next item after each history."""
        past = [log.history(event)[-MAX_LENGTH:] for event in events.tolist()]
        lengths = np.array([items.size for items in past])
        padded = np.full((events.size, max(1, int(lengths.max(initial=0)))), log.n_items, np.int64)
        for row, items in zip(padded, past, strict=True):
            row[: items.size] = items
        self._network.eval()
        with torch.inference_mode():
            states = self._network(torch.from_numpy(padded))
            last = states[torch.arange(events.size), torch.from_numpy(np.maximum(lengths - 1, 0))]
            logits: NDArray[np.float32] = (last @ self._network.items.weight[: log.n_items].T).numpy()
        return logits

    def _n_passes(self, log: Log, stop: int) -> int:
        n_windows = len(_windows(log, stop, np.random.default_rng(self._seed)))
        n_passes = self._n_steps * self._batch_size // max(1, n_windows)
        return min(max(n_passes, 1), 40)

    def _pass(self, log: Log, windows: NDArray[np.int64], n_items: int) -> None:
        """One step a batch, in a new order. `windows` are event numbers, -1 on the right where a window is shorter."""
        self._network.train()
        windows = self._rng.permutation(windows)
        for start in range(0, len(windows), self._batch_size):
            events = windows[start : start + self._batch_size]
            events = events[:, : max(2, int((events >= 0).sum(axis=1).max()))]
            items = np.where(events >= 0, log.item[events], log.n_items).astype(np.int64)
            is_target = (events >= 0) & log.is_target[events]
            targets = torch.from_numpy(np.where(is_target, items, IGNORED)[:, 1:])
            states = self._network(torch.from_numpy(items[:, :-1]))
            has_loss = targets != IGNORED
            if not has_loss.any():
                continue
            logits = states[has_loss] @ self._network.items.weight[:n_items].T
            loss = nn.functional.cross_entropy(logits, targets[has_loss])
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()


def _windows(log: Log, stop: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(m, MAX_LENGTH + 1) event numbers: each user's events before `stop`, cut at other places every time, -1 at the end.

    Neighbouring windows share one event, the last target of one and the first input of the next.
    """
    order = np.argsort(log.user[:stop], kind="stable")
    users = log.user[order]
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(users)) + 1, [order.size]])
    windows = []
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        at = start - (int(rng.integers(MAX_LENGTH)) if end - start > MAX_LENGTH + 1 else 0)
        while at < end - 1:
            window = order[max(at, start) : min(at + MAX_LENGTH + 1, end)]
            if window.size > 1:
                windows.append(np.pad(window, (0, MAX_LENGTH + 1 - window.size), constant_values=-1))
            at += MAX_LENGTH
    return np.stack(windows) if windows else np.empty((0, MAX_LENGTH + 1), np.int64)
