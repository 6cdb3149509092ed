"""Keys: what decides an artifact is in them, nothing else is."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from artifacts.recipe import Recipe

BASE = Recipe("group", 1, {"threshold": 0.5, "nested": {"a": 1}}, {"volume": "aa", "heat_map": "bb"}, "ww", "float32")


def test_the_order_of_names_does_not_matter():
    turned = replace(BASE, params={"nested": {"a": 1}, "threshold": 0.5}, inputs={"heat_map": "bb", "volume": "aa"})
    assert turned.digest == BASE.digest


def test_a_key_is_the_same_in_every_process():
    assert Recipe("load", 1).digest == "15cab6df5d45544606006b0f1191a72f"


def test_every_part_of_a_recipe_changes_the_key_and_is_named_as_the_cause():
    changes = {
        "input: heat_map changed": replace(BASE, inputs={"volume": "aa", "heat_map": "cc"}),
        "input: heat_map, volume changed": replace(BASE, inputs={}),
        "version: 1 -> 2": replace(BASE, version=2),
        "weights: another checkpoint": replace(BASE, weights="vv"),
        "params: precision float32 -> bfloat16": replace(BASE, precision="bfloat16"),
        "params: nested.a 1 -> 2": replace(BASE, params={"threshold": 0.5, "nested": {"a": 2}}),
    }
    for because, other in changes.items():
        assert other.digest != BASE.digest
        assert other.changed_since(BASE) == because


def test_what_was_done_otherwise_is_told_though_the_inputs_changed_too():
    other = replace(BASE, inputs={"volume": "cc", "heat_map": "bb"}, weights="vv", params={"threshold": 0.4, "nested": {"a": 1}})
    assert list(other.done_otherwise(BASE)) == ["weights: another checkpoint", "params: threshold 0.5 -> 0.4"]
    assert not list(replace(BASE, inputs={}).done_otherwise(BASE))


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.floats(allow_nan=False, allow_infinity=False), max_size=4))
def test_a_recipe_read_back_has_the_same_key(params):
    from dataclasses import asdict

    recipe = Recipe("x", 3, params)
    assert Recipe.from_dict(asdict(recipe)).digest == recipe.digest
