"""How the methods work, in the words of the table in docs/methods.md."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Properties:
    """How a method works, in the words of its table.

    Attributes:
      name: the method's own name.
      paper: first author, year and arXiv number.
      loss: the loss in one formula.
      negatives: which negatives it has.
      target: the network that makes the targets.
      stop: where the gradient stops.
      batch: what the batch size changes.
      prevents: what prevents collapse.
    """

    name: str
    paper: str
    loss: str
    negatives: str
    target: str
    stop: str
    batch: str
    prevents: str


PROPERTIES = {
    "simclr": Properties(
        "SimCLR",
        "Chen 2020, 2002.05709",
        "−log softmax of cos(z₁, z₂)/τ over the other 2n−1 views",
        "all other views of the batch",
        "none",
        "nowhere",
        "larger is better: more negatives",
        "negatives",
    ),
    "byol": Properties(
        "BYOL",
        "Grill 2020, 2006.07733",
        "2 − 2 cos(p₁, t₂), both directions",
        "none",
        "moving average",
        "target",
        "small batches work, with BatchNorm in the heads",
        "predictor and moving average",
    ),
    "dino": Properties(
        "DINO",
        "Caron 2021, 2104.14294",
        "cross-entropy of softmax(s/τₛ) to softmax((t−c)/τₜ), over crops",
        "none",
        "moving average",
        "teacher",
        "small batches work",
        "centring and sharpening",
    ),
    "simsiam": Properties(
        "SimSiam",
        "Chen & He 2021, 2011.10566",
        "−cos(p₁, z₂)/2, both directions",
        "none",
        "the network itself",
        "projection",
        "small batches work, with BatchNorm in the heads",
        "predictor and stop-gradient",
    ),
    "barlow-twins": Properties(
        "Barlow Twins",
        "Zbontar 2021, 2103.03230",
        "Σ(1−cᵢᵢ)² + λ Σ cᵢⱼ², c the cross-correlation",
        "none",
        "none",
        "nowhere",
        "moderate: correlations are estimated over the batch",
        "decorrelated features",
    ),
    "vicreg": Properties(
        "VICReg",
        "Bardes 2022, 2105.04906",
        "λ mean(z₁−z₂)² + μ hinge(1−std) + ν Σ cov²/d",
        "none",
        "none",
        "nowhere",
        "moderate: variances are estimated over the batch",
        "variance and covariance terms",
    ),
    "moco-v3": Properties(
        "MoCo v3",
        "Chen 2021, 2104.02057",
        "2τ · −log softmax of cos(q₁, k₂)/τ over the n keys, both directions",
        "the other keys of the batch, optionally a queue",
        "moving average",
        "keys",
        "larger is better: more negatives, unless a queue holds them",
        "negatives",
    ),
    "swav": Properties(
        "SwAV",
        "Caron 2020, 2006.09882",
        "cross-entropy of softmax(zC/τ) to the other crop's code",
        "none",
        "the network itself",
        "codes",
        "fewer images than prototypes need a queue",
        "codes that use all prototypes alike (Sinkhorn-Knopp)",
    ),
    "nnclr": Properties(
        "NNCLR",
        "Dwibedi 2021, 2104.14548",
        "−log softmax of cos(nn(z₁), p₂)/τ over the n predictions, both directions",
        "the other predictions of the batch",
        "nearest neighbour in a queue",
        "neighbour",
        "depends less on it than SimCLR",
        "negatives",
    ),
    "ibot": Properties(
        "iBOT",
        "Zhou 2022, 2111.07832",
        "DINO's, and the same for masked patches, whose targets come from the whole crop",
        "none",
        "moving average",
        "teacher",
        "small batches work",
        "centring and sharpening",
    ),
    "dinov2": Properties(
        "DINOv2",
        "Oquab 2023, 2304.07193",
        "iBOT's + 0.1 KoLeo, −log of the distance to the nearest feature in the batch",
        "none",
        "moving average",
        "teacher",
        "moderate: targets are assigned, and neighbours found, in the batch",
        "targets that use all prototypes alike (Sinkhorn-Knopp), and KoLeo",
    ),
    "mae": Properties(
        "MAE",
        "He 2022, 2111.06377",
        "mean (x̂−x)² over the pixels of masked patches, each patch standardised",
        "none",
        "none",
        "nowhere",
        "small batches work: images are independent",
        "nothing has to: pixels are the target",
    ),
    "lejepa": Properties(
        "LeJEPA",
        "Balestriero & LeCun 2025, 2511.08544",
        "λ SIGReg(z) + (1−λ) mean (z−z̄)², z̄ the mean of the global crops",
        "none",
        "none",
        "nowhere",
        "small batches work; SIGReg tests the batch's distribution",
        "SIGReg: normally distributed projections",
    ),
}
