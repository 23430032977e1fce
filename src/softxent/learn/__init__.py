"""Train classifiers on a data source, evaluate them, and store them as runs.

    dataset = data.load("digits")
    trained = train(dataset, RECIPES["default"], seed=0)
    trained.test.accuracy, trained.test.loss                # `Mean`s: sums and denominators
    predict(trained.network, dataset.test.features)         # (N, C) probabilities

    network = load_model(softxent.record.read(Path("runs/digits-1")))
    evaluate(network, dataset.test)

`data` reads data sources, `recipes` holds the settings of a training, `model` the network,
`training` the loop, `evaluation` the metrics, and `runs` writes the record of a run.
"""

from softxent.errors import missing_extra

try:
    import safetensors as _safetensors  # noqa: F401
    import torch as _torch  # noqa: F401
except ImportError as _error:
    raise missing_extra(str(_error.name), needed_by="learn", extra="learn") from None

from softxent.learn.evaluation import ClassScore, Evaluation, evaluate, predict
from softxent.learn.model import Network, load_model
from softxent.learn.recipes import RECIPES, Recipe, find_recipe
from softxent.learn.runs import load_run_rows, write_run
from softxent.learn.training import Progress, Trained, train

__all__ = [
    "RECIPES",
    "ClassScore",
    "Evaluation",
    "Network",
    "Progress",
    "Recipe",
    "Trained",
    "evaluate",
    "find_recipe",
    "load_model",
    "load_run_rows",
    "predict",
    "train",
    "write_run",
]
