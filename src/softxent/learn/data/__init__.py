"""Data sources: features, class indices and held-out rows, from a name or a file.

    digits   scikit-learn's 1,797 handwritten digits of 8x8 grey levels
    mnist    a folder with the four IDX files of MNIST, or others in the same format
    points   generated points in the plane, in three classes
    a path   a table in a .csv, .csv.gz or .parquet file

`load` returns a data set for training, `load_rows` rows for an existing model. Each format has a
module; `sources` selects it.
"""

from softxent.learn.data.dataset import Dataset, Rows, Samples
from softxent.learn.data.sources import load, load_rows

__all__ = ["Dataset", "Rows", "Samples", "load", "load_rows"]
