"""Training configurations: the shipped ones load, and whatever cannot be meant is refused by the name of its key."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, is_dataclass, replace
from inspect import signature
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import ConfigError
from calibration.learning.augmentation import Effect
from calibration.learning.refinement.config import RefinementConfig, load_refinement_config
from calibration.learning.settings.network import TYPES, check_network
from calibration.learning.settings.toml_file import build_config
from calibration.learning.settings.training import SHIPPED, TrainConfig, load_config, parse_config
from engines.network.multitask import MultiTaskNetwork
from engines.network.refinement import RefinementNetwork
from engines.network.unet import MultiTaskUNet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SMALL = """
name = "small"
size = 64
epochs = 2
steps_per_epoch = 3
batch = 4
learning_rate = 1          # a whole number is a number too
warm_up_steps = 2
training_data = "phantoms"
licence = "Apache-2.0"

[network]
widths = [4, 8]
stem_stride = 2

[[train]]
path = "phantom:"
labelled = 0.5

[[validation]]
path = "phantom:"
labelled = 1.0

[augmentation]
rotate = { p = 0.5, low = -10.0, high = 10.0 }
"""


def written(folder: Path, text: str = SMALL) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", sorted(entry.name for entry in SHIPPED.iterdir() if entry.name.endswith(".toml")))
def test_shipped_configurations_load(name: str) -> None:
    config = load_config(name)
    assert parse_config(asdict(config)) == config


def test_the_papers_configuration_is_the_papers() -> None:
    config = load_config("paper.toml")
    masses = {kind: sum(getattr(source, kind) for source in config.train) for kind in ("labelled", "unlabelled")}
    assert masses == pytest.approx({"labelled": 0.25, "unlabelled": 0.25})
    assert sum(source.negative for source in config.train) == pytest.approx(0.5)
    assert (config.size, list(config.network["widths"])) == (512, [64, 128, 256, 512, 1024])
    assert (config.segmentation_loss, config.weighting, config.optimiser) == ("dice_focal", "dynamic", "schedule_free")
    assert config.synthetic_weight == 0.9
    assert not config.segment_negatives
    assert config.late_classification.epoch > 0


def test_a_file_may_extend_a_shipped_one(tmp_path: Path) -> None:
    mine = load_config(written(tmp_path, 'extends = "default.toml"\nseed = 99\n'))
    assert mine == replace(load_config("default.toml"), seed=99)
    shipped = "default.toml, paper.toml"
    with pytest.raises(ConfigError, match=rf"extends: 'mine.toml' is none of {shipped}"):
        load_config(written(tmp_path, 'extends = "mine.toml"\n'))


def test_the_early_size_must_suit_the_network(tmp_path: Path) -> None:
    early = "early_epochs = 1\nearly_size = 30\n"
    with pytest.raises(ConfigError, match="early_size is 30, and must be a multiple of 4"):
        load_config(written(tmp_path, early + SMALL))


@pytest.mark.parametrize(
    ("early", "said"),
    [
        ("early_epochs = 2\nearly_size = 32\n", "early_epochs is 2, and must be 0 to 1"),
        ("early_epochs = -1\nearly_size = 32\n", "early_epochs is -1"),
        ("early_epochs = 1\nearly_size = 64\n", "early_size is 64, and must be below size, 64"),
        ("early_epochs = 1\n", "early_size is 0"),
    ],
)
def test_early_epochs_must_end_and_be_smaller(tmp_path: Path, early: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(written(tmp_path, early + SMALL))


def test_a_file_is_read_to_the_last_key(tmp_path: Path) -> None:
    config = load_config(written(tmp_path))
    assert (config.name, config.size, config.learning_rate) == ("small", 64, 1.0)
    assert isinstance(config.learning_rate, float)
    assert config.train[0].labelled == 0.5
    assert config.augmentation.rotate == Effect(0.5, -10.0, 10.0)
    assert config.augmentation.mirror == Effect()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("warm_up_steps", "warmup_steps", "warmup_steps: unknown; known are .*warm_up_steps"),
        ("warm_up_steps = 2", "", "warm_up_steps: missing"),
        ("labelled = 0.5", "labeled = 0.5", r"train\[0\].labeled: unknown"),
        ('path = "phantom:"\nlabelled = 0.5', "labelled = 0.5", r"train\[0\].path: missing"),
        ("rotate = {", "roll = {", "augmentation.roll: unknown"),
        ("p = 0.5, low", "p = 0.5, lower", "augmentation.rotate.lower: unknown"),
        ("epochs = 2", "epochs = 2.5", "epochs: expected int, got 2.5"),
        ("epochs = 2", "epochs = true", "epochs: expected int, got True"),
        ('name = "small"', "name = 3", "name: expected str, got 3"),
        ("learning_rate = 1 ", 'learning_rate = "1"', "learning_rate: expected float, got '1'"),
        ("learning_rate = 1 ", "learning_rate = true", "learning_rate: expected float, got True"),
        ("batch = 4", 'batch = 4\ndecay = "linear"', "decay: 'linear' is none of 'cosine', 'none'"),
        ("labelled = 0.5", 'labelled = 0.5\ntake = "some"', r"train\[0\].take: 'some' is none of"),
        ("labelled = 0.5", 'labelled = 0.5\nexclude = "a"', r"train\[0\].exclude: expected a list, got 'a'"),
        ("labelled = 0.5", "labelled = 0.5\nexclude = [1]", r"train\[0\].exclude\[0\]: expected str, got 1"),
        ("batch = 4", "batch = 4\nlate_classification = 3", "late_classification: expected a table, got 3"),
        ("low = -10.0", "low = 20.0", "augmentation.rotate.low is 20.0, and must not exceed high, 10.0"),
        ("p = 0.5", "p = 1.5", "augmentation.rotate.p is 1.5, and must be 0 to 1"),
        ("p = 0.5", "p = nan", "augmentation.rotate.p is nan, and must be a finite number"),
        ("labelled = 0.5", "negative = 0.5", "'labelled' above 0"),
        ("labelled = 1.0", "labelled = 0.0", "validation.* mass above 0"),
        ("labelled = 0.5", "labelled = 0.5\nfolds = 4\nfold = 4", r"train\[0\].fold is 4, and must be 0 to 3"),
        ("batch = 4", "batch = 0", "batch is 0, and must be above 0"),
        ("epochs = 2", "epochs = -1", "epochs is -1, and must be above 0"),
        ("widths = [4, 8]", "width = [4, 8]", "network.width: unknown; known are widths"),
        ("widths = [4, 8]", "", "network.widths: missing"),
        ("[network]\nwidths = [4, 8]\nstem_stride = 2", "[other]", "other: unknown"),
        ("size = 64", "size = 62", "size is 62, and must be a multiple of 4"),
        ("size = 64", "size = ", "line 3"),
    ],
)
def test_what_cannot_be_meant_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert SMALL.count(old) >= 1
    path = written(tmp_path, SMALL.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_network_that_is_no_table_is_named(tmp_path: Path) -> None:
    text = SMALL.replace("[network]\nwidths = [4, 8]\nstem_stride = 2\n", "").replace("size", "network = 3\nsize", 1)
    with pytest.raises(ConfigError, match="network: expected a table, got 3"):
        load_config(written(tmp_path, text))


def test_a_missing_file_is_named_and_never_replaced_by_a_shipped_one(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"nosuch\.toml: no such file; .*default.*paper\.toml",
    ):
        load_config("nosuch.toml")
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "default.toml")
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path)


def test_a_file_of_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_bytes(b"\x80\x02\xff")
    with pytest.raises(ConfigError, match="not a text file"):
        load_config(tmp_path / "model.toml")


@pytest.mark.slow
@given(
    low=st.floats(-2, 2),
    width=st.floats(0, 2),
    p=st.floats(0, 1),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 2**31),
            "precision": st.sampled_from(["float32", "bfloat16"]),
            "weighting": st.sampled_from(["dynamic", "fixed", "uncertainty"]),
            "late_classification": st.fixed_dictionaries({"epoch": st.integers(0, 9), "dice": st.floats(0, 1)}),
        },
    ),
)
def test_a_stored_configuration_is_read_back_the_same(
    low: float, width: float, p: float, changes: Mapping[str, Any]
) -> None:
    table = {
        "name": "any",
        "network": {"widths": [4, 8]},
        "size": 64,
        "epochs": 1,
        "steps_per_epoch": 1,
        "batch": 2,
        "learning_rate": 1e-3,
        "warm_up_steps": 0,
        "training_data": "none",
        "licence": "none",
        "train": [{"path": "a", "labelled": 1.0, "exclude": ["x", "y"]}],
        "validation": [{"path": "b", "labelled": 1.0}],
        "augmentation": {"rotate": {"p": p, "low": low, "high": low + width}},
        **changes,
    }
    config = parse_config(table)
    assert parse_config(asdict(config)) == config
    assert parse_config(json.loads(json.dumps(asdict(config)))) == config


NUMBERS = (int, float)
BAD_NUMBERS = ("nan", "inf", "-inf", "-1", "-0.5", "-1e9", "true", '"much"', "[1]", "9" * 400)
SIGNED = {"low", "high"}


def leaves(kind: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """The path and type of every key of a configuration, without its range."""
    for key, hint in get_type_hints(kind).items():
        path = f"{where}.{key}" if where else key
        inner = get_args(hint)[0] if get_origin(hint) is tuple else hint
        if is_dataclass(inner):
            yield from leaves(inner, f"{path}[0]" if inner is not hint else path)
        else:
            yield path, hint


TRAIN_LEAVES = dict(leaves(TrainConfig))
EVERY = [(path, kind) for path, kind in TRAIN_LEAVES.items() if kind in NUMBERS]


def with_value(path: str, value: str) -> str:
    """`SMALL` with one key set, as TOML."""
    *tables, key = path.replace("[0]", "").split(".")
    dropped = ("rotate =", *([] if tables else [f"{key} ="]))
    text = "\n".join(line for line in SMALL.splitlines() if not line.startswith(dropped))
    if not tables:
        return f"{key} = {value}\n{text}"
    if tables[0] in ("train", "validation"):
        return _in_source(text, tables[0], key, value)
    if tables[0] == "late_classification":
        return f"late_classification = {{ {key} = {value} }}\n{text}"
    if len(tables) == 1:
        return f"{text}\n{key} = {value}\n"
    given = {"p": "1.0", "low": "0.5", "high": "0.5"} | {key: value}
    return f"{text}\n{tables[1]} = {{ {', '.join(f'{name} = {one}' for name, one in given.items())} }}\n"


def _in_source(text: str, table: str, key: str, value: str) -> str:
    head, found, tail = text.partition(f"[[{table}]]\n")
    source, end, rest = tail.partition("\n[")
    kept = "\n".join(line for line in source.splitlines() if not line.startswith(f"{key} ="))
    return f"{head}{found}{key} = {value}\n{kept}{end}{rest}"


@pytest.mark.slow
@pytest.mark.parametrize("value", BAD_NUMBERS)
def test_no_number_of_any_key_is_taken_that_cannot_be_meant(tmp_path: Path, value: str) -> None:
    """NaN, infinity, negative, another type: at every key, named by its path."""
    assert len(EVERY) > 120
    for path, kind in EVERY:
        if path.rpartition(".")[2] in SIGNED and value in ("-1", "-0.5", "true"):
            continue  # sizes of effects may be negative: the next test
        with pytest.raises(ConfigError) as caught:
            load_config(written(tmp_path, with_value(path, value)))
        table, _, key = path.rpartition(".")  # of an effect, low and high are told together
        assert f": {table if key in SIGNED else path}" in str(caught.value), (path, kind, value)
        assert len(str(caught.value)) < 1000


def test_sizes_lie_in_the_range_of_their_effect(tmp_path: Path) -> None:
    for path, bad in (
        ("scale.low", "-0.1"),
        ("scale.low", "0.0"),
        ("gamma.high", "100.0"),
        ("compression.low", "0.2"),
        ("resolution.high", "1.5"),
        ("shift.low", "-1.5"),
        ("noise.high", "2.0"),
        ("elastic.low", "-1.0"),
        ("rotate.high", "1000.0"),
    ):
        with pytest.raises(ConfigError, match=rf"augmentation\.{path} is {bad}, and must be"):
            load_config(written(tmp_path, with_value(f"augmentation.{path}", bad)))
    never = SMALL.replace("p = 0.5, low = -10.0, high = 10.0", "p = 0.0, low = 0.0, high = 0.0")
    assert load_config(written(tmp_path, never + "scale = { p = 0.0 }\n")).augmentation.scale == Effect()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("clip_norm", "-1", "clip_norm is -1.0, and must be 0 or more"),
        ("average", "1.5", "average is 1.5, and must be 0 to below 1"),
        ("average", "1.0", "average is 1.0, and must be 0 to below 1"),
        ("learning_rate", "nan", "learning_rate is nan, and must be a finite number"),
        ("learning_rate", "0", "learning_rate is 0.0, and must be above 0 to 10"),
        ("learning_rate", "1e3", "learning_rate is 1000.0, and must be above 0 to 10"),
        ("warm_up_steps", "-1", "warm_up_steps is -1, and must be 0 to "),
        ("refresh_batches", "-3", "refresh_batches is -3, and must be 0 to "),
        ("augmentation.mirror.high", "1.0", "augmentation.mirror.low is 0.5, and must be 0"),
        ("weight_decay", "-0.1", "weight_decay is -0.1, and must be 0 to 10"),
        ("synthetic_weight", "-0.1", "synthetic_weight is -0.1, and must be 0 or more"),
        ("late_classification.dice", "1.5", "late_classification.dice is 1.5, and must be 0 to 1"),
        ("train[0].share", "0", r"train\[0\].share is 0.0, and must be above 0 to 1"),
        ("train[0].folds", "1", r"train\[0\].folds is 1, and must be 0, for all frames, or 2 or more"),
        ("train[0].labelled", "-0.5", r"train\[0\].labelled is -0.5, and must be 0 or more"),
        ("train[0].count", "0", r"train\[0\].count is 0, and must be above 0"),
        ("train[0].path", '""', r"train\[0\].path is '', and must be some text"),
        ("name", '""', "name is '', and must be some text"),
        ("seed", "-1", "seed is -1, and must be 0 to "),
        ("augmentation.kept_ps", "1.2", "augmentation.kept_ps is 1.2, and must be 0 to 1"),
    ],
)
def test_a_value_out_of_range_is_named_with_the_range(tmp_path: Path, key: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(written(tmp_path, with_value(key, value)))


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("widths = []", "network.widths is empty"),
        ("widths = [4, 0]", r"network.widths\[1\] is 0, and must be above 0"),
        ("widths = [4, -8]", r"network.widths\[1\] is -8"),
        ("widths = [4, 8.5]", r"network.widths\[1\]: expected int, got 8.5"),
        ("widths = 4", "network.widths: expected a list, got 4"),
        ('widths = [4, 8]\nblock = "dense"', "network.block: 'dense' is none of 'plain', 'residual'"),
        ("widths = [4, 8]\nup_kernel = 2", "network.up_kernel: 2 is none of 1, 3, 5, 7"),
        ("widths = [4, 8]\ngrey_std = 0.0", "network.grey_std is 0.0, and must be above 0"),
        ("widths = [4, 8]\ngrey_mean = nan", "network.grey_mean is nan, and must be a finite number"),
        ("widths = [4, 8]\nplane_hidden = [0]", r"network.plane_hidden\[0\] is 0"),
        ("widths = [4, 8]\norientation_head = 1", "network.orientation_head: expected bool, got 1"),
        ("widths = [4, 8]\ndropout = 0.5", "network.dropout: unknown; known are widths"),
        ('encoder = "resnet"', "network.encoder: 'resnet' is none of 'efficientnet_lite0'"),
    ],
)
def test_a_network_that_cannot_be_made_is_refused_when_it_is_read(tmp_path: Path, new: str, said: str) -> None:
    text = SMALL.replace("stem_stride = 2\n", "") if new.startswith("encoder") else SMALL
    with pytest.raises(ConfigError, match=said):
        load_config(written(tmp_path, text.replace("widths = [4, 8]", new, 1)))


@pytest.mark.parametrize(
    ("kind", "table", "said"),
    [
        (MultiTaskUNet, {"widths": [4, 8], "stem_stride": True}, "stem_stride: True is none of 1, 2"),
        (MultiTaskNetwork, {"encoder": "efficientnet_lite0", "decoder_widths": [8]}, "network: a decoder over 5 maps"),
        (RefinementNetwork, {"side": 100}, "network: side is 100, and must be a multiple of 32"),
        (RefinementNetwork, {"dropout": 1.0}, "network.dropout is 1.0, and must be 0 to below 1"),
        (RefinementNetwork, {"hidden": -1}, "network.hidden is -1"),
    ],
)
def test_every_kind_of_network_is_checked(kind: Any, table: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_network(kind, table)


@pytest.mark.parametrize("kind", [MultiTaskUNet, MultiTaskNetwork, RefinementNetwork])
def test_no_key_of_a_network_is_without_a_type(kind: Any) -> None:
    assert set(signature(kind).parameters) <= set(TYPES)


def test_the_refinements_configuration_is_checked_like_the_others() -> None:
    table = asdict(load_refinement_config("refinement.toml"))
    for key, kind in get_type_hints(RefinementConfig).items():
        for bad in (math.nan, -math.inf, -1, True, "much"):
            if kind in NUMBERS:
                with pytest.raises(ConfigError, match=f"^{key}"):
                    build_config(RefinementConfig, table | {key: bad})
    with pytest.raises(ConfigError, match="validation: no source"):
        build_config(RefinementConfig, table | {"validation": []})


def test_a_table_nested_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nested too deep|Invalid|Expected|Cannot|unknown|Unclosed"):
        load_config(written(tmp_path, "a = " + "[" * 100_000))
