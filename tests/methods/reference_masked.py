"""The plain loop's methods that mask patches: iBOT and DINOv2. They take the masks from the library, which test_masking.py
holds to a loop of their own; what is masked, gathered and weighted is written out on all patches."""

import jax
import jax.numpy as jnp
import numpy as np

from sslax import losses
from sslax.methods.ibot import masks_of
from sslax.methods.masking import group_masks
from sslax.networks import DINOHead, forward, without_drop_path
from sslax.training import data_mesh
from tests.methods.reference import DINO, Plain, moved, side_by_side

MESH = data_mesh(jax.devices()[:1])


class IBOT(DINO):
    """DINO on [CLS]; of each masked patch the student is to say what the teacher, which sees it, says."""

    def __init__(self, config):
        Plain.__init__(self, config)
        o = self.options
        sizes = {"layers": o.head_layers, "hidden": o.head_hidden, "bottleneck": o.head_bottleneck}
        sizes |= {"norm_last_layer": o.norm_last_layer, "dtype": jnp.float64}
        self.heads = {"head": DINOHead(features=o.prototypes, **sizes)}
        if not o.shared_head:
            self.heads["patch_head"] = DINOHead(features=o.patch_prototypes, **sizes)
        self.side = o.views.size // self.encoder.patch_size

    def tokens(self, encoder, params, sizes, key=None, masks=None):
        """[CLS] of each crop, and the patches of the large ones [images · 2, t, d]."""
        cls, patches = [], None
        for place, crops in enumerate(sizes):
            own = None if key is None else jax.random.fold_in(key, place)
            seen = {"mask": masks} if place == 0 else {}
            encoder = encoder.clone(mask_token=masks is not None)
            x = side_by_side(crops)
            h, _ = forward(encoder, params["encoder"], {}, x, train=True, key=own, tokens=True, **seen)
            cls += [h[crop :: len(crops), 0] for crop in range(len(crops))]
            patches = h[:, 1:] if place == 0 else patches
        return cls, patches

    def logits(self, params, cls, patches):
        """Logits of each crop's [CLS], and of all patches."""
        patch_head = "patch_head" if "patch_head" in self.heads else "head"
        flat = patches.reshape(-1, patches.shape[-1])
        of_patches, _ = forward(self.heads[patch_head], params[patch_head], {}, flat, train=True)
        of_cls = [forward(self.heads["head"], params["head"], {}, h, train=True)[0] for h in cls]
        return jnp.stack(of_cls), of_patches.reshape(*patches.shape[:2], -1)

    def masks(self, key, images):
        return masks_of(self.options, key, 2 * images, side=self.side, mesh=MESH)

    def temperatures(self, epoch):
        o = self.options
        risen = jnp.minimum(jnp.floor(epoch) / (o.teacher_temperature_epochs - 1), 1)
        start = o.teacher_temperature_start
        return [start + (end - start) * risen for end in (o.teacher_temperature, o.patch_temperature)]

    def distributions(self, aux, teacher, patches, masks, temperatures):
        """The teacher's, of [CLS] and of all patches."""
        centred = (teacher - aux["center"][None, None], patches - aux["patch_center"][None, None])
        return [jax.nn.softmax(x / t) for x, t in zip(centred, temperatures, strict=True)]

    def centers(self, aux, teacher, patches, masks):
        keep = self.options.center_momentum
        return {
            "center": keep * aux["center"] + (1 - keep) * teacher.mean(axis=(0, 1)),
            "patch_center": keep * aux["patch_center"] + (1 - keep) * patches.mean(axis=(0, 1)),
        }

    def spread(self, cls):
        return 0.0

    def loss(self, params, aux, views, key, epoch):
        o, there, large, small = self.options, aux["teacher"], views[:2], views[2:]
        mask_key, path_key = jax.random.split(key)
        masks = self.masks(mask_key, len(large[0]))
        cls, patches = self.tokens(self.encoder, params, [large, small], path_key, masks)
        student, student_patches = self.logits(params, cls, patches)
        features, patches = self.tokens(without_drop_path(self.encoder), there["params"], [large])
        teacher, teacher_patches = jax.lax.stop_gradient(self.logits(there["params"], features, patches))

        temperatures = self.temperatures(epoch)
        q, patch_q = self.distributions(aux, teacher, teacher_patches, masks, temperatures)
        log_p = jax.nn.log_softmax(student / o.student_temperature)
        pairs = [(a, b) for a in range(2) for b in range(len(student)) if a != b]
        cls_loss = sum(-(q[a] * log_p[b]).sum(axis=1).mean() for a, b in pairs) / len(pairs)
        each = -(patch_q * jax.nn.log_softmax(student_patches / o.student_temperature)).sum(axis=-1)
        count = masks.sum(axis=1)
        of_crop = jnp.where(masks, each, 0).sum(axis=1) / jnp.maximum(count, 1)
        loss = o.cls_weight * cls_loss + o.patch_weight * of_crop.mean() + self.spread(cls)

        def entropy(q):
            return -(q * jnp.log(jnp.maximum(q, 1e-300))).sum(axis=-1)

        per_crop = jnp.where(masks, entropy(patch_q), 0).sum(axis=1) / jnp.maximum(count, 1)
        metrics = {
            "teacher_temperature": temperatures[0],
            "cls_loss": cls_loss,
            "target_entropy": entropy(q).mean(),
            "kl": cls_loss - entropy(q).mean(),
            "patch_loss": of_crop.sum() / (count > 0).sum(),
            "patch_target_entropy": per_crop.sum() / (count > 0).sum(),
        }
        new = {"student": aux["student"], "teacher": there, **self.centers(aux, teacher, teacher_patches, masks)}
        return loss, (new, metrics, features[0])

    def after_update(self, params, aux, ema):
        seen = {name: p for name, p in params["encoder"].items() if name != "mask_token"}
        target = moved(aux["teacher"]["params"], params | {"encoder": seen}, ema)
        return aux | {"teacher": aux["teacher"] | {"params": target}}


class DINOv2(IBOT):
    """Sinkhorn-Knopp in the place of centring, over both crops and over all masked patches; KoLeo of each crop and group."""

    def masks(self, key, images):
        o = self.options
        drawn = {"side": self.side, "group": o.group, "between": o.mask_ratio, "share": o.mask_share, "mesh": MESH}
        return group_masks(key, images, **drawn).masks

    def temperatures(self, epoch):
        o = self.options
        risen = epoch * self.per_epoch / (o.teacher_temperature_epochs * self.per_epoch - 1)
        return [o.teacher_temperature_start + (o.teacher_temperature - o.teacher_temperature_start) * risen] * 2

    def distributions(self, aux, teacher, patches, masks, temperatures):
        def assigned(logits, counted):
            q = jnp.exp(logits / temperatures[0]) * counted[:, None]
            for _ in range(self.options.sinkhorn):
                q = q / q.sum(axis=0, keepdims=True)
                q = q / jnp.where(counted[:, None], q.sum(axis=1, keepdims=True), 1)
            return q

        flat, flat_patches = teacher.reshape(-1, teacher.shape[-1]), patches.reshape(-1, patches.shape[-1])
        of_cls = assigned(flat, jnp.ones(len(flat), bool)).reshape(teacher.shape)
        return of_cls, assigned(flat_patches, masks.reshape(-1)).reshape(patches.shape)

    def centers(self, aux, teacher, patches, masks):
        return {name: aux[name] for name in ("center", "patch_center")}

    def spread(self, cls):
        o, groups = self.options, len(cls[0]) // self.options.group
        parts = [h[g * o.group : (g + 1) * o.group] for h in cls[:2] for g in range(groups)]
        return o.koleo_weight * sum(losses.koleo(part).mean() for part in parts) / groups

    def clip(self, gradients):
        norms = {}
        for name, g in gradients.items():
            part = name.partition("/")[0]
            norms[part] = norms.get(part, 0.0) + float((g**2).sum())
        limit = {part: min(1.0, self.options.clip / (np.sqrt(norm) + 1e-6)) for part, norm in norms.items()}
        return {name: g * limit[name.partition("/")[0]] for name, g in gradients.items()}

    def factor(self, name):
        o, depth = self.options, self.encoder.depth
        layer = depth + 1
        if name.startswith("encoder/block"):
            layer = int(name.split("/")[1].removeprefix("block"))
        elif name.startswith(("encoder/patch_embed", "encoder/cls", "encoder/pos", "encoder/mask")):
            layer = 0
        return o.layer_decay ** (depth + 1 - layer) * (o.patch_embedding_rate if "patch_embed" in name else 1)


METHODS = {"ibot": IBOT, "dinov2": DINOv2}
