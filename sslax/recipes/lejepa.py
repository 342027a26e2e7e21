"""LeJEPA's configurations. Each header is a lab note: command, cost, what was seen."""

from sslax.augment import LeJEPAViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.methods import LeJEPA

# sslax pretrain lejepa-digits
#
# LeJEPA for a first look, with the crops of dino-digits.
# Not yet run.
LEJEPA_DIGITS = Config(
    method=LeJEPA(
        views=LeJEPAViews(
            size=8,
            global_area=(0.6, 1.0),
            local_size=6,
            local_area=(0.3, 0.7),
            local_crops=2,
            flip=0.0,
            saturation=0.0,
            hue=0.0,
            grayscale=0.0,
            blur=0.0,
            solarize=0.0,
            mean=None,
            std=None,
        ),
        projector_hidden=256,
        projector_dim=16,
        directions=256,
    ),
    data="digits",
    network=NetworkConfig(name="patch-resnet", width=32, patch_size=2),
    optim=OptimizerConfig(name="adamw", lr=3e-3, warmup_epochs=5.0, weight_decay=0.05),
    epochs=50,
    batch_size=256,
    eval_every=25,
    checkpoint_every=25,
)

CONFIGS: dict[str, Config] = {"lejepa-digits": LEJEPA_DIGITS}
