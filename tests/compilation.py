"""What XLA is told before the tests: how many devices, and to compile quickly, which is most of the suite's time."""

import importlib.metadata

# LLVM is not to optimise programs that run for milliseconds: that halves it.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
# The old code generator of fusions takes a third off it once more; later releases have the new one alone.
if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
