"""How a channel is kept in Redis: its keys, and the scripts that write and read them.

Under `<prefix><namespace>:{<channel>}:`, which is one hash tag, and so one node of a cluster:

- `order`: a sorted set of identities, in the order in which it became known that they are on their way to subscribers,
  or of receipt where that was another one; at the end those of which that is not known;
- `taken`: a sorted set of the same, by when that became known; below 0 where somebody has received it;
- `data`: a hash of identities to messages;
- `seen`: a sorted set of identities by time, which remembers longer what is in the log or was in it;
- `state`: a hash of the last number given, the bytes of all messages, and since when nothing is missing; it lives for
  an hour, and workers that follow the channel renew it;
- `mixed`: is there for 24 h after something came that was not published with a record.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from inngest_realtime_core._replay.log import Kept, arrange
from inngest_realtime_core._upstream.protocol import is_decodable
from inngest_realtime_core.messages.envelope import Envelope

__all__ = [
    "LOAD",
    "MARK",
    "PUBLISH",
    "RECEIVE",
    "SENT",
    "WITHDRAW",
    "decode_envelope",
    "encode_envelope",
    "keys_of",
    "read_kept",
]

# KEYS: order, data, seen, state, mixed, taken. ARGV begins with the limits: size, bytes, age in milliseconds.
_BEGIN: Final = """
local order, data, seen, state, mixed, taken = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local size, most, age = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function add(id, text)
  redis.call('ZADD', order, 2 ^ 52 + redis.call('HINCRBY', state, 'last', 1), id)
  redis.call('ZADD', taken, 'inf', id)
  redis.call('ZADD', seen, now, id)
  redis.call('HSET', data, id, text)
  redis.call('HINCRBY', state, 'bytes', #text)
end
local function remove(id)
  redis.call('HINCRBY', state, 'bytes', -redis.call('HSTRLEN', data, id))
  redis.call('HDEL', data, id)
  redis.call('ZREM', order, id)
  redis.call('ZREM', taken, id)
end
local function sent(id)
  if redis.call('ZSCORE', taken, id) == 'inf' then
    redis.call('ZADD', taken, now, id)
    redis.call('ZADD', order, redis.call('HINCRBY', state, 'last', 1), id)
  end
end
local function finish()
  redis.call('HSETNX', state, 'since', now)
  while true do
    local id = redis.call('ZRANGE', order, 0, 0)[1]
    if not id then break end
    local at = tonumber(redis.call('ZSCORE', seen, id) or 0)
    local bytes = tonumber(redis.call('HGET', state, 'bytes'))
    if redis.call('ZCARD', order) <= size and bytes <= most and at >= now - age then break end
    remove(id)
    redis.call('HSET', state, 'since', math.max(at, tonumber(redis.call('HGET', state, 'since'))))
  end
  redis.call('ZREMRANGEBYSCORE', seen, '-inf', now - age - 10000)
  -- Eight for each message kept, because another worker may lag behind.
  redis.call('ZREMRANGEBYRANK', seen, 0, -1 - size * 8)
  for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], age + 10000) end
  redis.call('PEXPIRE', taken, age + 10000)
  redis.call('EXPIRE', state, 3600)
end
"""

# ARGV[4]: the identity; ARGV[5]: the message; the rest: what Inngest has taken before.
PUBLISH: Final = (
    _BEGIN
    + """
for i = 6, #ARGV do sent(ARGV[i]) end
if not redis.call('ZSCORE', seen, ARGV[4]) then add(ARGV[4], ARGV[5]) end
finish()
return 1
"""
)

WITHDRAW: Final = (
    _BEGIN
    + """
if redis.call('ZSCORE', order, ARGV[4]) then remove(ARGV[4]) end
redis.call('ZREM', seen, ARGV[4])
return 1
"""
)

# ARGV from 4 on: the identities of messages that Inngest has taken.
SENT: Final = (
    _BEGIN
    + """
for i = 4, #ARGV do sent(ARGV[i]) end
finish()
return 1
"""
)

# ARGV from 4 on, for each message: its identity, that of the one received before it in its topic, and the message.
RECEIVE: Final = (
    _BEGIN
    + """
for i = 4, #ARGV, 3 do
  local id, before = ARGV[i], ARGV[i + 1]
  if not redis.call('ZSCORE', seen, id) then
    -- Nobody recorded that it is published: somebody else publishes to the channel, too.
    redis.call('SET', mixed, '1', 'PX', 86400000)
    add(id, ARGV[i + 2])
  end
  sent(id)
  local out = tonumber(redis.call('ZSCORE', taken, id) or 0)
  if out > 0 then redis.call('ZADD', taken, -out, id) end
  local at, last = redis.call('ZSCORE', order, id), redis.call('ZSCORE', order, before)
  if at and last and tonumber(at) < tonumber(last) then
    local following = redis.call('ZRANGEBYSCORE', order, '(' .. last, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
    redis.call('ZADD', order, string.format('%.17g', (last + math.min(following or 2 ^ 52, last + 2)) / 2), id)
  end
end
finish()
return now
"""
)

# Called when the channel is followed, too: from then on nothing is missing.
MARK: Final = (
    _BEGIN
    + """
if ARGV[4] == 'mixed' then redis.call('SET', mixed, '1', 'PX', 86400000) end
finish()
return now
"""
)

# ARGV[4]: the identity of a message without which nothing is to be read, or an empty text.
LOAD: Final = (
    _BEGIN
    + """
if ARGV[4] ~= '' and not redis.call('ZSCORE', order, ARGV[4]) then return nil end
finish()
local result = {now, tonumber(redis.call('HGET', state, 'since')), redis.call('EXISTS', mixed)}
for _, id in ipairs(redis.call('ZRANGE', order, 0, -1)) do
  result[#result + 1] = redis.call('ZSCORE', seen, id) or now
  result[#result + 1] = redis.call('ZSCORE', taken, id) or -now
  result[#result + 1] = redis.call('HGET', data, id)
end
return result
"""
)


def keys_of(prefix: str, channel: str) -> list[str]:
    """The names of a channel's keys."""
    # An empty hash tag is none: `{}...}` would be spread over the nodes.
    tag = f"%{channel}" if channel[:1] in ("}", "%") else channel
    base = f"{prefix}{{{tag}}}:"
    return [base + name for name in ("order", "data", "seen", "state", "mixed", "taken")]


def encode_envelope(envelope: Envelope) -> bytes:
    return msgspec.json.encode(envelope)


def decode_envelope(text: bytes) -> Envelope:
    return msgspec.json.decode(text, type=Envelope)


def read_kept(channel: str, answer: Sequence[Any], *, whole: bool) -> Kept:
    """What the script has found; raises whatever is wrong with it."""
    now, since, is_mixed, *rest = answer
    clock = float(now) / 1000 - time.monotonic()
    published: list[tuple[float, float, bool, Envelope]] = []
    for at, taken, text in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        if text is not None:
            envelope = decode_envelope(text)
            if envelope.channel != channel or not is_decodable(envelope):
                raise ValueError("a message of another channel, or one that no reader could decode")
            published.append((float(at) / 1000 - clock, abs(float(taken)) / 1000 - clock, float(taken) < 0, envelope))
    kept, pending, taken = arrange(published, float(now) / 1000 - clock)
    return Kept(kept, whole and not is_mixed, float(since) / 1000 - clock, clock, pending, taken)
