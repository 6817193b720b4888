"""PROTOCOL.md section 6: POST publish, and what arrives (section 3)."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from inngest_realtime_devserver.server import DevServer

from .client import Client, receive, receive_data

ENVIRONMENT = "00000000-0000-4000-b000-000000000000"
ULID = "01JABCDEFGHJKMNPQRSTVWXYZ0"


async def test_200_with_an_empty_body_and_the_frame(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as connection:
        response = await client.publish(channel, "t", '{"x": 1}', run_id=ULID, metadata='{ "k": "v" }')
        assert (response.status_code, response.content) == (200, b"")
        frame = await receive(connection)
    created_at = json.loads(frame)["created_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z", created_at)
    assert frame == (
        f'{{"kind":"data","data":{{"x":1}},"metadata":{{"k":"v"}},"created_at":"{created_at}","channel":"{channel}",'
        f'"env_id":"{ENVIRONMENT}","topic":"t","run_id":"{ULID}"}}'
    )


@pytest.mark.parametrize(
    ("body", "data"),
    [
        ("2.50", "2.50"),
        ("1e400", "1e400"),
        ("12345678901234567890", "12345678901234567890"),
        ("null", "null"),
        ("true", "true"),
        (' [ 1 , "a b" ] ', '[1,"a b"]'),
        ('"<b>&\u2028\u2029"', '"\\u003cb\\u003e\\u0026\\u2028\\u2029"'),
        ('"\\u00dc\\/"', '"\\u00dc\\/"'),
        ("plain text", '"plain text"'),
        ('say "hi"\n\\', '"say \\"hi\\"\\n\\\\"'),
        ("{broken", '"{broken"'),
        ("NaN", '"NaN"'),
        ("", '""'),
    ],
)
@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain"])
async def test_json_is_passed_on_and_all_else_becomes_a_string(
    client: Client, channel: str, body: str, data: str, content_type: str | None
) -> None:
    async with client.listen((channel, "t")) as connection:
        await client.publish(channel, "t", body.encode(), content_type=content_type)
        frame = await receive(connection)
    assert frame.startswith(f'{{"kind":"data","data":{data},"created_at":"')


async def test_identical_messages_differ_in_their_time(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as connection:
        for _ in range(200):
            await client.server.publish(channel, "t", "same")
        frames = [await receive(connection) for _ in range(200)]
    assert len(set(frames)) == 200


async def test_exactly_512_kib_is_passed_on(client: Client, channel: str) -> None:
    body = json.dumps("x" * (524_288 - 2))
    async with client.listen((channel, "t")) as connection:
        await client.publish(channel, "t", body)
        assert await receive_data(connection) == json.loads(body)


async def test_more_than_512_kib_is_silently_cut_and_delivered_as_a_string(client: Client, channel: str) -> None:
    body = json.dumps({"x": "x" * 600_000})
    async with client.listen((channel, "t")) as connection:
        assert (await client.publish(channel, "t", body)).status_code == 200
        assert await receive_data(connection) == body[:524_288]
        assert (await client.publish(channel, "t", "1")).status_code == 200
        assert await receive_data(connection) == 1


async def test_512_kib_of_less_than_signs_is_a_frame_of_three_megabytes(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as connection:
        await client.publish(channel, "t", "<" * 524_288)
        frame = await receive(connection)
        assert len(frame) > 6 * 524_288
        assert json.loads(frame)["data"] == "<" * 524_288


async def test_a_message_with_metadata_that_is_not_json_is_lost(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as connection:
        assert (await client.publish(channel, "t", "1", metadata="{nonsense")).status_code == 200
        await client.publish(channel, "t", "2")
        assert await receive_data(connection) == 2


@pytest.mark.parametrize("run_id", ["nonsense", "81JABCDEFGHJKMNPQRSTVWXYZ0", "0" * 26, ""])
async def test_a_bad_run_id_is_dropped(client: Client, channel: str, run_id: str) -> None:
    async with client.listen((channel, "t")) as connection:
        await client.publish(channel, "t", "1", run_id=run_id)
        assert "run_id" not in json.loads(await receive(connection))


async def test_only_the_first_of_several_topics_counts(client: Client, channel: str) -> None:
    async with client.listen((channel, "first"), (channel, "second")) as connection:
        await client.http.post("/publish", params=[("channel", channel), ("topic", "first"), ("topic", "second")])
        await client.publish(channel, "second", '"sentinel"')
        frames = [json.loads(await receive(connection)) for _ in range(2)]
    assert [(frame["topic"], frame["data"]) for frame in frames] == [("first", ""), ("second", "sentinel")]


async def test_an_empty_channel_or_topic_is_accepted(client: Client, channel: str) -> None:
    async with client.listen(("", "t"), (channel, "")) as connection:
        assert (await client.publish("", "t", "1")).status_code == 200
        assert "channel" not in json.loads(await receive(connection))
        assert (await client.http.post("/publish", params={"channel": channel}, content="2")).status_code == 200
        assert json.loads(await receive(connection))["topic"] == ""


async def test_a_subscription_token_may_not_publish(client: Client, channel: str) -> None:
    headers = {"authorization": f"Bearer {await client.token((channel, 't'))}"}
    for path in ("/publish", "/publish/tee"):
        response = await client.http.post(path, params={"channel": channel, "topic": "t"}, headers=headers)
        assert response.status_code == 401


async def test_a_message_reaches_its_topic_of_its_channel_only(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as connection:
        await client.publish(channel, "other", "1")
        await client.publish(f"{channel}:other", "t", "2")
        await client.publish(channel, "t", "3")
        assert await receive_data(connection) == 3


async def test_order_is_kept_per_topic(client: Client, channel: str) -> None:
    async with client.listen((channel, "a"), (channel, "b")) as connection:
        for n in range(300):
            await client.server.publish(channel, "ab"[n % 2], n)
        frames = [json.loads(await receive(connection)) for _ in range(300)]
    for topic, first in (("a", 0), ("b", 1)):
        assert [frame["data"] for frame in frames if frame["topic"] == topic] == list(range(first, 300, 2))


async def test_there_is_no_replay(client: Client, channel: str) -> None:
    await client.publish(channel, "t", "1")
    async with client.listen((channel, "t")) as connection:
        await client.publish(channel, "t", "2")
        assert await receive_data(connection) == 2


async def test_a_publisher_that_goes_away_publishes_nothing(client: Client, channel: str) -> None:
    server = client.server
    async with client.listen((channel, "t")) as connection:
        _, writer = await asyncio.open_connection(server.host, server.port)
        head = f"POST /v1/realtime/publish?channel={channel}&topic=t HTTP/1.1\r\nHost: localhost\r\n"
        writer.write(f"{head}Content-Length: 99\r\n\r\nhalf a body".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await client.publish(channel, "t", "2")
        assert await receive_data(connection) == 2


async def test_a_fan_out_to_many_connections(server: DevServer, client: Client, channel: str) -> None:
    async with (
        client.listen((channel, "t")) as a,
        client.listen((channel, "t")) as b,
        client.listen((channel, "t")) as c,
    ):
        for n in range(100):
            await server.publish(channel, "t", n)
        for connection in (a, b, c):
            assert [await receive_data(connection) for _ in range(100)] == list(range(100))
