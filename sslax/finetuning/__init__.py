"""Classifiers on a pretrained backbone: training, saving and loading."""

from sslax.finetuning.classifier import Classifier, LoadedClassifier, load_classifier, save_classifier
from sslax.finetuning.finetune import Finetuner
from sslax.finetuning.options import FinetuneOptions
from sslax.finetuning.techniques import held_out

__all__ = [
    "Classifier",
    "FinetuneOptions",
    "Finetuner",
    "LoadedClassifier",
    "held_out",
    "load_classifier",
    "save_classifier",
]
