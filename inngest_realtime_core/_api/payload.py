"""What a message carries, turned into JSON: checked first, because Inngest takes anything and loses some of it."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, cast

import msgspec
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from ..errors import PublishError
from ..messages.envelope import METADATA_KEY
from ..messages.sparse import leaves_none_out
from .untyped import untyped_parts

MAX_PAYLOAD = 524_288  # bytes; Inngest cuts off what is longer and says 200


_TOO_DEEP = "{} is nested too deeply, or contains itself."


def encode_payload(data: object, adapter: TypeAdapter[Any] | None = None) -> bytes:
    """The JSON of `data` in UTF-8, at most 512 KiB.

    With an `adapter`, data may be an instance of the topic's type or plain data that validates; without one, anything
    that has a JSON form: plain values, dataclasses, pydantic models, msgspec structs, enums, dates, UUIDs.

    Raises:
        PublishError: The data does not fit the topic's type; holds NaN, an infinity, bytes, a lone surrogate, a key
            that is not a string, or something without a JSON form; or is too large.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        raise PublishError("data is bytes, which JSON cannot carry. Decode it to a str first.")
    body = _encode(data if adapter is None else _validated(data, adapter), "data")
    if len(body) > MAX_PAYLOAD:
        raise PublishError(
            f"data has {len(body):,} bytes as JSON, and Inngest cuts messages off at {MAX_PAYLOAD:,} (512 KiB). "
            "Publish less, or a link to it, or use publish_stream() for text."
        )
    return body


def encode_metadata(metadata: object = None, *, id: str | None = None, seq: Sequence[int] | None = None) -> str:
    """The JSON of a message's metadata: the user's own, and the message's id and number under a key of ours.

    Raises:
        PublishError: It is not an object, in which case Inngest would lose the message, or has our key already.
    """
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, Mapping):
        raise PublishError(f"metadata must be a mapping with string keys, not {type(metadata).__name__}.")
    own = cast("Mapping[str, object]", metadata)
    if METADATA_KEY in own:
        raise PublishError(f"metadata has the key {METADATA_KEY!r}, which is reserved. Pass a message's id as id=.")
    added = {"id": id} if seq is None else {"id": id, "seq": seq}
    return _encode(own if id is None else {METADATA_KEY: added, **own}, "metadata").decode()


def _validated(data: object, adapter: TypeAdapter[Any]) -> object:
    try:
        return _serialised(adapter.validate_python(data), adapter, "data")
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'data'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)[:5]
        )
        raise PublishError(f"data does not fit the topic's type: {problems}.") from error
    except RecursionError:
        raise PublishError(_TOO_DEEP.format("data")) from None


def _serialised(value: object, adapter: TypeAdapter[Any], path: str) -> Any:
    for place, part in untyped_parts(value, adapter, path):
        _plain(part, place)
    try:
        # Not dump_json(): it writes NaN and infinities as null without a word.
        sparse = leaves_none_out(adapter)
        return adapter.dump_python(value, mode="json", by_alias=True, exclude_none=sparse, warnings="error")
    except (PydanticSerializationError, UnicodeDecodeError) as error:
        raise PublishError(f"{path} cannot be serialised as the topic's type: {error}") from error
    except ValueError as error:
        if "depth exceeded" not in str(error) and "Circular" not in str(error):
            raise
        raise PublishError(_TOO_DEEP.format(path)) from None


def _encode(value: object, name: str) -> bytes:
    try:
        text = json.dumps(_plain(value, name), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except PublishError:
        raise
    except RecursionError:
        raise PublishError(_TOO_DEEP.format(name)) from None
    except ValueError as error:
        # An integer of more digits than Python converts.
        raise PublishError(f"{name} cannot be written as JSON: {error}") from None
    return text.encode()


def _plain(value: Any, path: str) -> Any:
    """Check `value` and reduce it to what `json.dumps` writes faithfully."""
    if isinstance(value, Enum):
        return _plain(value.value, path)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise PublishError(f"{path} is {value}, which JSON cannot carry. Send None or a string instead.")
        return value
    if isinstance(value, Mapping):
        return {_key(key, path): _plain(item, f"{path}.{key}") for key, item in cast("Any", value).items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(cast("Iterable[Any]", value))]
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise PublishError(f"{path} is bytes, which JSON cannot carry. Decode it to a str first.")
    return _plain(_reduced(value, path), path)


def _reduced(value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, BaseModel):
        return _serialised(value, _adapter_of(type(value)), path)
    try:
        if isinstance(value, msgspec.Struct):
            return msgspec.to_builtins(value)
        return to_jsonable_python(value, by_alias=True)
    except (PydanticSerializationError, TypeError, ValueError):
        raise PublishError(
            f"{path} is of type {type(value).__name__}, without a JSON form. Convert it, or declare the topic's type."
        ) from None


@functools.lru_cache(maxsize=1024)
def _adapter_of(model: type[BaseModel]) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise PublishError(f"{path} has the key {key!r}, and the keys of JSON objects are strings. Convert it to str.")
    return _text(key, path)


def _text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PublishError(f"{path} contains a lone surrogate, which UTF-8 cannot carry.") from None
    return text
