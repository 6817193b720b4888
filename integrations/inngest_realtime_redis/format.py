"""How a channel is kept in Redis: its keys, the script that records, and what is read again.

Four keys under `<prefix>{<channel>}:`, which expire on their own: `stream` (the messages), `ids` (what is in it
already), `last` (the last message of each topic) and `cover` (the spans of the workers).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from inngest_realtime_core.messages.envelope import Envelope

from .coverage import Span

__all__ = ["RECORD", "decode_envelope", "encode_envelope", "keys_of", "remembered", "spans"]

# A worker's span goes on only if Redis has exactly what the worker believes it has: a failed write, a failover that
# lost the last of them, an emptied Redis and a stopped process all end in a new one.
RECORD: Final = """
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local worker, noted, proved, topics = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[8])
local size, ttl, grace, stall = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local value = ''
if topics > 0 then
  local begin, finish
  if noted ~= '' and redis.call('HGET', KEYS[4], worker .. '|' .. ARGV[9]) == noted then
    local span = {string.match(noted, '(%d+)|(%d+)|(%d+)')}
    if ms - span[3] <= stall then begin, finish = tonumber(span[1]), tonumber(span[2]) end
  end
  if not begin and proved ~= '' then
    begin, finish = ms, ms
    local cover = redis.call('HGETALL', KEYS[4])
    for i = 1, #cover, 2 do
      if tonumber(string.match(cover[i + 1], '%d+$')) < ms - ttl - grace then redis.call('HDEL', KEYS[4], cover[i]) end
    end
  end
  if begin then
    if proved ~= '' then finish = math.max(finish, math.min(tonumber(proved), ms)) end
    value = string.format('%.0f|%.0f|%.0f', begin, finish, ms)
    for i = 9, 8 + topics do redis.call('HSET', KEYS[4], worker .. '|' .. ARGV[i], value) end
  end
end
for i = 9 + topics, #ARGV, 4 do
  if redis.call('ZADD', KEYS[2], 'NX', ms, ARGV[i]) == 1 then
    redis.call('XADD', KEYS[1], 'MAXLEN', size, '*', 'i', ARGV[i], 'e', ARGV[i + 3])
    redis.call('HSET', KEYS[3], ARGV[i + 1], ARGV[i] .. '|' .. ARGV[i + 2])
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ms - ttl)
-- Eight for each message kept, because another worker may lag behind.
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - size * 8)
for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], ttl + grace) end
return value
"""


def keys_of(prefix: str, channel: str) -> list[str]:
    """The names of the four keys."""
    # The braces keep the keys of a channel on one node of a cluster.
    base = f"{prefix}{{{channel}}}:"
    return [base + "stream", base + "ids", base + "last", base + "cover"]


def encode_envelope(envelope: Envelope) -> bytes:
    if envelope.stream is not None:
        envelope = msgspec.structs.replace(envelope, stream=None)
    return msgspec.json.encode(envelope)


def decode_envelope(text: bytes) -> Envelope:
    return msgspec.json.decode(text, type=Envelope)


def remembered(channel: str, lasts: Mapping[bytes, bytes]) -> dict[str, Envelope]:
    """The last message of each topic, as far as it can be recognised again."""
    result: dict[str, Envelope] = {}
    for topic, value in lasts.items():
        identity, _, created_at = value.decode().partition("|")
        name = topic.decode()
        result[name] = Envelope(
            "data", channel=channel, topic=name, created_at=created_at or None, known_identity=identity
        )
    return result


def spans(covers: Mapping[bytes, bytes]) -> dict[str, dict[str, Span]]:
    """The spans by topic and worker."""
    result: dict[str, dict[str, Span]] = {}
    for field, value in covers.items():
        worker, _, topic = field.decode().partition("|")
        result.setdefault(topic, {})[worker] = Span.parse(value.decode())
    return result
