"""TOML to typed settings: strict, with the nearest right name for a wrong one."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from p2prec.errors import ConfigError
from p2prec.text import closest, printable
from p2prec.words import check_word, words_of
from peers.amounts import parse_bytes
from peers.config import BrokerConfig, PeerConfig
from peers.ranges import OWNER, check_ranges

T = TypeVar("T")
CONFIG_NAME = "config.toml"
_ENVIRONMENT_PREFIX = "P2PREC_"
_HIDDEN = "(hidden)"  # in place of a password
_NOT_SETTINGS = {"P2PREC_HOME", "P2PREC_DATA"}


def home_folder() -> Path:
    """Where this peer keeps its settings and its store: P2PREC_HOME, or the per-user place."""
    if "P2PREC_HOME" in os.environ:
        return Path(os.environ["P2PREC_HOME"]).expanduser()
    import platformdirs

    return platformdirs.user_state_path("p2prec")


def config_path() -> Path:
    """The owner's ``config.toml``."""
    if "P2PREC_HOME" in os.environ:
        return home_folder() / CONFIG_NAME
    import platformdirs

    return platformdirs.user_config_path("p2prec") / CONFIG_NAME


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file.

    Raises:
        ConfigError: It cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start + 1} is no UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from None


def load_config(path: Path, environment: Mapping[str, str]) -> PeerConfig:
    """The owner's settings: environment before file before default.

    ``P2PREC_NETWORK__PORT=4000`` overrides ``port`` of ``[network]``.

    Raises:
        ConfigError: A name or a value does not fit; names the file and the key.
    """
    if not path.exists():
        raise ConfigError(f"there is no {path}; p2prec init writes one")
    tables = read_toml(path)
    convert(tables, PeerConfig, source=str(path))
    for name, text in sorted(environment.items()):
        if name.startswith(_ENVIRONMENT_PREFIX) and name not in _NOT_SETTINGS:
            keys = name.removeprefix(_ENVIRONMENT_PREFIX).lower().split("__")
            override = _override(keys, text)
            # Alone first, so that a wrong one is named as what it is and not as part of the file.
            convert(override, PeerConfig, source=f"${name}")
            tables = merged(tables, override)
    config = convert(tables, PeerConfig, source=str(path))
    check_ranges(config, OWNER, source=str(path))
    if config.memory_budget:
        parse_bytes(config.memory_budget, source=str(path))
    return _placed(config, path.parent)


def _placed(config: PeerConfig, folder: Path) -> PeerConfig:
    """Files of brokers lie beside the settings that name them."""
    brokers = tuple(
        dataclasses.replace(b, ca_file=str(folder / Path(b.ca_file).expanduser()))
        if isinstance(b, BrokerConfig) and b.ca_file
        else b
        for b in config.network.mqtt
    )
    return dataclasses.replace(config, network=dataclasses.replace(config.network, mqtt=brokers))


def shown(config: PeerConfig) -> dict[str, Any]:
    """All settings as tables, without passwords."""
    tables: dict[str, Any] = msgspec.to_builtins(config)
    for broker in tables["network"]["mqtt"]:
        if isinstance(broker, dict) and broker["password"]:
            broker["password"] = _HIDDEN
    return tables


def overridden(
    tables: Mapping[str, Any], settings: Sequence[str], kind: type[Any]
) -> dict[str, Any]:
    """Tables of a file, with what ``KEY=VALUE`` says in its place; keys are joined by dots.

    Args:
        tables: Of the file.
        settings: Later ones win.
        kind: What the tables will become.

    Raises:
        ConfigError: One has no ``=``, or a key that is unknown.
    """
    result = dict(tables)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {printable(setting)[:80]!r}: write KEY=VALUE")
        override = _override(path.strip().split("."), text.strip())
        _check_names(override, kind, f"--set {printable(setting)[:80]}", "")
        result = merged(result, override)
    return result


def _override(keys: Sequence[str], text: str) -> dict[str, Any]:
    override: dict[str, Any] = {keys[-1]: _value(text)}
    for key in reversed(keys[:-1]):
        override = {key: override}
    return override


def merged(tables: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Tables with others on top of them; tables within tables are merged too."""
    result = dict(tables)
    for key, value in override.items():
        before = result.get(key)
        both = isinstance(before, dict) and isinstance(value, dict)
        result[key] = merged(before, value) if both and before is not None else value
    return result


def owner_config() -> PeerConfig:
    """This owner's settings, see ``load_config``."""
    return load_config(config_path(), os.environ)


def catalogue_path(config: PeerConfig) -> Path:
    """The realm's catalogue file.

    Raises:
        ConfigError: The settings name none.
    """
    if not config.catalogue:
        raise ConfigError(f"{config_path()} names no catalogue; run p2prec init --catalogue FILE")
    return config_path().parent / Path(config.catalogue).expanduser()


def convert(tables: Mapping[str, Any], kind: type[T], *, source: str) -> T:
    """Tables of a TOML file as a settings object.

    Raises:
        ConfigError: An unknown key or word (with the nearest right one), or a value of a wrong
            type.
    """
    _check_names(tables, kind, source, "")
    try:
        return msgspec.convert(tables, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {str(error).replace('`$.', '`')}") from None


def _check_names(tables: Mapping[str, Any], kind: type[Any], source: str, where: str) -> None:
    hints = get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(kind)}
    words = words_of(kind)
    for key, value in tables.items():
        path = f"{where}{key}"
        if key not in known:
            near = closest(key, known)
            hint = (
                f"; known: {', '.join(sorted(known))}"
                if near is None
                else f"; did you mean {where}{near}?"
            )
            raise ConfigError(f"{source}: unknown setting {printable(path)[:80]!r}{hint}")
        if key in words:
            check_word(f"{source}: {path}", value, words[key])
        for inner in _records(hints[key]):
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict):
                    _check_names(item, inner, source, f"{path}.")


def _records(hint: Any) -> list[type[Any]]:
    """The settings objects that a type is, holds, or may be."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [hint]
    return [record for part in get_args(hint) for record in _records(part)]


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def config_text(*, catalogue: Path, share: bool) -> str:
    """A first ``config.toml`` with comments."""
    import tomlkit
    import tomlkit.items

    from p2prec.collaboration.methods import METHODS

    def setting(value: object, comment: str) -> tomlkit.items.Item:
        item = tomlkit.item(value)
        item.comment(comment)
        return item

    document = tomlkit.document()
    document.add(tomlkit.comment("Settings of this peer; p2prec config shows all of them."))
    document.add("catalogue", setting(str(catalogue), "the items of the realm"))
    document.add("share", setting(share, "false: nothing leaves this device"))
    learner, collaboration, network = tomlkit.table(), tomlkit.table(), tomlkit.table()
    methods = ", ".join(METHODS)
    collaboration.add("method", setting("gossip_adam", methods))
    learner.add("collaboration", collaboration)
    training = tomlkit.table()
    training.add("epochs", setting(1, "passes over the history in a round"))
    training.add("negatives", setting(192, "places that each visit is learned against"))
    learner.add("training", training)
    document.add("learner", learner)
    network.add("mdns", setting(value=True, comment="be found on the local network"))
    brokers = 'brokers beyond it, such as "mqtts://broker.example.org"'
    network.add("mqtt", setting([], brokers))
    document.add("network", network)
    return tomlkit.dumps(document)
