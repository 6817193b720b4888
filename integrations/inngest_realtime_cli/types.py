"""`inngest-realtime types MODULE`: the channels of Python modules as a TypeScript file for the `inngest` package."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from pydantic import TypeAdapter

from inngest_realtime_core import Channel, ConfigurationError
from inngest_realtime_core.channels.channel import is_mixin, template_of
from inngest_realtime_core.channels.schemas import sent_schemas
from inngest_realtime_core.endpoints.grants import camel_case, kebab_case

from .schema_ts import RESERVED, Definitions, Schema, comment, literal, property_name

__all__ = ["HELP", "add_arguments", "channels_of", "run", "typescript"]

# What the SDK's own channel objects have beside their topics.
_REFUSED_TOPICS = frozenset({"name", "topics", "$infer", "__proto__"})

_PASS_THROUGH = """\
/** A Standard Schema that has a type and checks nothing. */
interface PassThrough<T> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: "inngest-realtime";
    readonly validate: (value: unknown) => { readonly value: T };
    readonly types?: { readonly input: T; readonly output: T } | undefined;
  };
}

const passThrough = <T>(): PassThrough<T> => ({
  "~standard": { version: 1, vendor: "inngest-realtime", validate: (value) => ({ value: value as T }) },
});
"""


HELP = "Print a TypeScript file with the channels of Python modules, for useRealtime and subscribe of `inngest`."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the command takes."""
    parser.add_argument("modules", metavar="MODULE", nargs="+", help="where the channels are, such as myapp.channels")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the file, instead of printing it")
    parser.add_argument("--check", action="store_true", help="only compare FILE; status 1 when it is not up to date")
    parser.add_argument("--zod", action="store_true", help="check messages at run time, with the package zod")
    parser.set_defaults(wrong_arguments=parser.error)


def run(options: argparse.Namespace) -> int:
    """Runs the command, and returns the exit status.

    Raises:
        ConfigurationError: `--check` finds another file, or there is no TypeScript for the channels.
    """
    out = cast("Path | None", options.out)
    if options.check and out is None:
        options.wrong_arguments("--check compares a file: say which one with --out FILE.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a command has its own directory there, not the one it is called in
    modules = [_imported(name) for name in options.modules]
    text = typescript(channels_of(modules), zod=options.zod, source=" ".join(options.modules))
    if out is None:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
        return 0
    old = out.read_bytes().decode(errors="replace") if out.is_file() else ""
    if not options.check:
        if old != text:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_bytes(text.encode())
    elif old.replace("\r\n", "\n") != text:
        difference = difflib.unified_diff(old.splitlines(), text.splitlines(), str(out), "generated", lineterm="")
        print("\n".join(difference), file=sys.stderr)
        raise ConfigurationError(f"{out} is not up to date. Run the command without --check.")
    return 0


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise ConfigurationError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def channels_of(modules: Sequence[ModuleType]) -> list[type[Channel]]:
    """The channel classes that the modules hold, in their order, each once; mixins without a name are none."""
    found: dict[type[Channel], None] = {}
    for module in modules:
        for value in list(vars(module).values()):
            if isinstance(value, type) and issubclass(value, Channel) and not is_mixin(value):
                found[value] = None
    if not found:
        names = ", ".join(module.__name__ for module in modules)
        raise ConfigurationError(f"{names} holds no channel: no class that derives from Channel and has a name.")
    return list(found)


def typescript(channels: Sequence[type[Channel]], *, zod: bool = False, source: str = "") -> str:
    """The file for the channels: the types of their topics' data, and `realtime.channel(...)` for each.

    Raises:
        ConfigurationError: A topic has a name that the SDK's channels have for themselves, or a type without a JSON
            schema; or two classes would be exported under one name.
    """
    exports = _exports(channels)
    schemas, definitions = _schemas(channels, {"PassThrough", *(_title(name) + "Topics" for name in exports.values())})
    head = "// Generated by `inngest-realtime types`. Do not edit.\n"
    if source:
        flag = " --zod" if zod else ""
        head = f"// Generated by `inngest-realtime types {source}{flag}`. Do not edit.\n"
    imports = 'import { realtime } from "inngest/realtime";\n' + ('import { z } from "zod";\n' if zod else "")
    parts = [head + imports, definitions.declarations()]
    parts.append(definitions.zod_declarations() if zod else _PASS_THROUGH)
    for channel in channels:
        parts.append(_topics_type(channel, exports[channel], schemas, definitions))
        parts.append(_channel(channel, exports[channel], schemas, definitions, zod=zod))
    return "\n".join(part for part in parts if part)


def _exports(channels: Sequence[type[Channel]]) -> dict[type[Channel], str]:
    exports: dict[type[Channel], str] = {}
    for channel in channels:
        name = camel_case(kebab_case(channel.__name__.strip("_")).replace("-", "_"))
        if name in RESERVED or name in {"realtime", "z", "passThrough"}:
            name += "Channel"
        if name in exports.values():
            raise ConfigurationError(
                f"Two channel classes would be exported as {name}: {channel.__qualname__} is the second. Rename one."
            )
        exports[channel] = name
        for topic in channel.topics():
            if topic in _REFUSED_TOPICS:
                raise ConfigurationError(
                    f"{channel.__qualname__} has a topic {topic!r}, and channels of the TypeScript SDK have a "
                    f"property of this name. Give the topic another: topic(..., name=...)."
                )
    return exports


def _schemas(
    channels: Sequence[type[Channel]], taken: set[str]
) -> tuple[dict[tuple[type[Channel], str], Schema], Definitions]:
    """The schema of each topic's data as it is sent, and the definitions that these share."""
    topics = {(channel, name): topic for channel in channels for name, topic in channel.topics().items()}
    schemas, definitions = sent_schemas(list(topics.values()))
    return dict(zip(topics, schemas, strict=True)), Definitions(definitions, taken)


def _topics_type(
    channel: type[Channel],
    export: str,
    schemas: dict[tuple[type[Channel], str], Schema],
    definitions: Definitions,
) -> str:
    lines = [
        f"  {property_name(topic)}: {definitions.type_of(schemas[channel, topic], '  ')};\n"
        for topic in channel.topics()
    ]
    body = "{\n" + "".join(lines) + "}" if lines else "Record<never, never>"
    described = comment(f"The data of each topic of `{export}`, as event streams carry it.")
    return f"{described}export type {_title(export)}Topics = {body};\n"


def _channel(
    channel: type[Channel],
    export: str,
    schemas: dict[tuple[type[Channel], str], Schema],
    definitions: Definitions,
    *,
    zod: bool,
) -> str:
    template = template_of(channel)
    if template.placeholders:
        spelt = {name: camel_case(name) for name in channel.parameters()}
        if len(set(spelt.values())) < len(spelt):
            raise ConfigurationError(f"{channel.__qualname__}: two parameters have one name in camelCase. Rename one.")
        types = {
            property_name(spelt[name]): _parameter_type(parameter.annotation)
            for name, parameter in channel.parameters().items()
        }
        text = _template_text(template.literals[0])
        for placeholder, following in zip(template.placeholders, template.literals[1:], strict=True):
            text += f"${{{_member('params', spelt[placeholder])}}}{_template_text(following)}"
        name = f"(params: {{ {'; '.join(f'{key}: {value}' for key, value in types.items())} }}) => `{text}`"
    else:
        name = literal(template.literals[0])
    topics = ""
    for topic in channel.topics():
        schema = schemas[channel, topic]
        data = definitions.type_of(schema, "    ")
        # The SDK hands on a null as undefined.
        nullable = definitions.may_be_null(schema)
        if zod:
            expression = definitions.zod_of(schema) + (".optional()" if nullable else "")
        else:
            expression = f"passThrough<{data}{' | undefined' if nullable else ''}>()"
        topics += f"    {property_name(topic)}: {{ schema: {expression} }},\n"
    body = f"{{\n{topics}  }}" if topics else "{}"
    described = comment(vars(channel).get("__doc__"))
    return f"{described}export const {export} = realtime.channel({{\n  name: {name},\n  topics: {body},\n}});\n"


def _parameter_type(annotation: Any) -> str:
    """The type of a channel's parameter as a page has it: what goes into the channel's name."""
    schema = TypeAdapter[Any](annotation).json_schema(mode="serialization")
    definitions = schema.get("$defs", {})

    def written_out(part: Schema) -> Schema:
        # The name of an enum or an alias would be another export; and None is in no channel's name.
        while "$ref" in part:
            part = definitions[part["$ref"].removeprefix("#/$defs/")]
        choices = [written_out(choice) for choice in part.get("anyOf", ()) if choice.get("type") != "null"]
        return {"anyOf": choices} if choices else part

    return Definitions({}, set()).type_of(written_out(schema))


def _member(owner: str, name: str) -> str:
    spelt = property_name(name)
    return f"{owner}.{spelt}" if spelt == name else f"{owner}[{spelt}]"


def _template_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace("`", "\\`").replace("${", "\\${")


def _title(name: str) -> str:
    return name[:1].upper() + name[1:]
