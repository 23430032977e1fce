"""The sections of the page, one a file: each takes what it shows and gives an element, or None."""
