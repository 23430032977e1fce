"""Sample the arguments of the loss: labels, the spread of the scores, and the gradient they get."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from softxent.doctor.loops.measurements import BatchSample
from softxent.doctor.losses.known_losses import FUNCTIONS, KnownLoss

__all__ = ["BatchSamples"]

_LABELS = 4096  # of a batch that are read
_ROWS = 256  # of the scores
_LARGEST = 1 << 21  # scores whose gradient is computed once more, to compare


class BatchSamples:
    """Samples of the arguments of one loss.

    Attributes:
        classes: C, if the targets are class indices, or zeros and ones of a binary loss.
    """

    def __init__(self) -> None:
        self.classes: int | None = None
        self._binary = False
        self._first: Tensor | None = None
        self._samples: list[BatchSample] = []
        self._gradients: dict[int, tuple[Tensor, Tensor]] = {}  # by step: expected, received

    def add(self, step: int, scores: Tensor, target: Tensor, known: KnownLoss | None) -> None:
        """Sample one step; an error here must not stop the training."""
        try:
            with torch.no_grad():
                sample = self._sample(step, scores, target, known)
            if sample is not None:
                self._samples.append(sample)
                self._follow_gradient(step, scores, target, known)
        except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError):
            pass

    def samples(self) -> tuple[BatchSample, ...]:
        """The samples so far."""
        scales = {
            step: float(received) / float(expected)
            for step, (expected, received) in self._gradients.items()
            if float(expected) > 0
        }
        return tuple(replace(one, scale=scales.get(one.step)) for one in self._samples)

    def is_adversarial(self, calls: int, updates: int) -> bool:
        """Whether a binary loss got targets of one class only, as the two losses of a GAN."""
        if not self._binary or not self._samples:
            return False
        if any(one.classes != 1 for one in self._samples):
            return False
        kinds = {one.first_class for one in self._samples}
        return len(kinds) == 1 or calls > 1.2 * max(1, updates)

    def _sample(
        self, step: int, scores: Tensor, target: Tensor, known: KnownLoss | None
    ) -> BatchSample | None:
        """The labels and the scores of one step."""
        if not target.ndim or not scores.ndim:
            return None
        labels = target.detach().reshape(-1)[:_LABELS]
        if known is not None and not known.binary and not labels.is_floating_point():
            labels = labels[labels != known.ignore_index]
        if not len(labels):
            return None
        equal = self._first is not None and torch.equal(labels, self._first)
        if self._first is None:
            self._first = labels.clone()
        different = torch.unique(labels[:_LABELS])
        hard = not labels.is_floating_point()
        binary = known is not None and known.binary
        if binary and bool(((labels == 0) | (labels == 1)).all()):
            hard = True
        elif labels.is_floating_point():
            different = different[:0]
        axis = known.class_axis(scores) if known is not None and not binary else -1
        if known is not None:
            self._binary = binary
            count = 2 if binary else scores.shape[axis]
            self.classes = count if hard and count > 1 else None
        few = scores.detach()[:_ROWS].float()
        return BatchSample(
            step=step,
            rows=len(labels),
            classes=len(different) or None,
            first_class=int(labels[0]) if len(different) else None,
            same_as_first=equal,
            spread=float(few.std() if binary or few.ndim < 2 else few.std(dim=axis).mean()),
        )

    def _follow_gradient(
        self, step: int, scores: Tensor, target: Tensor, known: KnownLoss | None
    ) -> None:
        """Compare the gradient that reaches the scores with that of the loss itself."""
        if known is None or known.other_options or known.axis is not None:
            return
        if not scores.requires_grad or scores.numel() > _LARGEST or scores.is_leaf:
            return
        if known.name not in FUNCTIONS or known.pos_weight is not None:
            return
        options: dict[str, object] = {"reduction": known.reduction}
        if known.weight is not None:
            options["weight"] = known.weight
        if not known.binary:
            options["ignore_index"] = known.ignore_index
        if known.name == "cross_entropy":
            options["label_smoothing"] = known.label_smoothing
        own = scores.detach().float().requires_grad_()
        with torch.enable_grad():
            value = FUNCTIONS[known.name](own, target.detach(), **options)
            (gradient,) = torch.autograd.grad(value, own)
        expected = torch.linalg.vector_norm(gradient)

        def receive(received: Tensor) -> None:
            size = torch.linalg.vector_norm(received.detach(), dtype=torch.float32)
            self._gradients[step] = (expected, size)

        scores.register_hook(receive)
