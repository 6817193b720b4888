// Widely used readers of event streams against an adapter of ours: nothing is raised, and nothing of kind data is missed.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { test } from "node:test";

import { clients, parseOnly } from "./clients.mjs";

const { APP_URL, INNGEST_URL } = process.env;
const SENT = [1, 2, 3, 4, 5];
const seconds = (count) => new Promise((resolve) => setTimeout(resolve, count * 1_000));

async function publish(runId, data) {
  const query = new URLSearchParams({ channel: `pipeline:${runId}`, topic: "tokens" });
  const answer = await fetch(`${INNGEST_URL}/v1/realtime/publish?${query}`, { method: "POST", body: JSON.stringify(data) });
  assert.equal(answer.status, 200);
}

/** A proxy to the adapter whose first connection is cut after so many bytes of the answer. */
async function cutting(bytes) {
  const { hostname, port } = new URL(APP_URL);
  let left = bytes;
  let cuts = 0;
  const server = createServer((socket) => {
    const budget = left;
    left = Infinity;
    let passed = 0;
    const upstream = connect(Number(port), hostname);
    const end = () => (socket.destroy(), upstream.destroy());
    socket.on("data", (data) => upstream.write(data)).on("error", end).on("close", end);
    upstream.on("error", end).on("close", end).on("data", (data) => {
      passed += data.length;
      if (passed < budget) return socket.write(data);
      cuts++;
      upstream.destroy();
      socket.write(data.subarray(0, data.length - (passed - budget)), () => setTimeout(() => socket.resetAndDestroy(), 5));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close(), cuts: () => cuts };
}

/** Reads a new run until all that was published has come; returns the numbers in the order they came in. */
async function follow(client, cut) {
  const runId = randomUUID();
  const proxy = await cutting(cut);
  const got = [];
  let close;
  try {
    await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`only ${got} came, cut at ${cut}`)), 20_000);
      let started = false;
      const onEvent = (data) => {
        try {
          const message = JSON.parse(data);
          assert.notEqual(message.kind, "gap", `a gap, cut at ${cut}`);
          if (message.kind === "ready" && !started) {
            started = true;
            (async () => { for (const number of SENT) await publish(runId, number); })().catch(reject);
          }
          if (message.kind === "data") got.push(message.data);
          if (got.length >= SENT.length) (clearTimeout(late), resolve());
        } catch (error) {
          reject(error);
        }
      };
      close = clients[client](`${proxy.url}/api/realtime/pipeline/stream?runId=${runId}`, { onEvent, onError: reject });
    });
  } finally {
    close?.();
    proxy.close();
  }
  return [got, proxy.cuts()];
}

for (const client of Object.keys(clients)) {
  test(`${client} misses nothing, cut anywhere`, async () => {
    const cuts = Array.from({ length: 24 }, (_, index) => 40 + index * 83);
    const results = await Promise.all(cuts.map((cut) => follow(client, cut)));
    for (const [got] of results) assert.deepEqual(got, SENT);
    assert.ok(results.filter(([, count]) => count > 0).length > 12, "hardly any was cut");
  });

  test(`${client} is not troubled by heartbeats`, async () => {
    const got = [];
    await new Promise((resolve, reject) => {
      const close = clients[client](`${APP_URL}/api/realtime/news/stream`, {
        onEvent: (data) => got.push(JSON.parse(data).kind),
        onError: reject,
      });
      seconds(0.8).then(close).then(resolve);
    });
    assert.deepEqual(got, ["ready"]);
  });
}

test("eventsource-parser hands on nothing but JSON with a kind", async () => {
  const got = [];
  const abort = new AbortController();
  const runId = randomUUID();
  const done = parseOnly(`${APP_URL}/api/realtime/pipeline/stream?runId=${runId}`, {
    signal: abort.signal,
    onEvent(data) {
      const { kind, data: value } = JSON.parse(data);
      got.push(kind === "data" ? value : kind);
      if (kind === "ready") setTimeout(() => publish(runId, 1), 700); // after a heartbeat
      if (kind === "data") abort.abort();
    },
  });
  await assert.rejects(done, { name: "AbortError" });
  assert.deepEqual(got, ["ready", 1]);
});

test("an endpoint error ends eventsource, and is an error of fetch-event-source", async () => {
  const url = `${APP_URL}/api/realtime/pipeline/stream?runId=a:b`;
  const refused = (client) => new Promise((resolve) => clients[client](url, { onEvent: () => {}, onError: resolve }));
  assert.equal((await refused("eventsource")).code, 422);
  assert.equal((await refused("client.js")).code, "invalid_parameter");
});
