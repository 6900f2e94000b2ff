"""Where the value of each setting comes from, and unknown `SYNC_*` variables.

Belongs here: comparing the environment and `.env` with the known settings. Does not belong here: the settings
themselves (`settings`).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Final, Literal, NamedTuple

from dotenv import dotenv_values

from sync_pipelines.configuration.settings import ENV_FILE, PREFIX, Settings, variable_of
from sync_pipelines.contracts.near_names import near_name

Origin = Literal["environment", ".env", "default"]

_VARIABLES: Final = tuple(map(variable_of, Settings.model_fields))


class UnknownVariable(NamedTuple):
    """A `SYNC_*` variable that is not a setting.

    Attributes:
        name: its name, as written.
        place: where it is set.
        near: the setting with the most similar name, or None.
    """

    name: str
    place: Origin
    near: str | None


def origin_of(setting: str) -> Origin:
    """Returns where the value of a setting comes from; the environment takes precedence, and empty values are ignored.

    Args:
        setting: name of the setting, such as `database_url`.
    """
    variable = variable_of(setting)
    return next((place for place, values in _places().items() if values.get(variable)), "default")


def unknown_variables(used_elsewhere: Collection[str] = ()) -> list[UnknownVariable]:
    """Returns the variables that start like settings but are not.

    Args:
        used_elsewhere: names that are used for something else, such as secrets in `sources.yaml`.
    """
    known = {*_VARIABLES, *(name.upper() for name in used_elsewhere)}
    return [
        UnknownVariable(name, place, _near(name))
        for place, values in _places().items()
        for name in sorted(values)
        if name.startswith(PREFIX) and name not in known
    ]


def _near(name: str) -> str | None:
    # The common prefix would make any two names similar.
    near = near_name(name.removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in _VARIABLES])
    return None if near is None else PREFIX + near


def _places() -> dict[Origin, Mapping[str, str | None]]:
    """Returns the variables of each place by upper-case name, since settings may be written in lower case."""
    return {"environment": _upper(os.environ), ".env": _upper(env_file_values())}


def env_file_values() -> Mapping[str, str | None]:
    """Returns the variables in `.env`; none if there is no such file."""
    return dotenv_values(ENV_FILE) if ENV_FILE.is_file() else {}


def _upper(values: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name.upper(): value for name, value in values.items()}
