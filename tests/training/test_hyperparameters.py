from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from training.hyperparameters import HYPERPARAMETERS, SPELLINGS, validate, with_defaults


def faults(settings: dict[str, object], method: str = "lora") -> list[str]:
    with pytest.raises(ValueError, match=r".") as caught:
        validate(settings, method)
    return str(caught.value).splitlines()


def test_text_from_a_command_line_gets_its_proper_type() -> None:
    given_settings: dict[str, object] = {
        "learning_rate": "1e-4",
        "max_steps": "30",
        "packing": "True",
        "bf16": "off",
        "lr_scheduler_type": "cosine",
        "target_modules": "q_proj, v_proj",
        "eval_steps": "0.25",
        "logging_steps": "5.0",
    }
    assert validate(given_settings, "lora") == {
        "learning_rate": 1e-4,
        "max_steps": 30,
        "packing": True,
        "bf16": False,
        "lr_scheduler_type": "cosine",
        "target_modules": ["q_proj", "v_proj"],
        "eval_steps": 0.25,
        "logging_steps": 5,
    }


def test_common_spellings_become_trls_names() -> None:
    assert validate({"epochs": 2, "batch_size": 4}, "full") == {"num_train_epochs": 2, "per_device_train_batch_size": 4}
    assert validate({"steps": 7}, "lora") == {"max_steps": 7}
    assert all(name in HYPERPARAMETERS for name in SPELLINGS.values())


def test_a_warmup_ratio_becomes_a_share_of_steps() -> None:
    assert validate({"warmup_ratio": 0.1}, "lora") == {"warmup_steps": 0.1}


def test_what_was_not_set_gets_the_default_of_its_method() -> None:
    lora = with_defaults({"r": 4}, "lora")
    full = with_defaults({}, "full")
    assert (lora["r"], lora["learning_rate"], lora["target_modules"]) == (4, 2e-4, "all-linear")
    assert full["learning_rate"] == 2e-5
    assert "r" not in full


def test_every_fault_is_named_at_once() -> None:
    assert faults({"learning_rat": 1, "max_steps": 0, "packing": "maybe", "bogus": 1, "lora_dropout": 2}) == [
        "learning_rat: unknown hyperparameter; did you mean learning_rate?",
        "max_steps: 0 is below 1",
        "packing: 'maybe' is not true or false",
        "bogus: unknown hyperparameter",
        "lora_dropout: 2.0 is above 0.99",
    ]


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("max_steps", 2.5, "2.5 is not a whole number"),
        ("max_steps", "many", "'many' is not a whole number"),
        ("max_steps", True, "True is not a whole number"),
        ("max_steps", None, "None is not a whole number"),
        ("max_steps", 10**400, "is not a whole number"),
        ("learning_rate", "nan", "'nan' is not a number"),
        ("learning_rate", float("inf"), "inf is not a number"),
        ("learning_rate", 0, "0.0 is not above 0"),
        ("learning_rate", 3, "3.0 is above 1"),
        ("eval_steps", 1.5, "1.5 is not a whole number"),
        ("packing", 1, "1 is not true or false"),
        ("lr_scheduler_type", "sine", "'sine' is none of linear, cosine"),
        ("target_modules", "", "is not a list of module names"),
        ("target_modules", [], "is not a list of module names"),
        ("target_modules", 3, "is not a list of module names"),
        ("target_modules", ["q", 1], "is not a list of module names"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(name: str, value: object, fault: str) -> None:
    (line,) = faults({name: value})
    assert line.startswith(f"{name}: ")
    assert fault in line


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"epochs": 1, "max_steps": 5}, "num_train_epochs, max_steps"),
        ({"warmup_steps": 5, "warmup_ratio": 0.1}, "warmup_steps, warmup_ratio"),
        ({"eval_strategy": "epoch", "eval_steps": 5}, "eval_steps"),
        ({"eval_strategy": "no", "early_stopping_patience": 1}, "early_stopping_patience"),
        ({"early_stopping_patience": 1, "save_steps": 5}, "save_steps"),
        ({"packing": True, "padding_free": False}, "padding_free"),
        ({"packing": True, "train_sampling_strategy": "group_by_length"}, "train_sampling_strategy"),
        ({"batch_size": 1, "per_device_train_batch_size": 2}, "per_device_train_batch_size"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], names: str) -> None:
    (line,) = faults(settings)
    assert line.startswith(f"{names}: ")


def test_lora_settings_have_no_meaning_in_full_training() -> None:
    assert faults({"r": 8}, "full") == ["r: has no meaning with the method full"]


def test_saving_at_the_evaluations_agrees_with_early_stopping() -> None:
    settings: dict[str, object] = {"early_stopping_patience": 1, "save_steps": 5, "eval_steps": 5}
    assert validate(settings, "lora") == settings


_VALUES = st.one_of(st.integers(), st.floats(), st.text(max_size=8), st.booleans(), st.none(), st.just("all-linear"))


# The first example pays for hypothesis's own tables.
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*HYPERPARAMETERS, *SPELLINGS, "nonsense"]), _VALUES, max_size=4))
def test_whatever_comes_in_the_answer_is_a_refusal_or_a_fixed_point(settings: dict[str, object]) -> None:
    try:
        values = validate(settings, "lora")
    except ValueError:
        return
    assert validate(values, "lora") == values
