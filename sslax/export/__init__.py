"""Conversion of a backbone's weights to and from PyTorch's names; weights files, and the architecture that they tell.

ResNets use torchvision's names (`models/resnet.py`; timm's ResNets use the same) without the classifier `fc`:
`conv1.weight`, `bn1.{weight,bias,running_mean,running_var}`, `layer1.0.conv1.weight`, `layer1.0.downsample.{0,1}`, ... The
names are the same for every stem. torchvision builds only the "imagenet" stem. For the other stems, replace its `conv1` and
remove its `maxpool`; with `network.stem_relu` False also remove its `relu`, which only the stem uses.

ViTs use the names of DINO's release (`vision_transformer.py`) without the head: `cls_token`, `pos_embed`,
`patch_embed.proj`, `blocks.0.{norm1,attn.qkv,attn.proj,norm2,mlp.fc1,mlp.fc2}`, `norm`, ... timm's `vision_transformer.py`
has the same names, shapes and forward pass for models such as `vit_small_patch16_224`, with `norm.eps` 1e-6. It differs when
positions are resized: timm resizes to the exact grid with antialiasing (`positions="antialiased"`), the release does neither.
timm's DINOv2 models add `reg_token`, `blocks.0.{ls1,ls2}.gamma` and a packed SwiGLU. Its DINOv3 models (`models/eva.py`) have
`blocks.0.{gamma_1,gamma_2}`, no `pos_embed`, and `attn.{q_bias,v_bias}` if there is a bias. Variants with `dist_token`, or
`fc_norm` instead of `norm`, do not fit. No tensor stores the number of heads: a file fits a ViT with any number of heads.

No tensor stores the normalisation of the images either: released weights expect ImageNet's mean and standard deviation.

Files are safetensors. `load_weights` also reads PyTorch's pickles, with torch's reader of weights, which executes nothing.
"""

from sslax.export.architecture import Architecture, architecture_of
from sslax.export.files import load_safetensors, load_weights, save_safetensors
from sslax.export.weights import check_names, from_torch, to_torch

__all__ = [
    "Architecture",
    "architecture_of",
    "check_names",
    "from_torch",
    "load_safetensors",
    "load_weights",
    "save_safetensors",
    "to_torch",
]
