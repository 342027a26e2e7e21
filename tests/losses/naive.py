"""Losses as their papers write them: loops over one row after another, in float64."""

import numpy as np


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def naive_dino(student, teacher, center, student_temperature, teacher_temperature):
    """DINO's equation 3, one pair of crops of one image at a time."""
    student, teacher, center = (np.asarray(x, np.float64) for x in (student, teacher, center))
    losses = np.zeros(student.shape[1])
    for image in range(student.shape[1]):
        pairs = []
        for t in range(len(teacher)):
            q = softmax((teacher[t, image] - center) / teacher_temperature)
            for s in range(len(student)):
                if s != t:
                    x = student[s, image] / student_temperature
                    log_p = x - x.max() - np.log(np.exp(x - x.max()).sum())
                    pairs.append(-(q * log_p).sum())
        losses[image] = np.mean(pairs)
    return losses


def naive_sinkhorn(logits, temperature, iterations):
    """The code in DINO's appendix B, one prototype and one image at a time; the largest logit is taken off against overflow."""
    x = np.asarray(logits, np.float64)
    x = np.exp((x - x.max()) / temperature)
    for _ in range(iterations):
        for k in range(x.shape[1]):
            x[:, k] /= sum(x[:, k])
        for n in range(x.shape[0]):
            x[n] /= sum(x[n])
    return x
