"""Text and HTML that `explain`, `doctor`, `report` and the command line share.

    numbers    numbers as text: losses, percentages, counts, sizes, every digit or a few
    text       plain text: display width, wrapping, columns, bars, untrusted names made safe
    terminal   colours, and whether a stream shows them
    markup     HTML elements whose text and attributes are escaped by construction
    tables     HTML tables with headers
    page       a whole page (base.css), or a notebook's output (notebook.css), that fetches and runs
               nothing

Nothing here knows what is shown.
"""
