"""Where images come from: `open_dataset` reads a whole set into memory as uint8 canvases."""

from sslax.data.sources import MAX_CANVAS as MAX_CANVAS
from sslax.data.sources import Dataset as Dataset
from sslax.data.sources import Split as Split
from sslax.data.sources import open_dataset as open_dataset
