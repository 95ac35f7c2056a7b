"""What a training run is told: one frozen tree of values, read from TOML, written into the run's folder.

Every value has a default, so that a configuration names only what it changes. An unknown name or a value of the wrong
kind is refused with what is allowed, before any work is done.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
import types
import typing
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from embedder.bundles import NAME
from lookalike.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Data:
    """Which pictures. folders: a subfolder per class in each; classes of one name in two folders are two classes.

    held_out: share of the classes kept apart, to choose the best moment and to judge; or one `fold` of `folds`.
    least: fewer pictures leave a class out; most: pictures taken of a class, 0 for all; memory_mb: for pictures.
    crop: for each folder "whole", pictures as they are (also aligned faces), or "face", the largest face, aligned.
    without: classes to leave out altogether, each as "folder/class".
    """

    folders: tuple[str, ...] = ()
    kind: str = "image"
    crop: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    held_out: float = 0.2
    folds: int = 1
    fold: int = 0
    least: int = 2
    most: int = 0
    memory_mb: int = 4096
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Augment:
    """How a picture is changed before the network sees it; each has its own switch and 0 is off.

    flip, blur, low_resolution, occlusion, mask, grey, jpeg: the chance of it; crop: the least share of the area that a
    random crop keeps; rotation: degrees either way; colour: strength of brightness, contrast and saturation, and an
    eighth of it for hue; mixup, cutmix: Beta's parameter (Zhang et al. 2018; Yun et al. 2019), at most one of them.
    """

    flip: float = 0.5
    crop: float = 0.0
    rotation: float = 0.0
    colour: float = 0.0
    blur: float = 0.0
    low_resolution: float = 0.0
    occlusion: float = 0.0
    mask: float = 0.0
    grey: float = 0.0
    jpeg: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0


@dataclass(frozen=True, slots=True)
class Model:
    """The network. backbone: a name of `embedder.train.backbones.BACKBONES`, or "timm:NAME".

    weights: a safetensors file to start from, else what the backbone's package brings, else chance.
    dimension: of the embedding; 0 leaves the backbone's features as they are, without a head.
    freeze: stages from the bottom that stay as they are; cache: compute those once, for so many variants of every
    picture (upright, mirrored, and others changed as `Augment` says), instead of anew in each step; norms: let means
    and deviations of batch normalisations follow the batches, instead of keeping what they came with.
    """

    backbone: str = "efficientnet_lite0"
    weights: str = ""
    side: int = 0
    dimension: int = 0
    dropout: float = 0.0
    freeze: int = 0
    cache: int = 0
    norms: bool = False


@dataclass(frozen=True, slots=True)
class Loss:
    """What is made small. name: of `embedder.train.losses.LOSSES`; margin, scale: as the loss's paper has them.

    leash: weight of 1 - cosine to the vector that the network gave of the unchanged picture before training; or, where
    there is a teacher, a backbone's name or an export folder, to what that gives of the picture as it is shown.
    """

    name: str = "triplet-soft"
    margin: float = 0.2
    scale: float = 0.0
    leash: float = 0.0
    teacher: str = ""


@dataclass(frozen=True, slots=True)
class Optimiser:
    """How the weights move. rate: AdamW's for the top; each stage below has `depth_decay` times the one above.

    classes, pictures: P and K of a batch; accumulate: batches to a step; ema: decay of averaged weights, 0 for none;
    schedule: "cosine", "plateau" or "constant" behind `warmup` steps; patience: evaluations without a gain until the
    end, and half as many until a plateau cuts the rate by 4; minutes: the end in any case, 0 for none.
    precision: "f32", "bf16", or "frozen-bf16", the frozen stages alone: the best on processors with avx512_bf16.
    """

    rate: float = 1e-4
    head_rate: float = 0.0
    depth_decay: float = 1.0
    weight_decay: float = 1e-4
    classes: int = 12
    pictures: int = 4
    accumulate: int = 1
    steps: int = 300
    warmup: int = 20
    schedule: str = "cosine"
    clip: float = 5.0
    ema: float = 0.0
    precision: str = "f32"
    evaluate_every: int = 50
    patience: int = 8
    minutes: float = 0.0


@dataclass(frozen=True, slots=True)
class Output:
    """What becomes of it. name: of the exported model; licence: as in a bundle's manifest; data: said in its card.

    flip: "never", "enrolment" or "always"; centred: subtract the training classes' mean vector; whiten: dimensions
    kept by within-class whitening learned on the training classes, 0 for none; joined: set beside the starting
    network's own vectors, so that both must agree.
    """

    name: str = "trained"
    licence: str = "unstated"
    commercial: bool = False
    note: str = ""
    data: str = ""
    flip: str = "enrolment"
    centred: bool = True
    whiten: int = 0
    joined: bool = False


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A whole run.

    seed: everything drawn by chance follows from it; select: the measure that chooses the best moment, by default
    open_set for faces and map_r for others (embedder/train/measures.py); threads: 0 for all processors.
    """

    data: Data = field(default_factory=Data)
    augment: Augment = field(default_factory=Augment)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    optimiser: Optimiser = field(default_factory=Optimiser)
    output: Output = field(default_factory=Output)
    seed: int = 1
    select: str = ""
    device: str = "auto"
    threads: int = 0


CHOICES = {
    "kind": ("image", "face"),
    "crop": ("whole", "face"),
    "schedule": ("cosine", "plateau", "constant"),
    "precision": ("f32", "bf16", "frozen-bf16"),
    "flip": ("never", "enrolment", "always"),
    "select": ("", "map_r", "recall_1", "tar_1e-3", "open_set"),
    "device": ("auto", "cpu", "cuda"),
}
SHARES = (
    *("held_out", "flip", "crop", "blur", "low_resolution", "occlusion", "mask", "grey", "jpeg"),
    *("dropout", "ema", "depth_decay"),
)
BELOW_ONE = ("data.held_out", "model.dropout", "optimiser.ema")
AT_LEAST_ONE = ("data.folds", "optimiser.accumulate", "optimiser.evaluate_every")


def read_config(path: Path) -> TrainConfig:
    """A run's configuration from TOML. Raises: InvalidInput naming the entry that is wrong and what is allowed."""
    try:
        entries = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidInput(f"the configuration cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInput(f"the configuration is not TOML: {error}") from error
    return config_from(entries)


def recipe_for(folder: Path, kind: str) -> TrainConfig:
    """The recipe for a folder of one's own, fitted to how many classes it has. Raises: InvalidInput."""
    from embedder.train.pictures import held_out_classes, list_pictures

    if kind not in CHOICES["kind"]:
        raise InvalidInput(f"kind: one of {', '.join(CHOICES['kind'])}")
    recipe = resources.files("embedder.train").joinpath("recipes", f"{kind}.toml")
    entries = tomllib.loads(recipe.read_text("utf-8"))
    entries["data"] |= {"folders": [str(folder)], **({"crop": ["face"]} if kind == "face" else {})}
    entries["output"]["name"] = re.sub(r"[^A-Za-z0-9]+", "-", folder.resolve().name).strip("-")[:64] or "trained"
    config = config_from(entries)
    classes = len(list_pictures(config.data).names)
    learning = classes - len(held_out_classes(classes, config.data, config.seed))
    return changed(config, optimiser__classes=max(2, min(config.optimiser.classes, learning)))


def config_from(entries: dict[str, object]) -> TrainConfig:
    """The same from a dict, such as `to_dict` gives. Raises: InvalidInput."""
    config = _filled(TrainConfig, entries, "")
    _check(config)
    return config


def to_dict(config: TrainConfig) -> dict[str, object]:
    """Plain values, as JSON and TOML have them."""
    return dataclasses.asdict(config)


def to_toml(config: TrainConfig) -> str:
    """As `read_config` takes it, every value written out."""
    single, tables = [], []
    for name, value in to_dict(config).items():
        if isinstance(value, dict):
            tables += ["", f"[{name}]", *(f"{key} = {_toml(inner)}" for key, inner in value.items())]
        else:
            single.append(f"{name} = {_toml(value)}")
    return "\n".join([*single, *tables, ""])


def _toml(value: object) -> str:
    """JSON's strings, numbers, booleans and lists are TOML's too, but for the sign DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def changed(config: TrainConfig, **values: object) -> TrainConfig:
    """The configuration with some values replaced: `changed(c, optimiser__rate=1e-5)`. Raises: InvalidInput."""
    entries = to_dict(config)
    for name, value in values.items():
        *parents, last = name.split("__")
        table: dict[str, object] = entries
        for parent in parents:
            inner = table.get(parent)
            if not isinstance(inner, dict):
                raise InvalidInput(f"there is no table {parent!r} in a configuration")
            table = inner
        table[last] = value
    return config_from(entries)


T = typing.TypeVar("T")


def _filled(kind: type[T], entries: object, where: str) -> T:
    """A dataclass from a table. where: its place in the document, for the error."""
    if not isinstance(entries, dict):
        raise InvalidInput(f"{where.removesuffix('.') or 'the configuration'} must be a table")
    fields = typing.get_type_hints(kind)
    for name in entries:
        if name not in fields:
            raise InvalidInput(f"{where}{name} is unknown; there are {', '.join(sorted(fields))}")
    return kind(**{name: _value(fields[name], value, f"{where}{name}") for name, value in entries.items()})


def _value(kind: object, value: object, where: str) -> object:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _filled(kind, value, f"{where}.")
    if isinstance(kind, types.GenericAlias):
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise InvalidInput(f"{where} must be a list of strings")
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):  # type: ignore[arg-type]
        raise InvalidInput(f"{where} must be of the kind {getattr(kind, '__name__', kind)}")
    return value


def _check(config: TrainConfig) -> None:
    """What kinds alone do not say. Raises: InvalidInput."""
    for where in ("", "data", "augment", "model", "loss", "optimiser", "output"):
        table = getattr(config, where) if where else config
        for item in dataclasses.fields(table):
            _check_value(f"{where}.{item.name}" if where else item.name, item.name, getattr(table, item.name))
    for wrong, told in _senseless(config):
        if wrong:
            raise InvalidInput(told)


def _check_value(where: str, name: str, value: object) -> None:
    """One value by itself."""
    given = value if isinstance(value, tuple) else (value,)
    if name in CHOICES and any(isinstance(v, str) and v not in CHOICES[name] for v in given):
        raise InvalidInput(f"{where}: one of {', '.join(c or 'nothing' for c in CHOICES[name])}")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if not math.isfinite(value):
        raise InvalidInput(f"{where}: a number")
    if name in SHARES and not 0 <= value <= 1:
        raise InvalidInput(f"{where}: 0 to 1")
    if value < 0:
        raise InvalidInput(f"{where}: not below 0")
    if where in BELOW_ONE and value == 1:
        raise InvalidInput(f"{where}: below 1")
    if where in AT_LEAST_ONE and value < 1:
        raise InvalidInput(f"{where}: at least 1")


def _senseless(config: TrainConfig) -> tuple[tuple[bool, str], ...]:
    """What values do not go together, and what to say of it."""
    data, augment, model, optimiser = config.data, config.augment, config.model, config.optimiser
    mixed = bool(augment.mixup or augment.cutmix)
    few = optimiser.classes < 2 or optimiser.pictures < 2
    of_faces = config.select in ("open_set", "tar_1e-3") and data.kind != "face"
    return (
        (not data.folders, "data.folders: name at least one folder with a subfolder per class"),
        (bool(data.crop) and len(data.crop) != len(data.folders), "data.crop: one for each of data.folders"),
        (data.fold >= data.folds, "data.fold: from 0 to data.folds - 1"),
        (few, "optimiser.classes and optimiser.pictures: at least 2, or there is nothing to tell apart"),
        (bool(augment.mixup and augment.cutmix), "augment: mixup or cutmix, not both"),
        (
            bool(model.cache and mixed),
            "model.cache: what was computed once cannot be mixed; set augment.mixup and cutmix to 0",
        ),
        (model.cache == 1, "model.cache: 0, or at least 2 variants: pictures upright and mirrored"),
        (bool(model.cache and not model.freeze), "model.cache: needs model.freeze, the stages to compute once"),
        (
            bool(config.loss.leash and model.dimension and not config.loss.teacher),
            "loss.leash: vectors of a new head have nothing to be held to; set model.dimension = 0, or a loss.teacher",
        ),
        (
            bool(config.loss.teacher and not config.loss.leash),
            "loss.teacher: set loss.leash, the weight of what it teaches",
        ),
        (
            bool(config.loss.teacher and model.cache),
            "loss.teacher: must see the pictures themselves; set model.cache = 0",
        ),
        (
            config.loss.name == "none" and not config.loss.teacher,
            "loss.name: none leaves nothing to learn but from a loss.teacher",
        ),
        *_not_exportable(config),
        (of_faces, f"select: {config.select} is measured of faces only; choose map_r or recall_1"),
    )


def _not_exportable(config: TrainConfig) -> tuple[tuple[bool, str], ...]:
    """What a manifest would refuse (embedder/bundles.py), said before the training that would be lost."""
    model, output = config.model, config.output
    return (
        (bool(model.dimension) and not 8 <= model.dimension <= 8192, "model.dimension: 0, or 8 to 8192"),
        (bool(output.whiten) and not 8 <= output.whiten <= 8192, "output.whiten: 0, or 8 to 8192"),
        (bool(model.side) and not 32 <= model.side <= 1024, "model.side: 0, or 32 to 1024"),
        (
            not NAME.fullmatch(output.name),
            "output.name: letters, digits, _ . and -, the first a letter or digit, at most 64",
        ),
        (not re.fullmatch(r".{1,200}", output.licence), "output.licence: one line of at most 200 characters"),
        (max(len(output.note), len(output.data)) > 4000, "output.note, output.data: at most 4000 characters"),
    )
