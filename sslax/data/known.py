"""Facts about the data sets of the recipes: sizes, classes, and the channels' mean and standard deviation."""

from typing import NamedTuple


class Known(NamedTuple):
    """A published set of images.

    Attributes:
        title: the name in its paper.
        train: number of training images.
        test: number of evaluation images: the test split, or the validation split if the test labels are not published.
        classes: number of classes.
        side: side of the images in pixels; None if it varies.
        mean: channel means of the training images, in [0, 1].
        std: channel standard deviations of the training images.
        unlabelled: number of further images without labels.
    """

    title: str
    train: int
    test: int
    classes: int
    side: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    unlabelled: int = 0

    def said(self) -> str:
        """A phrase that describes the set in messages."""
        more = f" and {self.unlabelled:,} unlabelled ones" if self.unlabelled else ""
        return f"{self.title} ({self.train:,} training images of {self.classes:,} classes{more})"


# torchvision's values for ImageNet, also used for its subsets.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Keys are the names in TensorFlow Datasets.
KNOWN: dict[str, Known] = {
    "cifar10": Known("CIFAR-10", 50_000, 10_000, 10, 32, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": Known("CIFAR-100", 50_000, 10_000, 100, 32, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "stl10": Known("STL-10", 5_000, 8_000, 10, 96, (0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713), 100_000),
    "imagenette": Known("Imagenette", 9_469, 3_925, 10, None, _MEAN, _STD),
    "imagenet2012": Known("ImageNet", 1_281_167, 50_000, 1_000, None, _MEAN, _STD),
    "tiny_imagenet": Known(
        "Tiny ImageNet", 100_000, 10_000, 200, 64, (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)
    ),
}
