"""Image sources: `open_dataset` reads a whole set as uint8 canvases, `open_lazily` only lists it, `open_chunks` reads it in
parts."""

from sslax.data.chunks import Chunks as Chunks
from sslax.data.chunks import open_chunks as open_chunks
from sslax.data.dataset import MAX_CANVAS as MAX_CANVAS
from sslax.data.dataset import Dataset as Dataset
from sslax.data.dataset import Images as Images
from sslax.data.dataset import Split as Split
from sslax.data.lazy import LazyDataset as LazyDataset
from sslax.data.lazy import LazySplit as LazySplit
from sslax.data.lazy import load as load
from sslax.data.sources import open_dataset as open_dataset
from sslax.data.sources import open_lazily as open_lazily
