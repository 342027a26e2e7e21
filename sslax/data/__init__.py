"""Where images come from: `open_dataset` reads a whole set into memory as uint8 canvases, `open_chunks` some at a time."""

from sslax.data.chunks import Chunks as Chunks
from sslax.data.chunks import open_chunks as open_chunks
from sslax.data.sources import MAX_CANVAS as MAX_CANVAS
from sslax.data.sources import Dataset as Dataset
from sslax.data.sources import Split as Split
from sslax.data.sources import open_dataset as open_dataset
