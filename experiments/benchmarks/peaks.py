"""Peak operations per second of a device: from the data sheets for accelerators, measured for a CPU."""

import re

import jax
import jax.numpy as jnp

# FLOP/s of dense matrix products in bfloat16 with sums in float32, without the factor of 2 for structured sparsity. The first
# pattern that matches jax's name for the device is used. Sources: NVIDIA's data sheets of H100 (SXM, PCIe, NVL), H200, A100,
# L40S, RTX A6000 and HGX B200; the Ada white paper for RTX 4090; developer.nvidia.com/programming-tensor-cores-cuda-9-0 for
# V100 (its tensor cores support only float16); docs.cloud.google.com/tpu/docs/v4, v5e, v5p and v6e, per chip.
PEAKS = {
    r"H100 PCIe": 756e12,
    r"H100 NVL": 835e12,
    r"H100|H200(?! NVL)": 989e12,
    r"(?<!G)B200": 2250e12,
    r"A100": 312e12,
    r"L40S": 362e12,
    r"RTX A6000": 154.8e12,
    r"RTX 4090$": 165.2e12,
    r"V100-PCIE": 112e12,
    r"V100-SXM": 125e12,
    r"TPU v4$": 275e12,
    r"TPU v5 ?(lite|e)": 197e12,
    r"TPU v5p?$": 459e12,
    r"TPU v6 ?(lite|e)": 918e12,
}
# Side of the matrices for measuring a CPU's peak.
SIDE = 2048


def data_sheet(kind: str) -> float | None:
    """FLOP/s of a device from its data sheet, by jax's name for it; None if it is not in the table."""
    return next((peak for pattern, peak in PEAKS.items() if re.search(pattern, kind)), None)


def product() -> jax.Array:
    """The product of two large matrices, which reaches a CPU's peak."""
    return _product(jnp.ones((SIDE, SIDE)))


@jax.jit
def _product(x):
    return x @ x


def device_peak(product_seconds: float) -> tuple[float | None, str]:
    """Peak FLOP/s of the device, and the source of the number; None if it is unknown.

    Args:
      product_seconds: seconds of `product` in the same run; used only on a CPU.
    """
    if jax.default_backend() == "cpu":
        return 2 * SIDE**3 / product_seconds, f"float32 product of side {SIDE} in the same run"
    kind = jax.devices()[0].device_kind
    peak = data_sheet(kind)
    return peak, f"not known of {kind}" if peak is None else "bfloat16, dense, data sheet"
