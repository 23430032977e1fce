"""Why a loss is what it is: every number between the logits and the loss, then the same in words.

Data flows one way, and so do the imports:

    logits, target -> numbers     every number in one record
                   -> steps       a document of sentences, tables and formulas about them
                   -> text, page  the document as text or HTML; json_data, the numbers as JSON
                   -> trace       `Trace` and `WhatIf`: the numbers with these outputs
                   -> explanation `explain`: the arguments, checked
"""

from softxent.explain.explanation import explain
from softxent.explain.trace import Trace, WhatIf

__all__ = ["Trace", "WhatIf", "explain"]
