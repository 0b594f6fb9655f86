"""The ranker asked about a whole catalogue in one situation: what is equal is computed once.

Of a hundred thousand items hardly any is the owner's own, and what the network's first layer reads
of all others falls into two parts. One is the same for all items of a category (its kind's
features, the situation, that they are new): it is computed once a category and looked up. The other
one, where an item lies, among how many, and how many go there, is computed for each. ``Hidden`` is
the twin that learning uses (``p2prec.models.ranker_network``).
"""

from __future__ import annotations

import numpy as np

from p2prec.embeddings.table import blocks
from p2prec.models.moments import Moment
from p2prec.models.ranker_features import BY_KIND, OF_ITEM, WHERE, Heard, Reader
from p2prec.models.ranker_network import Floats, Layers, Start
from p2prec.models.ranker_recall import Recalled

_NEW = slice(0, 1)
_N_WHERE = WHERE.stop - WHERE.start
_EACH = [*range(WHERE.start, WHERE.stop), *range(OF_ITEM.start, OF_ITEM.stop)]


def logits_as_new(
    reader: Reader, start: Start, layers: Layers, heard: Heard, moment: Moment
) -> Floats:
    """Logits of all items as if the owner knew none of them, shape ``(n_items,)``.

    Args:
        reader: Of the catalogue.
        start: How features are normalised.
        layers: The network.
        heard: What others say.
        moment: The situation.
    """
    alike = _by_kind(reader, start, layers, heard, moment)
    weights = np.ascontiguousarray(layers.candidates[_EACH])
    scaling = start.candidates.some(_EACH)
    logits = np.empty(len(heard.bias), np.float32)
    items = np.arange(len(logits), dtype=np.int32)
    for block in blocks(len(logits)):
        each = np.empty((len(_EACH), len(items[block])), np.float32)
        each[:_N_WHERE] = reader.where([moment], items[None, block])[:, 0]
        each[_N_WHERE:] = reader.of_items(heard, block)
        hidden = alike.take(reader.column[block], axis=0)
        hidden += scaling.normalised(each).T @ weights
        np.maximum(hidden, np.float32(0.0), out=hidden)
        second = hidden @ layers.second
        second += layers.second_bias
        np.maximum(second, np.float32(0.0), out=second)
        logits[block] = second @ layers.output
    logits += heard.bias
    return logits


def _by_kind(reader: Reader, start: Start, layers: Layers, heard: Heard, moment: Moment) -> Floats:
    """What reaches the first layer whatever the item of a category, shape ``(n_columns, size)``."""
    kinds = reader.kinds.features(heard.usual, [moment])[:, 0]
    new = start.candidates.some(_NEW).normalised(np.ones((1, 1), np.float32))
    situation = start.situation.normalised(reader.situations([moment]))
    visits = reader.visits(start.visits, [moment], None)
    resemblance = Recalled.of(layers.heads, visits, 0).resemblance
    both = np.concatenate([situation, resemblance])[:, 0]
    base = layers.first_bias + both @ layers.situation
    base += new[0] * layers.candidates[0]
    of_kinds = start.candidates.some(BY_KIND).normalised(kinds)
    alike: Floats = base + of_kinds.T @ layers.candidates[BY_KIND]
    return alike
