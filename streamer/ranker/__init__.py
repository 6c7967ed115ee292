"""The learned online ranker: puts the mixture's best candidates in order, from more than the mixture can say.

    state.py     its weights, and the scratch in which one list is scored
    shortlist.py which candidates it looks at
    features.py  what it sees of them, built in one pass from the sparse rows; evidence, company, content and taste beside it
    scaling.py   features of one size, whatever the data set
    taste.py     what kind of items the user takes: a part of the features
    network.py   score and learn: a linear part and one hidden layer over the mixture's log-probability
    memory.py    lists of the last events, to learn from once more
    guard.py     its own hit ratio beside the mixture's, on the same events: it orders lists only while it is ahead

It starts exactly as the mixture: everything that is added to `log p` begins at zero.
"""

from streamer.ranker.state import Ranker, new_ranker

__all__ = ["Ranker", "new_ranker"]
