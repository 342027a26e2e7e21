"""Conventions of all public functions, and errors of hostile options."""

import functools
import inspect

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sslax.augment as augment
from sslax.augment import SimCLRViews, check_views
from sslax.errors import InputError

FUNCTIONS = {name: value for name in augment.__all__ if inspect.isfunction(value := getattr(augment, name))}
KEY = jax.random.key(0)
IMAGE = jnp.asarray(np.full((4, 4, 3), 0.5, np.float32))
STRENGTHS = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.1)


@pytest.mark.parametrize("name", augment.__all__)
def test_public_names_are_documented(name):
    documentation = getattr(augment, name).__doc__
    assert documentation
    assert not documentation.startswith(name)  # A dataclass's own signature.


@pytest.mark.parametrize("name", FUNCTIONS)
def test_keys_come_first_and_options_by_name(name):
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters.values())
    names = [parameter.name for parameter in parameters]
    random = (
        name.startswith(("random_", "sample_"))
        or "jitter" in name
        or name in ("branch_view", "branch_views", "cutout", "gaussian_noise", "make_views")
    )
    assert ("key" in names) == random or name == "view_keys"
    if "key" in names:
        assert names[0] == "key"
    for parameter in parameters:
        if parameter.default is not inspect.Parameter.empty:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, parameter.name


def call(function, *arguments, **options):
    return functools.partial(function, *arguments, **options)


bad_probability = st.floats().filter(lambda value: not 0 <= value <= 1)
bad_strength = st.floats().filter(lambda value: not 0 <= value < float("inf"))
bad_hue = st.floats().filter(lambda value: not 0 <= value <= 0.5)
bad_share = st.floats().filter(lambda value: not 0 < value <= 1)
bad_std = st.lists(st.floats(max_value=0.0), min_size=3, max_size=3).map(tuple)
two_numbers = st.tuples(st.floats(0.1, 1.0), st.floats(0.1, 1.0))
bad_share_range = st.tuples(st.floats(), st.floats()).filter(lambda pair: not 0 < pair[0] <= pair[1] <= 1)
# Of few characters: hypothesis would first list all of Unicode.
bad_text = st.text(st.sampled_from("ab \n'é"))
bad_range = st.tuples(st.floats(), st.floats()).filter(lambda pair: not 0 < pair[0] <= pair[1])
CASES = [
    ("probability", bad_probability, call(augment.random_flip, KEY, IMAGE)),
    ("probability", bad_probability, call(augment.random_grayscale, KEY, IMAGE)),
    ("probability", bad_probability, call(augment.random_solarize, KEY, IMAGE)),
    ("probability", bad_probability, call(augment.random_apply, KEY, lambda image: image, IMAGE)),
    ("probability", bad_probability, call(augment.random_blur, KEY, IMAGE, kernel_size=3)),
    ("probability", bad_probability, call(augment.sample_jitter, KEY, **STRENGTHS)),
    ("threshold", bad_probability, call(augment.solarize, IMAGE)),
    ("min_covered", bad_probability, call(augment.sample_crop, KEY, 4, 4)),
    ("area", bad_share_range, call(augment.random_resized_crop, KEY, IMAGE, 4)),
    ("aspect", bad_range, call(augment.random_resized_crop, KEY, IMAGE, 4)),
    ("sigma", bad_range, call(augment.sample_blur, KEY, probability=0.5)),
    ("fill", bad_probability, call(augment.cutout, KEY, IMAGE)),
    ("size", st.integers(max_value=0), call(augment.cutout, KEY, IMAGE)),
    ("sigma", bad_strength, call(augment.gaussian_noise, KEY, IMAGE)),
    ("tries", st.integers(max_value=0), call(augment.sample_crop, KEY, 4, 4)),
    (
        "size",
        st.integers(max_value=0),
        call(augment.crop_and_resize, IMAGE, jnp.asarray(np.array([0, 0, 4, 4], np.int32))),
    ),
    ("kernel_size", st.integers(max_value=0), call(augment.random_blur, KEY, IMAGE, probability=0.5)),
    ("radius", st.integers(max_value=-1), call(augment.gaussian_blur, IMAGE, 1.0)),
    ("brightness", bad_strength, call(augment.color_jitter, KEY, IMAGE, contrast=0.1, saturation=0.1, hue=0.1)),
    ("hue", bad_hue, call(augment.color_jitter, KEY, IMAGE, brightness=0.1, contrast=0.1, saturation=0.1)),
    ("std", bad_std, call(augment.normalize, IMAGE, mean=(0.0, 0.0, 0.0))),
    ("mean", two_numbers, call(augment.normalize, IMAGE, std=(1.0, 1.0, 1.0))),
    ("central", bad_share, call(augment.eval_view, IMAGE[None], 4)),
]


@pytest.mark.parametrize(("name", "values", "function"), CASES)
def test_hostile_options_are_named(name, values, function):
    @hypothesis.given(values)
    def run(value):
        with pytest.raises(ValueError, match=name) as error:
            function(**{name: value})
        message = str(error.value)
        assert message.endswith(".")
        assert "\n" not in message
        assert str(value) in message or name in ("mean", "std")

    run()


BAD_FIELDS = {
    "size": st.one_of(st.integers(max_value=0), st.integers(min_value=33)),
    "crop_area": bad_share_range,
    "crop_aspect": bad_range,
    "blur_sigma": bad_range,
    "crop_min_covered": bad_probability,
    "strength": st.floats().filter(lambda value: not 0 <= value <= 2.5),
    "mean": two_numbers,
    "std": bad_std,
    "interpolation": bad_text,
    "crop_sampling": bad_text,
    "semantics": bad_text,
    "jitter_order": bad_text,
    "blur_padding": bad_text,
    "one_branch": st.one_of(bad_text, st.tuples(bad_text), st.tuples(*[st.just("crop")] * 3)),
} | dict.fromkeys(("flip", "jitter", "grayscale", "blur"), bad_probability)


@pytest.mark.parametrize("field", BAD_FIELDS)
def test_check_views_names_the_field(field):
    @hypothesis.given(BAD_FIELDS[field])
    def run(value):
        recipe = SimCLRViews.small(32)
        object.__setattr__(recipe, field, value)  # As a config read from a file might have it.
        with pytest.raises(InputError, match=rf"method\.views\.{field} is "):
            check_views(recipe, 32)

    run()


def test_check_views_accepts_valid_recipes():
    check_views(SimCLRViews(), 224)
    check_views(SimCLRViews.small(), 32)
    check_views(SimCLRViews.small(8), 500, prefix="views")
    with pytest.raises(InputError, match=r"^views\.size is 64; it must be from 1 to 32 pixels"):
        check_views(SimCLRViews.small(64), 32, prefix="views")
