"""The graph of users, items and categories as bounded tables, and the hot kernels that read and write them.

`state` lays the tables out; `clocks`, `rows`, `histories` and `categories` each own some of them; `learning` moves one event
through all; `candidates` are what a list is made of, in the tables of `scratch`.
"""

from streamer.graph.state import FoldSettings, Graph, new_graph

__all__ = ["FoldSettings", "Graph", "new_graph"]
