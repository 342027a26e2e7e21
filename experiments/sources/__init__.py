"""The source of each named configuration, number by number; `python -m experiments.audit` compares them."""

from experiments.sources import lightly, releases
from experiments.sources.rows import Row, Source
from sslax.recipes import CONFIGS

# In the order of the configurations.
SOURCES: dict[str, Source] = {name: (lightly.SOURCES | releases.SOURCES)[name] for name in CONFIGS}

__all__ = ["SOURCES", "Row", "Source"]
