"""Right and wrong calls of sslax.augment's crops, views and recipes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from sslax import augment
from sslax.errors import InputError
from tests.hostile.pictures import (
    bad_images,
    images,
    key,
    options,
    sized,
)
from tests.hostile.pools import (
    INF,
    KEY,
    NAN,
    NOT_ARRAYS,
    Case,
    bad_choice,
    bad_count,
    bad_positive,
    bad_probability,
    bad_range,
    exact,
    finite,
    scalars,
    values,
    wide,
)


@st.composite
def _crop(draw):
    image = draw(images(unit=False))
    height, width, _ = np.shape(image)
    box = draw(st.sampled_from([[0, 0, height, width], [height - 1, width - 1, 1, 1], [0.25, 0.25, 0.5, 0.5]]))
    box = draw(st.sampled_from([list, np.array, jnp.asarray]))(box)
    size, method = draw(st.sampled_from([(1, "bilinear"), (4, "bicubic")]))
    return {"image": image, "box": box, "size": size, "method": method}


def _check_crop(a, result):
    sized(a, result)
    image, (y, x, height, width) = exact(a["image"]), np.asarray(a["box"], np.float64)
    part = image[int(np.floor(y)) : int(np.ceil(y + height)), int(np.floor(x)) : int(np.ceil(x + width))]
    if part.shape[:2] == (1, 1):
        # One pixel is all that there is to see.
        np.testing.assert_allclose(result, np.broadcast_to(part, result.shape), rtol=1e-5)


def _bad_box(a):
    height, width, _ = np.shape(a["image"])
    outside = [
        [0, 0, height + 1, width],
        [-1, 0, 1, 1],
        [0, width, 1, 1],
        [0, 0, 0, 1],
        [0, 0, 1, -1],
        [0.6, 0, 0.3, 1],
    ]
    numbers = [[NAN, 0, 1, 1], [0, 0, INF, 1], [0, 0, 1], [[0, 0, 1, 1]], [0, 0, 1, 1, 0]]
    return [*outside, *numbers, *NOT_ARRAYS[1:], None, np.array([0, 0, 1, 1j]), jnp.zeros(4)]


_CROPS = {
    "area": st.sampled_from([(0.08, 1.0), (1e-30, 1e-30), (1, 1)]),
    "aspect": st.sampled_from([(3 / 4, 4 / 3), (1e-30, 1e30), (1, 1), (20.0, 30.0)]),
    "image_aspect": st.one_of(st.none(), scalars(1e-30, 0.01, 1.0, 100.0, 1e30)),
    "sampling": st.sampled_from(["torchvision", "tensorflow"]),
    "min_covered": scalars(0.0, 0.1, 1.0),
}
_BAD_CROPS = {
    "area": lambda a: [*bad_range(a), (0.5, 1.1)],
    "aspect": lambda a: [*bad_range(a), (1.0, INF)],
    "image_aspect": lambda a: [x for x in bad_positive(a) if x is not None],
    "sampling": bad_choice,
    "min_covered": bad_probability,
}


def _check_box(a, result):
    finite(result, dtype=jnp.float32, shape=(4,))
    y, x, height, width = np.asarray(result, np.float64)
    assert min(y, x) >= 0
    assert min(height, width) >= 1
    assert y + height <= a["height"]
    assert x + width <= a["width"]


# A branch of each kind: every op, the last ones without the colours, whose programs take long to compile, and none.
BRANCHES = (
    augment.SimCLRViews(size=2, blur_sigma=(1e-30, 1e3)).branch(),
    dataclasses.replace(augment.BYOLViews(size=2, jitter=0.0).branches()["view 2"], solarize=1.0, blur=1.0),
    augment.SimCLRViews(size=1, flip=0, jitter=0, grayscale=0, blur=0, crop_sampling="torchvision").branch(),
)
COMPOSED = augment.SimCLRViews(size=2, one_branch=("crop", "noise")).branches()["view 1"]


def _sample_view(*, branch, options, **rest):
    return augment.sample_view(KEY, branch=dataclasses.replace(branch, **options), **rest)


def _check_view(a, result):
    _check_box(a, result.box)
    for leaf in jax.tree.leaves(result):
        finite(leaf)


def _render(*, image, branch):
    """Drawn by hand, so that one program does."""
    order = jnp.arange(4)
    jitter = augment.Jitter(*(jnp.float32(x) for x in (1e30, 0.0, 2.0, 0.5)), order)
    draws = {"jitter": jitter if branch.jitter else None, "sigma": jnp.float32(1) if branch.blur else None}
    box = jnp.array([0.0, 0.0, 1.0, 1.0])
    view = augment.View(box, None, grayscale=None, solarize=jnp.array(True) if branch.solarize else None, **draws)

    def render(image):
        return augment.render_view(image, view, branch)

    return _compiled(render, ("render", branch), image)


_PROGRAMS = {}


def _compiled(function, key, image, *rest):
    """The function's value, compiled once for each key and shape; traced each time, so that it sees the values it is given.

    Wrong values do not come further than that.
    """
    jax.eval_shape(lambda: function(image, *rest))
    given = tuple(None if x is None else jnp.asarray(x) for x in (np.asarray(image), *rest))
    given = tuple(x.astype(jnp.float32) if x is not None and x.dtype != np.uint8 else x for x in given)
    return _PROGRAMS.setdefault(key, jax.jit(function))(*given)


def _of_branch(a, result):
    wide(result)
    finite(result, shape=(a["branch"].size, a["branch"].size, 3))


def _branch_view(*, image, branch, image_aspect):
    def call(image, image_aspect):
        return augment.branch_view(KEY, image, branch, image_aspect=image_aspect)

    return _compiled(call, ("branch", branch), image, image_aspect)


def _branch_views(*, images, branches, jitter_order, aspects):
    def call(images, aspects):
        return augment.branch_views(KEY, images, branches, jitter_order=jitter_order, aspects=aspects)

    return _compiled(call, ("branches", branches, jitter_order), images, aspects)


def _check_branch_views(a, result):
    assert len(result) == len(a["branches"])
    for views, branch in zip(result, a["branches"], strict=True):
        wide(views)
        finite(views, shape=(len(a["images"]), branch.size, branch.size, 3))


RECIPES = (
    augment.SimCLRViews(size=2, jitter=0.0, blur=0.0, jitter_order="batch"),
    augment.SimCLRViews(size=2, one_branch=("rotate", "cutout")),
    augment.DINOViews(size=2, local_size=1, local_crops=1, jitter=0.0, blur=(0.0, 0.0, 0.0), solarize=(0.0, 0.0)),
)
_ASPECTS = st.one_of(st.none(), st.sampled_from([np.array([0.01, 100.0]), [1.0, 1e30], jnp.array([1e-30, 1.0])]))
_bad_aspects = values(
    [1.0], [1.0, NAN], [0.0, 1.0], [-1.0, 1.0], [INF, 1.0], [[1.0], [1.0]], [1, 1], "ab", 1.0, np.ones(3), [1.0, 1e300]
)


def _make_views(*, images, recipe, aspects):
    def call(images, aspects):
        return augment.make_views(KEY, images, recipe, aspects=aspects)

    return _compiled(call, ("make", str(recipe)), images, aspects)


def _check_views(a, result):
    sizes = [branch.size for branch in a["recipe"].branches().values()]
    assert [views.shape for views in result] == [(len(a["images"]), size, size, 3) for size in sizes]
    for views in result:
        wide(views)
        finite(views)


def _eval_view(*, images, aspects, options, **rest):
    def call(images, aspects):
        return augment.eval_view(images, aspects=aspects, **options, **rest)

    return _compiled(call, ("eval", str(options)), images, aspects)


def _check_eval(a, result):
    wide(result)
    finite(result, shape=(len(a["images"]), *[a["options"]["size"]] * 2, 3))


def _check_keys(a, result):
    assert result.shape == (a["views"], a["images"])
    assert len(np.unique(jax.random.key_data(result).reshape(result.size, -1), axis=0)) == result.size


_GOOD_RECIPES = st.sampled_from(
    [
        augment.SimCLRViews(),
        augment.BYOLViews(),
        augment.DINOViews(),
        augment.MAEViews(),
        augment.LeJEPAViews(),
        augment.SimCLRViews.small(8),
        augment.DINOViews.small(8),
    ]
)
_WRONG_FIELDS = {
    "size": (0, -1, 2.5, 10**6, NAN, "8"),
    "crop_aspect": ((NAN, 1.0), (1.0, INF), (1.0,), (2.0, 1.0), None, 1.0, ("a", "b")),
    "blur_sigma": ((0.0, 1.0), (1.0, NAN), (1.0, 2.0, 3.0)),
    "flip": (NAN, -0.1, 1.1, INF),
    "jitter": (NAN, -0.1, 1.1),
    "grayscale": (NAN, 2),
    "interpolation": ("nearest", "", None),
    "semantics": ("keras", None),
    "jitter_order": ("random", None),
    "blur_padding": ("edge", None),
    "mean": ((NAN, 0.0, 0.0), (0.0,), (0.0, 0.0, INF)),
    "std": ((0.0, 1.0, 1.0), (NAN, 1.0, 1.0), (1.0, 1.0)),
}


@st.composite
def _wrong_recipe(draw):
    recipe = dataclasses.replace(draw(_GOOD_RECIPES))
    field = draw(st.sampled_from(sorted(_WRONG_FIELDS)))
    # As a configuration read from a file may have it.
    object.__setattr__(recipe, field, draw(st.sampled_from(_WRONG_FIELDS[field])))
    return recipe, field


def _check_recipe(*, recipe, wrong):
    augment.check_views(recipe, 224)
    bad, field = wrong
    with pytest.raises(InputError, match=rf"method\.views\.{field} is"):
        augment.check_views(bad, 224)


CASES = {
    "augment.sample_crop": Case(
        augment.sample_crop,
        options(
            key=key, height=st.sampled_from([1, 3, 10**6]), width=st.sampled_from([1, 5, np.int64(10**6)]), **_CROPS
        ),
        _check_box,
        {"height": bad_count, "width": bad_count, "tries": bad_count, **_BAD_CROPS},
    ),
    "augment.crop_and_resize": Case(
        augment.crop_and_resize,
        _crop(),
        _check_crop,
        {
            "image": bad_images("image", unit=False, rgb=False),
            "box": _bad_box,
            "size": bad_count,
            "method": bad_choice,
        },
    ),
    "augment.random_resized_crop": Case(
        augment.random_resized_crop,
        options(key=key, image=images(), size=st.just(4), method=st.just("bilinear"), **_CROPS),
        sized,
        {
            "image": bad_images("image", unit=False, rgb=False),
            "size": bad_count,
            "method": bad_choice,
            **_BAD_CROPS,
        },
    ),
    "augment.sample_view": Case(
        _sample_view,
        options(
            height=st.sampled_from([1, 3]),
            width=st.sampled_from([1, 5]),
            branch=st.sampled_from([*BRANCHES, COMPOSED]),
            image_aspect=_CROPS["image_aspect"],
            options=st.just({}),
        ),
        _check_view,
        {
            "options": lambda a: [
                {name: value}
                for name in ("flip", "jitter", "grayscale", "blur", "solarize")
                for value in (NAN, -0.1, 1.1, "0.5", None)
            ],
            "height": bad_count,
            "width": bad_count,
            "image_aspect": _BAD_CROPS["image_aspect"],
        },
    ),
    "augment.render_view": Case(
        _render,
        options(image=images(), branch=st.sampled_from(BRANCHES)),
        _of_branch,
        {"image": bad_images("image")},
        compiled=False,
    ),
    "augment.branch_view": Case(
        _branch_view,
        options(
            image=images(levels=True),
            branch=st.sampled_from([*BRANCHES, COMPOSED]),
            image_aspect=st.sampled_from([None, 1e-30, 100.0]),
        ),
        _of_branch,
        {"image": bad_images("image", levels=True), "image_aspect": _BAD_CROPS["image_aspect"]},
        compiled=False,
    ),
    "augment.branch_views": Case(
        _branch_views,
        options(
            images=images(count=2, levels=True),
            branches=st.sampled_from([BRANCHES[2:], BRANCHES[2:] * 2]),
            jitter_order=st.sampled_from(["image", "batch"]),
            aspects=_ASPECTS,
        ),
        _check_branch_views,
        {"images": bad_images("images", levels=True), "jitter_order": bad_choice, "aspects": _bad_aspects},
        compiled=False,
    ),
    "augment.make_views": Case(
        _make_views,
        options(images=images(count=2, levels=True), recipe=st.sampled_from(RECIPES), aspects=_ASPECTS),
        _check_views,
        {
            "images": bad_images("images", levels=True),
            "recipe": values(None, "simclr", {}, BRANCHES[0]),
            "aspects": _bad_aspects,
        },
        compiled=False,
    ),
    "augment.eval_view": Case(
        _eval_view,
        options(
            images=images(count=2, levels=True),
            aspects=_ASPECTS,
            options=st.sampled_from(
                [{"size": 1}, {"size": 4, "central": 1e-30}, {"size": 4, "central": 1.0, "interpolation": "bilinear"}]
            ),
        ),
        _check_eval,
        {
            "images": bad_images("images", levels=True),
            "aspects": _bad_aspects,
            "mean": values((NAN, 0.0, 0.0), (0.0,)),
            "std": values((0.0, 1.0, 1.0), (1.0,)),
            "options": lambda a: [
                {"size": 4, name: value}
                for name, wrong in (
                    ("size", bad_count(a)),
                    ("central", [0.0, -1.0, 1.1, NAN, INF, "1", [0.5]]),
                    ("interpolation", bad_choice(a)),
                )
                for value in wrong
            ],
        },
        compiled=False,
    ),
    "augment.view_keys": Case(
        augment.view_keys,
        options(key=key, images=st.sampled_from([1, 3]), views=st.sampled_from([1, 2])),
        _check_keys,
        {"images": bad_count, "views": bad_count},
    ),
    "augment.check_views": Case(
        _check_recipe,
        options(recipe=_GOOD_RECIPES, wrong=_wrong_recipe()),
        lambda a, result: None,
        compiled=False,
    ),
    "augment.view_sizes": Case(
        augment.view_sizes,
        options(recipe=_GOOD_RECIPES),
        lambda a, result: np.testing.assert_array_equal(
            result, sorted({a["recipe"].size, getattr(a["recipe"], "local_size", a["recipe"].size)}, reverse=True)
        ),
        compiled=False,
    ),
}
