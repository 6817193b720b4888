// The TypeScript SDK, and the package before it, with tokens from an adapter of ours.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { subscribe as subscribeOld } from "@inngest/realtime";
import { Inngest } from "inngest";
import { realtime, staticSchema, subscribe } from "inngest/realtime";

const { APP_URL, INNGEST_URL } = process.env;
const pipeline = realtime.channel({
  name: ({ runId }) => `pipeline:${runId}`,
  topics: { status: { schema: staticSchema() }, tokens: { schema: staticSchema() } },
});

async function token(runId, query = "") {
  const answer = await fetch(`${APP_URL}/api/realtime/pipeline/token?runId=${runId}${query}`);
  assert.equal(answer.status, 200);
  return answer.json();
}

async function publish(runId, topic, data) {
  const query = new URLSearchParams({ channel: `pipeline:${runId}`, topic });
  await fetch(`${INNGEST_URL}/v1/realtime/publish?${query}`, { method: "POST", body: JSON.stringify(data) });
}

/** Publishes until the first message has come: the SDK says "open" before it is subscribed. */
async function read(stream, runId, count) {
  const got = [];
  const first = setInterval(() => publish(runId, "tokens", 0), 50);
  for await (const message of stream) {
    if (message.topic === "tokens") {
      if (!got.length) {
        clearInterval(first);
        got.push(message.kind);
        for (let number = 1; number <= count; number++) await publish(runId, "status", { message: String(number) });
      }
      continue;
    }
    got.push(message.data.message);
    if (got.length > count) break;
  }
  return got;
}

test("subscribe of inngest takes the token of an endpoint", async () => {
  const runId = randomUUID();
  const stream = await subscribe({ channel: pipeline({ runId }), topics: ["status", "tokens"], ...(await token(runId)) });
  assert.deepEqual(await read(stream, runId, 3), ["data", "1", "2", "3"]);
  stream.close();
});

test("a token of fewer topics gives fewer", async () => {
  const { key, apiBaseUrl } = await token("a", "&topics=status");
  const { topics } = JSON.parse(atob(key.split(".")[1]));
  assert.deepEqual(topics.map(({ name }) => name), ["status"]);
  assert.equal(apiBaseUrl, INNGEST_URL);
});

test("@inngest/realtime takes it with channel and topics", async () => {
  const runId = randomUUID();
  const stream = await subscribeOld({ channel: `pipeline:${runId}`, topics: ["status", "tokens"], ...(await token(runId)) });
  assert.deepEqual(await read(stream, runId, 3), ["data", "1", "2", "3"]);
});

test("what inngest publishes is a message on our event stream", async () => {
  const runId = randomUUID();
  const client = new Inngest({ id: "app", baseUrl: INNGEST_URL, isDev: true });
  const response = await fetch(`${APP_URL}/api/realtime/pipeline/stream?runId=${runId}`);
  let text = "";
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    if (!text) await client.realtime.publish(pipeline({ runId }).status, { message: "from TypeScript" });
    text += piece;
    if (text.includes('"kind":"data"')) break;
  }
  assert.match(text, /"data":\{"message":"from TypeScript"/);
});
