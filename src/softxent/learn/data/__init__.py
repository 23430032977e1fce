"""Data sources: from a name or a file to rows of numbers, class indices and held-out rows.

    digits   scikit-learn's 1,797 handwritten digits of 8x8 grey levels
    mnist    a folder with the four IDX files of MNIST or of anything in its form
    points   generated points in the plane, in three colours
    a path   a table in a .csv, .csv.gz or .parquet file

`load` makes what a model learns from. `load_rows` reads rows for a model that is there already. One
reader is one file; `sources` puts them together.
"""

from softxent.learn.data.dataset import Dataset, Rows, Samples
from softxent.learn.data.sources import load, load_rows

__all__ = ["Dataset", "Rows", "Samples", "load", "load_rows"]
