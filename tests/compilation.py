"""XLA's flags for the tests: the number of devices, and fast compilation, because compiling is most of the suite's time."""

import importlib.metadata

# Without LLVM's optimisations, which programs of milliseconds do not need, compilation takes half the time.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
# The old code generator for fusions saves another third; later releases have only the new one.
if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
