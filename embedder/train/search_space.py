"""Which values of a configuration a tuner may change, and how far: a small table in TOML, checked before any work.

    [tune]
    "optimiser.rate" = {low = 1e-5, high = 1e-3, log = true}
    "model.freeze" = {choices = [3, 4, 5]}

What is searched are the values of `augment`, `model`, `loss` and `optimiser`. Which pictures are learned from and how a
network is judged stay as they are: a trial that could choose its own examiner would win.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.train.config import TrainConfig, changed, config_from, to_dict
from lookalike.errors import InvalidInput

SEARCHED = ("augment", "model", "loss", "optimiser")

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Dimension:
    """One value to search. name: as in a configuration; low, high: a range, whole numbers where both are; log: search
    its logarithm; choices: in a range's place."""

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Value, ...] = ()

    def distribution(self) -> Any:
        """As Optuna draws from it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def holds(self, value: Value) -> bool:
        """Whether the value could be drawn."""
        if self.choices:
            return value in self.choices
        return not isinstance(value, str) and self.low <= value <= self.high


def read_space(path: Path, space: Path | None = None) -> tuple[TrainConfig, tuple[Dimension, ...]]:
    """A configuration and what may be changed of it: its own table `tune`, or that of a second file.

    Raises: InvalidInput naming the entry that is wrong and what is allowed.
    """
    entries = _read(path)
    own = entries.pop("tune", None)
    table = own if space is None else _read(space).get("tune")
    config = config_from(entries)
    if not isinstance(table, dict) or not table:
        raise InvalidInput("there is nothing to search: give a table [tune], in the configuration or by --space")
    return config, tuple(_dimension(config, name, values) for name, values in table.items())


def with_values(config: TrainConfig, values: Mapping[str, object]) -> TrainConfig:
    """The configuration with values by their names in it, such as "optimiser.rate". Raises: InvalidInput."""
    return changed(config, **{name.replace(".", "__"): value for name, value in values.items()})


def value_of(config: TrainConfig, name: str) -> Value:
    """What the configuration has under such a name. Raises: InvalidInput where that cannot be searched."""
    table, _, last = name.partition(".")
    of_table = to_dict(config).get(table)
    if table not in SEARCHED or not isinstance(of_table, dict) or last not in of_table:
        raise InvalidInput(f'tune: "{name}" is no value of {", ".join(SEARCHED)}; a name is such as "optimiser.rate"')
    value: Value = of_table[last]
    return value


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInput(f"{path.name} is not TOML: {error}") from error


def _dimension(config: TrainConfig, name: str, values: object) -> Dimension:
    """One line of the table. Its ends, or its choices, must be values that the configuration could have."""
    now = value_of(config, name)
    if not isinstance(values, dict) or values.keys() - {"low", "high", "log", "choices"}:
        raise InvalidInput(f'tune: "{name}" takes {{low, high}} with log = true or without, or {{choices = […]}}')
    if "choices" in values:
        choices = values["choices"]
        if not isinstance(choices, list) or not choices or values.keys() - {"choices"}:
            raise InvalidInput(f'tune: "{name}": choices is a list of one value or more, and stands alone')
        found = Dimension(name, choices=tuple(choices))
    else:
        found = _range(name, now, values)
    for value in found.choices or (found.low, found.high):
        if isinstance(value, str) != isinstance(now, str) or isinstance(value, bool) != isinstance(now, bool):
            raise InvalidInput(f'tune: "{name}": {value!r} is not of its kind, {type(now).__name__}')
    return found


def _range(name: str, now: Value, values: Mapping[str, Any]) -> Dimension:
    low, high, log = values.get("low"), values.get("high"), values.get("log", False)
    numbers = [value for value in (low, high) if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) < 2 or not isinstance(log, bool) or isinstance(now, (bool, str)):
        raise InvalidInput(f'tune: "{name}": low and high are numbers, log is true or false; words take choices')
    whole = isinstance(now, int)
    if whole and not all(isinstance(number, int) for number in numbers):
        raise InvalidInput(f'tune: "{name}": low and high are whole numbers')
    if not numbers[0] < numbers[1] or (log and numbers[0] <= 0):
        raise InvalidInput(f'tune: "{name}": low is below high, and above 0 where log is true')
    low, high = numbers if whole else map(float, numbers)
    return Dimension(name, low, high, log)
