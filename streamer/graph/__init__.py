"""The graph of users, items and categories as bounded tables, and the hot kernels that read and write them.

state       the tables: what each holds, how large it may grow

clocks      popularity, at several half-lives
histories   a user's last items, and all that he took
rows        neighbours of an item, with their evidence
company     what an item was taken after, over all its events
categories  feature nodes: their weight, and their heaviest items
segments    feature nodes of users, and what their users take
rates       how likely any item is to be the next event's
vectors     the user vector of the attention network, from its tables

learning    one event moves every table it touches
catalog     what catalog and profile events do: items move to nodes, arrive as news, users are erased
removal     items leave all tables

scratch     where one list is made
candidates  who may be on it: found, given their evidence, the best of them chosen
content     what a user's last items have in common, and how like it a candidate is
"""

from streamer.graph.state import FoldSettings, Graph, new_graph

__all__ = ["FoldSettings", "Graph", "new_graph"]
