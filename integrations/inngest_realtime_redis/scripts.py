"""How a channel is kept in Redis: its keys, and the scripts that write and read them.

Under `<prefix><namespace>:{<channel>}:`, which is one hash tag, and so one node of a cluster:

- `order`: a sorted set of identities, in the order of recording, or of receipt where that was another one;
- `data`: a hash of identities to messages, each with its number, that of the one before it in its topic, and when it
  was recorded, in the units of numbers; the number of what was received without being recorded is 0;
- `seen`: a sorted set of identities by time, which remembers longer what is in the log or was in it;
- `state`: a hash of the number given last, to the channel and to each topic, how many messages there are, their bytes,
  when it was created and in which run of Redis, and the number of the last message that is not kept any more; and, once
  something came that was not published with a record, until when the channel is mixed. It lives for an hour, and for
  the 24 h that it is mixed; workers that follow the channel renew it. Where the others do not have as many messages as
  it says, they have expired or were evicted.

A number is the time in units of 10 us, increased where that is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec

from inngest_realtime_core._api.claims import TokenClaims
from inngest_realtime_core._replay.event_ids import Cursor
from inngest_realtime_core._replay.log import Kept, Numbered
from inngest_realtime_core._replay.numbers import TICKS, Clock
from inngest_realtime_core._upstream.protocol import is_decodable
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_core.settings import Settings

__all__ = [
    "LOAD",
    "MARK",
    "PUBLISH",
    "RECEIVE",
    "WITHDRAW",
    "decode_envelope",
    "encode_envelope",
    "keys_of",
    "namespace_of",
    "needed_by",
    "read_kept",
    "receipts",
]

# KEYS: order, data, seen, state. ARGV begins with the limits: size, bytes, age in milliseconds.
_BEGIN: Final = """
local order, data, seen, state = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local size, most, age = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 100000 + math.floor(time[2] / 10)
local found = redis.call('HMGET', state, 'created', 'count', 'last', 'mixed')
local created, mixed = tonumber(found[1]), (tonumber(found[4]) or 0) > now
local function run()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and info:match('run_id:(%x+)') or ''
end
if not created then
  -- Less than all numbers, the first of which may be given now.
  created = now - 1
  redis.call('HSET', state, 'run', run())
end
-- Written each time: where nothing can be recorded, what was recorded before is not all, and is not to be read.
redis.call('HSET', state, 'created', created)
local count = tonumber(found[2]) or 0
if redis.call('ZCARD', order) ~= count or redis.call('HLEN', data) ~= count then
  redis.call('DEL', order, data)
  redis.call('HSET', state, 'count', 0, 'bytes', 0, 'since', found[3] or created)
end
local function mix()
  mixed = true
  redis.call('HSET', state, 'mixed', now + 86400 * 100000)
end
local function number()
  local given = math.max(now, (tonumber(redis.call('HGET', state, 'last')) or 0) + 1)
  redis.call('HSET', state, 'last', given)
  return given
end
local function add(id, rank, given, previous, text)
  local value = string.format('%.0f %.0f %.0f %s', given, previous, now, text)
  redis.call('ZADD', order, rank, id)
  redis.call('ZADD', seen, now, id)
  redis.call('HINCRBY', state, 'count', redis.call('HSET', data, id, value))
  redis.call('HINCRBY', state, 'bytes', #value)
end
local function numbers(id)
  local given, previous = (redis.call('HGET', data, id) or ''):match('^(%d+) (%d+) ')
  return tonumber(given or 0), tonumber(previous or 0)
end
local function remove(id)
  redis.call('HINCRBY', state, 'bytes', 0 - redis.call('HSTRLEN', data, id))
  redis.call('HINCRBY', state, 'count', 0 - redis.call('HDEL', data, id))
  redis.call('ZREM', order, id)
end
-- The second one is greater than all numbers given before, and less than those given afterwards.
local function standing()
  return {created, math.max(tonumber(redis.call('HGET', state, 'last')) or created, now - 1), now}
end
local function finish()
  local evicted = tonumber(redis.call('HGET', state, 'since')) or 0
  while true do
    local id = redis.call('ZRANGE', order, 0, 0)[1]
    if not id then break end
    local at = tonumber(redis.call('ZSCORE', seen, id) or 0)
    local bytes = tonumber(redis.call('HGET', state, 'bytes'))
    if redis.call('ZCARD', order) <= size and bytes <= most and at >= now - age * 100 then break end
    evicted = math.max(numbers(id), evicted)
    redis.call('HSET', state, 'since', evicted)
    remove(id)
  end
  redis.call('ZREMRANGEBYSCORE', seen, '-inf', now - (age + 10000) * 100)
  -- Eight for each message kept, because another worker may lag behind.
  redis.call('ZREMRANGEBYRANK', seen, 0, -1 - size * 8)
  for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], age + 10000) end
  redis.call('PEXPIRE', state, math.max(mixed and 86400000 or 3600000, age + 10000))
end
"""

# A Redis that was started anew with what it had saved, or a replica that has taken the place of its primary, may have
# less than was recorded, and does not know: it begins with nothing.
_CHECK_RUN: Final = """
if redis.call('HGET', state, 'run') ~= run() then
  redis.call('DEL', order, data, state)
  created = math.max(now - 1, tonumber(found[3]) or 0)
  redis.call('HSET', state, 'created', created, 'last', created, 'count', 0, 'bytes', 0, 'run', run())
  if mixed then mix() end
end
"""

# ARGV[4]: the identity; ARGV[5]: the topic; ARGV[6]: the message; ARGV[7]: until when it may be recorded: it is sent
# without a number afterwards. Returns the time, after what `Envelope.sequence` is where it was recorded.
PUBLISH: Final = (
    _BEGIN
    + """
local topic = 't:' .. ARGV[5]
local given, previous = numbers(ARGV[4])
if given == 0 then
  -- What was received without a number has none for anybody.
  if redis.call('HEXISTS', data, ARGV[4]) == 1 then return nil end
  if now > tonumber(ARGV[7]) then return {now} end
  previous = tonumber(redis.call('HGET', state, topic)) or created
  given = number()
  redis.call('HSET', state, topic, given)
  add(ARGV[4], given, given, previous, ARGV[6])
end
finish()
return {given, previous, created, now}
"""
)

# ARGV[4]: the identity; ARGV[5]: the topic.
WITHDRAW: Final = (
    _BEGIN
    + """
local given, previous = numbers(ARGV[4])
remove(ARGV[4])
redis.call('ZREM', seen, ARGV[4])
local topic = 't:' .. ARGV[5]
if given > 0 and tonumber(redis.call('HGET', state, topic)) == given then
  redis.call('HSET', state, topic, previous)
end
return 1
"""
)

# ARGV from 4 on, for each message: its identity, that of the one received before it in its topic, and the message.
RECEIVE: Final = (
    _BEGIN
    + """
for i = 4, #ARGV, 3 do
  local id, before = ARGV[i], ARGV[i + 1]
  local at, last = redis.call('ZSCORE', order, id), redis.call('ZSCORE', order, before)
  if not redis.call('ZSCORE', seen, id) then
    -- Nobody recorded that it is published: somebody else publishes to the channel, too.
    mix()
    add(id, number(), 0, 0, ARGV[i + 2])
    at = last and 0
  end
  if at and last and tonumber(at) < tonumber(last) then
    local following = redis.call('ZRANGEBYSCORE', order, '(' .. last, '+inf', 'WITHSCORES', 'LIMIT', 0, 2)
    local rank = following[2]
    if following[1] == id then rank = following[4] end
    redis.call('ZADD', order, string.format('%.17g', (last + math.min(rank or last + 2, last + 2)) / 2), id)
  end
end
finish()
return standing()
"""
)

# Called when the channel is followed, too: from then on nothing is missing.
MARK: Final = (
    _BEGIN
    + _CHECK_RUN
    + """
if ARGV[4] == 'mixed' then mix() end
finish()
return standing()
"""
)

# ARGV[4]: the identity of a message without which nothing is to be read, or an empty text. The rest, in pairs: topics,
# and a number after which all of a topic has to be there, else nothing is read.
LOAD: Final = (
    _BEGIN
    + _CHECK_RUN
    + """
if ARGV[4] ~= '' and not redis.call('ZSCORE', order, ARGV[4]) then return nil end
finish()
local since = tonumber(redis.call('HGET', state, 'since')) or 0
for i = 5, #ARGV, 2 do
  local last = tonumber(redis.call('HGET', state, 't:' .. ARGV[i])) or created
  if tonumber(ARGV[i + 1]) < math.min(last, math.max(since, created)) then return nil end
end
local messages = {}
for _, id in ipairs(redis.call('ZRANGE', order, 0, -1)) do messages[#messages + 1] = redis.call('HGET', data, id) end
return {now, since, created, mixed and 1 or 0, redis.call('HGETALL', state), messages}
"""
)


def keys_of(prefix: str, channel: str) -> list[str]:
    """The names of a channel's keys."""
    # An empty hash tag is none: `{}...}` would be spread over the nodes.
    tag = f"%{channel}" if channel[:1] in ("}", "%") else channel
    base = f"{prefix}{{{tag}}}:"
    return [base + name for name in ("order", "data", "seen", "state")]


def namespace_of(settings: Settings, claims: TokenClaims) -> str:
    """Tells one Inngest, environment and account from the others."""
    parts = settings.api_base_url, claims.env_id or settings.env or "", claims.account_id or ""
    return blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def needed_by(cursor: Cursor | None, topics: Collection[str]) -> list[str | int]:
    """The arguments of LOAD: what has to be kept for who comes back with a cursor to these topics."""
    if cursor is None:
        return [""]
    needed: list[str | int] = [cursor.names[0][2:] if cursor.names else ""]
    for topic in topics:
        numbers = cursor.numbers_of(topic)
        needed += (topic, numbers.low) if numbers.counted else ()
    return needed


def receipts(batch: Iterable[tuple[Envelope, Envelope | None]]) -> list[str | bytes]:
    """The arguments of RECEIVE: messages, each with the one received before it in its topic."""
    arguments: list[str | bytes] = []
    for envelope, before in batch:
        arguments += [envelope.identity, "" if before is None else before.identity, encode_envelope(envelope)]
    return arguments


def encode_envelope(envelope: Envelope) -> bytes:
    return msgspec.json.encode(envelope if envelope.weight is None else msgspec.structs.replace(envelope, weight=None))


def decode_envelope(text: bytes) -> Envelope:
    envelope = msgspec.json.decode(text, type=Envelope)
    envelope.weigh(len(text))
    return envelope


def read_kept(channel: str, reply: Sequence[Any], clock: Clock, *, whole: bool) -> Kept:
    """What the script has found; raises whatever is wrong with it."""
    _, since, created, is_mixed, state, texts = reply
    messages: list[tuple[float, Envelope]] = []
    numbers: dict[str, tuple[int, int]] = {}
    for text in texts:
        if text is not None:
            number, previous, at, content = text.split(b" ", 3)
            envelope = decode_envelope(content)
            if envelope.channel != channel or not is_decodable(envelope):
                raise ValueError("a message of another channel, or one that no reader could decode")
            messages.append(((int(number) or int(at)) / TICKS - clock.ahead, envelope))
            if int(number):
                numbers[envelope.identity] = int(number), int(previous)
    fields = {name: int(value) for name, value in zip(state[::2], state[1::2], strict=True) if name != b"run"}
    last = {name[2:].decode(): number for name, number in fields.items() if name.startswith(b"t:")}
    # Nothing was published, or received, before it was created.
    kept_since = max(since, created) / TICKS - clock.ahead
    return Kept(
        messages,
        whole and not is_mixed,
        kept_since,
        clock,
        Numbered(created, since, fields.get(b"last") or created, numbers, last),
    )
