"""What is read from outside, and how it is broken: by structure first, by bytes second, all of it seeded.

    mutation     valid JSON -> nearly valid JSON, and worse
    messages     messages through decode and fold
    checkpoints  bytes of checkpoints through restore, and on through fold and rank
    options      environment, file and flags through the settings
    guided       the same targets under atheris, where it is installed

A target takes what is broken and lets nothing out but the documented error. What else comes out is a `Crash`.
"""

import traceback
from collections import Counter
from dataclasses import dataclass, field

MAX_CRASHES = 20  # enough to work on


@dataclass
class Verdict:
    """What became of everything that was tried.

    Args:
        target: Which code it was given to.
        n_tried: Inputs.
        outcomes: What became of them -> how many; sums up to `n_tried` where every one is accounted for.
        crashes: Undocumented errors, with the input that raised each.
        notes: What else was looked at -> figure.
    """

    target: str
    n_tried: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    notes: dict[str, float] = field(default_factory=dict)

    def crash(self, error: BaseException, given: object) -> None:
        """Note an error that nobody documented."""
        self.outcomes["crashed"] += 1
        trace = "".join(traceback.format_exception(error))
        self.crashes.append(f"{trace[-3000:]}\ngiven: {given!r:.3000}")

    @property
    def n_lost(self) -> int:
        """Inputs of which nobody knows what became."""
        return self.n_tried - sum(self.outcomes.values())

    @property
    def is_over(self) -> bool:
        """Whether there are crashes enough."""
        return len(self.crashes) >= MAX_CRASHES
