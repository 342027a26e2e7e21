"""What each named configuration follows, number by number; `python -m experiments.audit` compares them."""

from experiments.configs import CONFIGS
from experiments.configs.sources import lightly, releases
from experiments.configs.sources.rows import Row, Source

# In the order of the configurations.
SOURCES: dict[str, Source] = {name: (lightly.SOURCES | releases.SOURCES)[name] for name in CONFIGS}

__all__ = ["SOURCES", "Row", "Source"]
