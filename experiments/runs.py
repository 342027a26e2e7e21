"""What the scripts that take a finished run share: the images that they look at."""

from experiments import terminal
from sslax.data import Dataset, open_dataset
from sslax.errors import InputError
from sslax.training import Loaded, can_measure


def open_images(network: Loaded, spec: str | None = None) -> Dataset:
    """The images of `spec` on the canvas that the run had, or the run's own where it is None."""
    config = network.config
    with terminal.reading_progress() as progress:
        return open_dataset(
            spec or config.data,
            canvas=config.canvas or network.data["canvas"],
            limit=config.limit if spec is None else None,
            split_seed=config.split_seed,
            allow_unreadable=config.allow_unreadable,
            progress=progress,
        )


def open_labelled(network: Loaded, spec: str | None = None) -> Dataset:
    """As `open_images`, for what needs labels.

    Raises:
      InputError: where the images have no labels or no test split.
    """
    data = open_images(network, spec)
    if not can_measure(data):
        raise InputError(f"data is {data.name}, which has no labels or no test split; both are needed.")
    return data
