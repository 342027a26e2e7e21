"""Networks of timm with random weights: equal features, and an export that timm loads strictly."""

import jax
import numpy as np
import pytest

from sslax.export import save_safetensors, to_torch
from sslax.training import Embedder, WeightsOptions, open_weights

# For each model: the size of the images, for which None is that of its positions.
MODELS = {
    "vit_small_patch14_dinov2": None,
    "vit_small_patch14_reg4_dinov2": None,
    "vit_small_patch16_dinov3": 256,
    "vit_base_patch16_224.mae": None,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_features_equal_timms_and_timm_loads_the_export(name, tmp_path):
    timm = pytest.importorskip("timm", reason="timm, which the library does without, is not installed here")
    import torch

    torch.manual_seed(0)
    # timm's DINOv3 averages the patches unless it is asked for [CLS].
    model = timm.create_model(name, pretrained=False, num_classes=0, global_pool="token").eval()
    with torch.no_grad():
        # Initial weights have zeros, and a layer scale that would hide the blocks.
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    state = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
    save_safetensors(tmp_path / "w.safetensors", state, {})
    network = open_weights(tmp_path / "w.safetensors", WeightsOptions(size=MODELS[name]))
    size = network.config.method.views.size
    assert size == model.pretrained_cfg["input_size"][-1]

    x = np.random.default_rng(0).random((1, size, size, 3), np.float32)
    embedder = Embedder(network.built.method, jax.sharding.Mesh(jax.devices()[:1], ("data",)), batch_size=1)
    features = embedder(network.state, x, np.ones(1, np.float32))
    views = network.config.method.views
    normalised = (x - np.float32(views.mean)) / np.float32(views.std)
    with torch.no_grad():
        wanted = model(torch.tensor(normalised).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(features, wanted, rtol=0, atol=1e-5)

    exported = to_torch(network.built.backbone, *network.backbone())
    fresh = timm.create_model(name, pretrained=False, num_classes=0, global_pool="token").eval()
    fresh.load_state_dict({key: torch.tensor(array) for key, array in exported.items()}, strict=True)
    for key, tensor in fresh.state_dict().items():
        np.testing.assert_array_equal(tensor, state[key])
