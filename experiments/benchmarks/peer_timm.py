"""timm's ViTs in torch.compile: images per second and utilisation of a forward and backward pass in bfloat16 on a GPU.

`PYTHON peer_timm.py MODEL:BATCH ...`, such as `vit_small_patch16_224:256`. PYTHON needs timm and torch, but not sslax, so the
script can run in another environment. Images are noise; the loss is the mean of the features' squares; parameters are float32
and the arithmetic bfloat16 by autocast, as in sslax's steps, with torch's fused attention. It prints a line of JSON for each
model, with the fields of the lines in results/*-gpu.jsonl.

The peak, and so the utilisation, is that of `peaks.py`, repeated here because the script stands alone. Operations are counted
by torch's own counter, and count matrix products and convolutions alone, as sslax's do.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata

try:
    import timm
    import torch
    from torch.utils.flop_counter import FlopCounterMode
except ImportError as missing:
    print(f"{missing.name} is missing", file=sys.stderr)
    sys.exit(2)

# FLOP/s of dense bfloat16 products with float32 sums by the data sheet of H100 SXM and H200.
PEAK = 989e12
STEPS, ROUNDS = 10, 5


def operations(model: "torch.nn.Module", images: "torch.Tensor") -> float:
    """Operations of the forward and backward pass."""
    with FlopCounterMode(display=False) as counter:
        model(images).float().square().mean().backward()
    return float(counter.get_total_flops())


def seconds(step: Callable[[], None]) -> float:
    """Seconds of one step: the median over rounds of several."""
    rounds = []
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
        rounds.append((time.perf_counter() - start) / STEPS)
    return statistics.median(rounds)


def measure(name: str, batch: int) -> None:
    """Print the line of one model."""
    model = timm.create_model(name, num_classes=0).cuda().train()
    side = model.patch_embed.img_size[0]
    images = torch.rand(batch, 3, side, side, device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        flops = operations(model, images[:2]) * batch / 2
    compiled = torch.compile(model)

    def step() -> None:
        model.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            value = compiled(images).float().square().mean()
        value.backward()

    start = time.perf_counter()
    for _ in range(3):
        step()
    torch.cuda.synchronize()
    ready = time.perf_counter() - start
    taken = seconds(step)
    line = {
        "name": f"timm {name}, forward and backward in torch.compile, batch of {batch}",
        "images_per_s": round(batch / taken),
        "step_ms": 1e3 * taken,
        "gflops": flops / 1e9,
        "utilisation": flops / taken / PEAK,
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
        "compile_s": ready,
        "note": f"bfloat16 autocast; {100 * flops / taken / PEAK:.0f} % of the data sheet's 989 TFLOP/s",
        "device": torch.cuda.get_device_name(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {package: metadata.version(package) for package in ("torch", "timm")},
        "command": f"python experiments/benchmarks/peer_timm.py {name}:{batch}",
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    """The command line."""
    if not torch.cuda.is_available():
        print("torch finds no CUDA device; the benchmark needs one.", file=sys.stderr)
        sys.exit(2)
    for argument in sys.argv[1:]:
        name, _, batch = argument.partition(":")
        torch.cuda.reset_peak_memory_stats()
        measure(name, int(batch))


if __name__ == "__main__":
    main()
