"""PROTOCOL.md section 4: frames from client to server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inngest_realtime_devserver.server import DevServer

from .client import Client, confirm, end_of, fresh, receive, receive_data

ENVIRONMENT = "00000000-0000-4000-b000-000000000000"


def sub(token: str) -> str:
    return json.dumps({"kind": "sub", "data": token})


def unsub(*topics: tuple[str, str], **changes: Any) -> str:
    entries = [{"kind": "run", "channel": c, "name": n, "env_id": ENVIRONMENT} | changes for c, n in topics]
    return json.dumps({"kind": "unsub", "data": entries})


async def test_sub_adds_topics_and_many_channels_share_one_socket(client: Client, channel: str) -> None:
    other = fresh("other")
    async with client.listen((channel, "t")) as connection:
        await connection.send(sub(await client.token((other, "a"), (other, "b"))))
        await confirm(connection)
        for name, topic, n in ((channel, "t", 1), (other, "a", 2), (other, "b", 3)):
            await client.publish(name, topic, str(n))
            assert await receive_data(connection) == n


async def test_a_pong_after_a_sub_proves_it_too(channel: str) -> None:
    async with DevServer(registration_delay=0.1) as server:
        client = Client(server)
        async with client.http, client.connect(await client.token()) as connection:
            await connection.send(sub(await client.token((channel, "t"))))
            await client.publish(channel, "t", '"lost"')
            await confirm(connection)
            assert server.stats().subscriptions == 1
            await client.publish(channel, "t", '"delivered"')
            assert await receive_data(connection) == "delivered"


async def test_a_connection_may_start_with_a_token_of_no_topics(client: Client, channel: str) -> None:
    async with client.listen() as connection:
        assert client.server.stats().subscriptions == 0
        await connection.send(sub(await client.token((channel, "t"))))
        await confirm(connection)
        await client.publish(channel, "t", "1")
        assert await receive_data(connection) == 1


async def test_a_duplicate_sub_delivers_once(client: Client, channel: str) -> None:
    token = await client.token((channel, "t"))
    async with client.listen((channel, "t")) as connection:
        await connection.send(sub(token))
        await connection.send(sub(token))
        await confirm(connection)
        await client.publish(channel, "t", "1")
        await client.publish(channel, "t", "2")
        assert [await receive_data(connection), await receive_data(connection)] == [1, 2]


@pytest.mark.parametrize(
    "frame",
    [
        sub("nonsense"),
        '{"kind":"sub","data":["x"]}',
        '{"kind":"sub"}',
        '{"kind":"event","data":{}}',
        '{"kind":7}',
        "[]",
        "not JSON",
        "",
        '{"kind":"unsub","data":"x"}',
        b"\x00binary",
        '{"kind":"unsub","data":null,"created_at":"yesterday"}',
    ],
)
async def test_a_bad_token_and_anything_else_is_silently_ignored(
    client: Client, channel: str, frame: str | bytes
) -> None:
    async with client.listen((channel, "t")) as connection:
        await connection.send(frame)
        await confirm(connection)
        await client.publish(channel, "t", "1")
        assert await receive_data(connection) == 1


async def test_unsub_takes_topics_away(client: Client, channel: str) -> None:
    async with client.listen((channel, "a"), (channel, "b")) as connection:
        await connection.send(unsub((channel, "a")))
        await confirm(connection)
        await client.publish(channel, "a", "1")
        await client.publish(channel, "b", "2")
        assert await receive_data(connection) == 2
        await connection.send(sub(await client.token((channel, "a"))))
        await confirm(connection)
        await client.publish(channel, "a", "3")
        assert await receive_data(connection) == 3


@pytest.mark.parametrize("changes", [{"created_at": "yesterday"}, {"run_id": "nonsense"}, {"created_at": 7}])
async def test_sub_with_a_bad_time_or_run_is_ignored(client: Client, channel: str, changes: dict[str, Any]) -> None:
    async with client.listen((channel, "a")) as connection:
        frame = {"kind": "sub", "data": await client.token((channel, "b"))}
        await connection.send(json.dumps(frame | changes))
        await confirm(connection)
        await client.publish(channel, "b", "1")
        await connection.send(json.dumps({"KIND": "sub", "Data": frame["data"], "created_at": "2026-11-24T13:20:17Z"}))
        await confirm(connection)
        await client.publish(channel, "b", "2")
        assert await receive_data(connection) == 2


async def test_unsub_takes_an_environment_in_upper_case_and_keys_in_any(client: Client, channel: str) -> None:
    async with client.listen((channel, "a"), (channel, "b")) as connection:
        entry = {"KIND": "run", "Channel": channel, "name": "a", "env_id": ENVIRONMENT.upper()}
        await connection.send(json.dumps({"kind": "unsub", "data": [entry]}))
        await confirm(connection)
        await client.publish(channel, "a", "1")
        await client.publish(channel, "b", "2")
        assert await receive_data(connection) == 2


@pytest.mark.parametrize(
    "changes", [{"kind": "event"}, {"kind": ""}, {"env_id": ""}, {"env_id": None}, {"env_id": "x"}, {"name": "b"}]
)
async def test_unsub_in_any_other_form_is_silently_ignored(
    client: Client, channel: str, changes: dict[str, Any]
) -> None:
    async with client.listen((channel, "a")) as connection:
        await connection.send(unsub((channel, "a"), **changes))
        await connection.send(json.dumps({"kind": "unsub", "data": {"channel": channel, "name": "a"}}))
        await confirm(connection)
        await client.publish(channel, "a", "1")
        assert await receive_data(connection) == 1


async def test_a_message_of_32768_bytes_is_read_and_a_larger_one_closes_with_1009(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as connection:
        await connection.send("x" * 32_768)
        await confirm(connection)
        await client.publish(channel, "t", "1")
        assert await receive_data(connection) == 1
        await connection.send("x" * 32_769)
        assert await end_of(connection) == 1009
    await client.server.until(lambda stats: stats.open_connections == 0 and stats.subscriptions == 0)


async def test_a_message_in_fragments_counts_as_a_whole(client: Client) -> None:
    async with client.listen() as connection:
        await connection.send(["x" * 16_384, "é" * 8_192])
        await confirm(connection)
        await connection.send(["x" * 16_384, "é" * 8_193])
        assert await end_of(connection) == 1009


async def test_25_subs_of_200_topics_work_on_one_connection(client: Client, channel: str) -> None:
    async with client.listen() as connection:
        for batch in range(25):
            frame = sub(await client.token(*((channel, f"t{batch * 200 + n}") for n in range(200))))
            assert len(frame) <= 32_768
            await connection.send(frame)
        await confirm(connection)
        assert client.server.stats().subscriptions == 5_000
        for n in (0, 2_500, 4_999):
            await client.publish(channel, f"t{n}", str(n))
            assert await receive_data(connection) == n


async def test_closing_is_answered_and_forgets_the_connection(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as connection:
        await connection.close(1000, "done")
        assert await end_of(connection) == 1000
    stats = await client.server.until(lambda stats: stats.open_connections == 0)
    assert stats.subscriptions == 0
    assert (await client.publish(channel, "t", "1")).status_code == 200


async def test_messages_are_not_echoed(client: Client, channel: str) -> None:
    async with client.listen((channel, "t")) as connection:
        await connection.send(json.dumps({"kind": "data", "data": 1, "channel": channel, "topic": "t"}))
        await confirm(connection)
        await client.publish(channel, "t", "2")
        assert json.loads(await receive(connection))["data"] == 2
