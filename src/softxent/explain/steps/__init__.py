"""The explanation in words: from the numbers to a document of steps, before it is text or a page.

    document       steps, sentences, tables and formulas
    row            one row's target, loss and class names
    probabilities  the steps from the logits to the probabilities
    loss           the steps from the target to the loss and its gradient
    prediction     what would change the prediction
    dtype          what the dtype of the logits does to the numbers
    one_row        the document of one row
    batch          the document of several rows
    what_if        the document of one row before and after a change

Nothing is computed here except sums over the classes that aren't shown.
"""

from softxent.explain.steps.batch import batch_details, batch_document
from softxent.explain.steps.document import (
    Block,
    Column,
    Detail,
    Document,
    Formula,
    Remark,
    Step,
    Table,
)
from softxent.explain.steps.one_row import row_document
from softxent.explain.steps.what_if import what_if_details, what_if_document, what_if_title

__all__ = [
    "Block",
    "Column",
    "Detail",
    "Document",
    "Formula",
    "Remark",
    "Step",
    "Table",
    "batch_details",
    "batch_document",
    "row_document",
    "what_if_details",
    "what_if_document",
    "what_if_title",
]
