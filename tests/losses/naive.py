"""Losses as their papers write them: loops over one row after another, in float64."""

import numpy as np


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def log_softmax(x):
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


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
                    pairs.append(-(q * log_softmax(x)).sum())
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


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def naive_simsiam(prediction, projection):
    """SimSiam's equation 1, a row at a time."""
    return np.array([-np.dot(p, z) for p, z in zip(unit(prediction), unit(projection), strict=True)])


def naive_swav(scores, codes, temperature):
    """SwAV's equation 2, a row at a time."""
    scores, codes = np.asarray(scores, np.float64), np.asarray(codes, np.float64)
    return np.array([-(q * log_softmax(s / temperature)).sum() for s, q in zip(scores, codes, strict=True)])


def naive_info_nce(query, key, temperature, negatives=None):
    """MoCo v3's Algorithm 1 without the factor, a query at a time; a queue's rows are more keys."""
    query, keys = unit(query), unit(key if negatives is None else np.concatenate([key, negatives]))
    return np.array([-log_softmax(np.array([q @ k for k in keys]) / temperature)[i] for i, q in enumerate(query)])


def naive_barlow_twins(z1, z2, off_diagonal):
    """Barlow Twins' equations 1 and 2 with BatchNorm's epsilon, a pair of features at a time: both terms and the loss."""
    standard = [(z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (np.asarray(z, np.float64) for z in (z1, z2))]
    on, off = 0.0, 0.0
    for i, a in enumerate(standard[0].T):
        for j, b in enumerate(standard[1].T):
            c = np.mean(a * b)
            on, off = (on + (1 - c) ** 2, off) if i == j else (on, off + c**2)
    return on, off, on + off_diagonal * off


def naive_vicreg(z1, z2):
    """The three terms of VICReg's equations 1 to 5, the variances' halved, a pair of features at a time."""
    z1, z2 = np.asarray(z1, np.float64), np.asarray(z2, np.float64)
    n, d = z1.shape
    invariance = np.mean([((a - b) ** 2).sum() / d for a, b in zip(z1, z2, strict=True)])
    variance, covariance = 0.0, 0.0
    for z in (z1, z2):
        for i in range(d):
            variance += max(0.0, 1 - np.sqrt(z[:, i].var(ddof=1) + 1e-4)) / d / 2
            for j in range(d):
                if i != j:
                    covariance += (((z[:, i] - z[:, i].mean()) * (z[:, j] - z[:, j].mean())).sum() / (n - 1)) ** 2 / d
    return invariance, variance, covariance
