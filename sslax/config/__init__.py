"""The typed configuration of a run, and the checks that run before anything is compiled.

Every field is a command-line flag. The flag's name follows the nesting: `--optim.lr`, `--method.views.size`. The named
configurations are in `sslax/recipes`; each method defines its own options in its file in `sslax/methods`.
"""

from sslax.config.checks import check, check_against_data
from sslax.config.fields import Config, MethodOptions, NetworkConfig, OptimizerConfig
from sslax.config.stored import differences, to_dict

__all__ = [
    "Config",
    "MethodOptions",
    "NetworkConfig",
    "OptimizerConfig",
    "check",
    "check_against_data",
    "differences",
    "to_dict",
]
