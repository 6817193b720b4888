// client.js in Node, against a server of this file that writes exactly the bytes a test wants.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, beforeEach, test } from "node:test";

import { SubscribeError, parser, subscribe } from "../../inngest_realtime_core/endpoints/client.js";

const EVENT_STREAM = { "Content-Type": "text/event-stream" };
let server;
let url;
let requests; // of this test
let answer; // (request, response, number of the request) => anything

before(async () => {
  server = createServer((request, response) => {
    requests.push({ query: new URL(request.url, url).searchParams, headers: request.headers });
    answer(request, response, requests.length);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${server.address().port}/stream`;
});
beforeEach(() => (requests = []));
after(() => {
  server.closeAllConnections();
  server.close();
});

const message = (data, more) => ({ channel: "c", topic: "t", kind: "data", createdAt: "", data, ...more });
const event = (id, data, more) => `id: ${id}\ndata: ${JSON.stringify(message(data, more))}\n\n`;
const ended = 'event: end\ndata: {"kind":"end"}\n\n';

function open(response, text = "") {
  response.writeHead(200, EVENT_STREAM);
  response.flushHeaders();
  response.write(`retry: 1\nid: start\nevent: ready\ndata: {"kind":"ready","channel":"c","topics":["t"]}\n\n${text}`);
}

/** Subscribes with callbacks, and collects what comes until the subscription is closed. */
function collect(options = {}) {
  const seen = { data: [], ids: [], gaps: [], states: [], errors: [] };
  return new Promise((resolve) => {
    seen.subscription = subscribe(url, {
      onMessage: (got, id) => (seen.data.push(got?.data), seen.ids.push(id)),
      onGap: (gap) => seen.gaps.push(gap.data.reason),
      ...options,
      onState(state, error) {
        seen.states.push(state);
        seen.errors.push(error?.code);
        seen.error = error;
        options.onState?.call(seen, state, error);
        if (state === "closed") resolve(seen);
      },
    });
  });
}

// The parser, by the standard

function parsed(pieces, id) {
  const out = { events: [], retries: [], comments: [] };
  const feed = parser(
    {
      onEvent: ({ type, data, id }) => data !== null && out.events.push([type, data, id]),
      onRetry: (ms) => out.retries.push(ms),
      onComment: (text) => out.comments.push(text),
    },
    id,
  );
  pieces.forEach((piece) => feed(piece));
  return out;
}

const SAMPLES = [
  ["data: a\n\ndata:b\r\n\r\ndata:  c\r\r", [["message", "a", ""], ["message", "b", ""], ["message", " c", ""]]],
  ["data\n\ndata\ndata\n\ndata:\n", [["message", "", ""], ["message", "\n", ""]]],
  ["data: x\ndata\ndata: y:z\n\n", [["message", "x\n\ny:z", ""]]],
  ["event: gap\ndata: 1\n\ndata: 2\n\n", [["gap", "1", ""], ["message", "2", ""]]],
  ["event: gap\n\ndata: 2\n\n", [["message", "2", ""]]],
  ["id: 7\n\ndata: a\n\nid\ndata: b\n\nid: 8\0\ndata: c\n\n", [["message", "a", "7"], ["message", "b", ""], ["message", "c", ""]]],
  [": heartbeat\n: heartbeat\ndata: a\n\n:\n\n", [["message", "a", ""]]],
  ["unknown: 1\n Data: 2\ndatas: 3\ndata: ok\n\n", [["message", "ok", ""]]],
  ["data: żółć 🦄 \u2028 \u0085 \v\f\n\n", [["message", "żółć 🦄 \u2028 \u0085 \v\f", ""]]],
  ["data: never ends", []],
];

test("the parser reads each sample, cut at every place", () => {
  for (const [text, events] of SAMPLES) {
    assert.deepEqual(parsed([text]).events, events);
    assert.deepEqual(parsed([...text]).events, events, "character by character");
    for (let at = 0; at <= text.length; at++) {
      assert.deepEqual(parsed([text.slice(0, at), "", text.slice(at)]).events, events, `cut at ${at} of ${JSON.stringify(text)}`);
    }
  }
});

test("line ends of all three kinds give the same", () => {
  const text = "id: 1\nevent: e\ndata: a\ndata: b\n\n: c\ndata: d\n\n";
  for (const end of ["\r\n", "\r", "\n"]) {
    const other = text.replaceAll("\n", end);
    assert.deepEqual(parsed([other]).events, [["e", "a\nb", "1"], ["message", "d", "1"]]);
    assert.deepEqual(parsed([...other]).events, parsed([other]).events);
  }
});

test("retry takes digits only, and an id survives from the connection before", () => {
  assert.deepEqual(parsed(["retry: 10\nretry: 1.5\nretry: -1\nretry:\nretry: 20\n"]).retries, [10, 20]);
  assert.deepEqual(parsed(["data: a\n\n"], "before").events, [["message", "a", "before"]]);
  assert.deepEqual(parsed([": one\n:two\n"]).comments, [": one", ":two"]);
});

test("a megabyte in small pieces takes no more than a moment", () => {
  const text = `data: ${"x".repeat(1 << 20)}\n\n`;
  const pieces = text.match(/[^]{1,512}/g);
  const began = performance.now();
  assert.equal(parsed(pieces).events[0][1].length, 1 << 20);
  assert.ok(performance.now() - began < 1_000);
});

// Streams

test("messages, gaps and the end of a stream", async () => {
  answer = (_, response) => {
    open(response, event(1, 1) + event(2, { a: [null] }));
    response.end(`event: gap\ndata: ${JSON.stringify({ kind: "gap", data: { reason: "overflow", missed: 2 } })}\n\n${ended}`);
  };
  const seen = await collect({ params: { runId: "a b&c", tag: ["x", "y"], none: null }, topics: ["s", "t"], rewind: 20 });
  assert.deepEqual(seen.data, [1, { a: [null] }]);
  assert.deepEqual(seen.ids, ["1", "2"]);
  assert.deepEqual(seen.gaps, ["overflow"]);
  assert.deepEqual(seen.states, ["connecting", "open", "closed"]);
  assert.ok(seen.error instanceof SubscribeError);
  assert.equal(seen.error.code, "ended");
  const [{ query, headers }] = requests;
  assert.equal(query.toString(), "runId=a+b%26c&tag=x&tag=y&topics=s&topics=t&rewind=20");
  assert.equal(headers.accept, "text/event-stream");
  assert.equal(headers["last-event-id"], undefined);
});

test("bytes that split characters, and a byte order mark", async () => {
  answer = async (_, response) => {
    response.writeHead(200, EVENT_STREAM);
    const bytes = Buffer.from(`\ufeff${event(1, "żółć 🦄")}${ended}`);
    for (const byte of bytes) {
      response.write(Buffer.of(byte));
      await new Promise(setImmediate);
    }
  };
  const seen = await collect();
  assert.deepEqual([seen.data, seen.ids], [["żółć 🦄"], ["1"]]);
});

test("a stream that is cut at any byte is taken up again, and nothing is lost or doubled", async () => {
  const events = [event(1, "a"), event(2, "ż"), event(3, "c")];
  const whole = Buffer.from(events.join(""));
  for (let cut = 0; cut < whole.length; cut += 11) {
    requests = [];
    answer = (_, response, number) => {
      if (number === 1) {
        open(response);
        response.write(whole.subarray(0, cut), () => setTimeout(() => response.destroy(), 5));
        return;
      }
      const from = requests[1].query.get("lastEventId");
      open(response, events.slice(from === "start" ? 0 : Number(from)).join("") + ended);
    };
    const seen = await collect();
    assert.deepEqual(seen.data, ["a", "ż", "c"], `cut at ${cut}`);
    assert.deepEqual(seen.states, ["connecting", "open", "reconnecting", "open", "closed"]);
    assert.deepEqual(seen.gaps, []);
  }
});

test("it is open with the first event, or soon without one", async () => {
  let first;
  const states = [];
  answer = (_, response) => {
    response.writeHead(200, EVENT_STREAM);
    response.flushHeaders();
    first = () => response.write(": open\n\n");
  };
  const subscription = subscribe(url, { onState: (state) => states.push(state) });
  while (!first) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual(states, ["connecting"]);
  first();
  while (states.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  subscription.close();
  const seen = await collect({ onState(state) { if (state === "open") this.subscription.close(); } });
  assert.deepEqual(seen.states, ["connecting", "open", "closed"]);
});

test("without ids a reconnect is a gap", async () => {
  answer = (_, response, number) => {
    response.writeHead(200, EVENT_STREAM);
    response.end(number === 1 ? 'retry: 1\ndata: {"kind":"data","data":1}\n\n' : ended);
  };
  const seen = await collect();
  assert.deepEqual([seen.data, seen.gaps], [[1], ["reconnect"]]);
});

test("what is not JSON is reported, and the stream goes on", async (t) => {
  const reported = t.mock.method(console, "error", () => {});
  answer = (_, response) => {
    open(response, "event: status\ndata: <p>\n\ndata: null\n\ndata:\n\n" + event(1, 1));
    response.end(ended);
  };
  const seen = await collect();
  assert.deepEqual(seen.data.filter((data) => data !== undefined), [1]);
  assert.deepEqual(reported.mock.calls.map((call) => call.arguments[0].code), ["not_json", "not_json"]);
});

test("an exception in a callback is reported, and the stream goes on", async (t) => {
  const reported = t.mock.method(console, "error", () => {});
  answer = (_, response) => (open(response, event(1, 1) + event(2, 2)), response.end(ended));
  const got = [];
  await collect({
    onMessage(message) {
      got.push(message.data);
      if (message.data === 1) throw new Error("one");
      return Promise.reject(new Error("two"));
    },
  });
  assert.deepEqual(got, [1, 2]);
  assert.deepEqual(reported.mock.calls.map((call) => call.arguments[0].message), ["one", "two"]);
});

// Endpoint errors

const fail = (response, status, code, headers = {}, more = {}) => {
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(JSON.stringify({ error: { code, message: `It is ${code}.`, ...more } }));
};

for (const [status, code] of [[400, "unknown_parameter"], [401, "who"], [403, "forbidden"], [404, "unknown_grant"], [422, "invalid_parameter"]]) {
  test(`${status} is final`, async () => {
    answer = (_, response) => fail(response, status, code, {}, { parameter: "runId" });
    const seen = await collect();
    assert.deepEqual(seen.states, ["connecting", "closed"]);
    assert.deepEqual(
      { ...seen.error, message: seen.error.message },
      { name: "SubscribeError", status, code, final: true, parameter: "runId", message: `It is ${code}.` },
    );
    assert.equal(requests.length, 1);
  });
}

test("an endpoint error in the words of FastAPI, or in none, is as final", async () => {
  for (const [body, code, text] of [
    ['{"detail":"Who are you?"}', "http_403", "Who are you?"],
    ['{"detail":{"code":"forbidden","message":"Not yours."}}', "forbidden", "Not yours."],
    ['{"detail":[{"msg":"x"}]}', "http_403", "HTTP 403"],
    ["null", "http_403", "HTTP 403"],
    ["<h1>", "http_403", "HTTP 403"],
  ]) {
    answer = (_, response) => (response.writeHead(403, { "Content-Type": "application/json" }), response.end(body));
    const { states, error } = await collect();
    assert.deepEqual([states, error.code, error.message], [["connecting", "closed"], code, text]);
  }
});

for (const status of [408, 425, 429, 500, 502, 503, 504]) {
  test(`${status} passes`, async () => {
    answer = (_, response, number) => {
      if (number > 1) return open(response, ended);
      response.writeHead(status, { "Content-Type": "text/html" });
      response.end("<h1>Bad gateway</h1>");
    };
    const seen = await collect();
    assert.deepEqual(seen.states, ["connecting", "reconnecting", "open", "closed"]);
    assert.equal(seen.errors[1], `http_${status}`);
  });
}

test("a page instead of a stream, and no content at all, are final", async () => {
  answer = (_, response) => (response.writeHead(200, { "Content-Type": "text/html" }), response.end("<h1>Log in</h1>"));
  assert.equal((await collect()).error.code, "not_an_event_stream");
  answer = (_, response) => (response.writeHead(204), response.end());
  assert.equal((await collect()).error.code, "http_204");
});

test("Retry-After is kept to, in seconds and as a date", async () => {
  for (const value of ["1", () => new Date(Date.now() + 2_000).toUTCString()]) {
    requests = [];
    const at = [];
    answer = (_, response, number) => {
      at.push(performance.now());
      if (number > 1) return open(response, ended);
      fail(response, 503, "too_many_streams", { "Retry-After": typeof value === "string" ? value : value() });
    };
    const seen = await collect();
    const reconnecting = seen.states.indexOf("reconnecting");
    assert.equal(seen.errors[reconnecting], "too_many_streams");
    assert.ok(at[1] - at[0] >= 950, `came back after ${at[1] - at[0]} ms`);
  }
});

test("a Retry-After of years is no reason to ask again at once", async (t) => {
  const delays = [];
  const timeout = globalThis.setTimeout;
  globalThis.setTimeout = (callback, ms, ...rest) => (delays.push(ms), timeout(callback, ms, ...rest));
  t.after(() => (globalThis.setTimeout = timeout));
  for (const value of ["99999999", "9".repeat(400), "Fri, 31 Dec 9999 23:59:59 GMT"]) {
    answer = (_, response) => fail(response, 503, "shutting_down", { "Retry-After": value });
    await collect({ onState(state) { if (state === "reconnecting") queueMicrotask(() => queueMicrotask(() => this.subscription.close())); } });
    assert.equal(delays.filter((ms) => ms > 1e9).pop(), 2 ** 31 - 1); // what a timer can do
    delays.length = 0;
  }
});

test("an error's page that does not end is not waited for", async () => {
  answer = (_, response, number) => {
    if (number > 1) return open(response, ended);
    response.writeHead(502, { "Content-Type": "text/html" });
    response.write("<h1>");
  };
  assert.deepEqual((await collect()).states, ["connecting", "reconnecting", "open", "closed"]);
});

test("attempts are further and further apart, and never at the same moment", async (t) => {
  const delays = [];
  const timeout = globalThis.setTimeout;
  globalThis.setTimeout = (callback, ms, ...rest) =>
    rest.length ? timeout(callback, ms, ...rest) : (delays.push(ms), queueMicrotask(callback), 0); // fetch has timers, too
  t.after(() => (globalThis.setTimeout = timeout));
  let left = 12;
  const options = { fetch: async () => { throw new TypeError("refused"); } };
  await new Promise((resolve) => {
    const subscription = subscribe(url, {
      ...options,
      onState(state, error) {
        if (state === "reconnecting") assert.equal(error.code, "connection_lost");
        if (!left--) subscription.close();
        if (state === "closed") resolve();
      },
    });
  });
  delays.slice(0, 5).forEach((delay, index) => {
    assert.ok(delay >= 500 * 2 ** index && delay <= 1000 * 2 ** index, `${delay} at ${index}`);
  });
  assert.ok(Math.max(...delays) <= 30_000);
  assert.ok(new Set(delays.slice(6)).size > 3, "without jitter");
});

test("a connection that has fallen silent after its heartbeats is given up", async (t) => {
  const timeout = globalThis.setTimeout;
  globalThis.setTimeout = (callback, ms, ...rest) => timeout(callback, ms / 50, ...rest);
  t.after(() => (globalThis.setTimeout = timeout));
  answer = (_, response, number) => {
    open(response, number === 1 ? event(1, 1) : ended);
    if (number === 1) response.write(": heartbeat\n");
  };
  const seen = await collect();
  assert.deepEqual(seen.states, ["connecting", "open", "reconnecting", "open", "closed"]);
  assert.equal(requests[1].query.get("lastEventId"), "1");
});

test("the time that a slow for await takes is not taken for the server's silence", async (t) => {
  const { now } = Date;
  const timeout = globalThis.setTimeout;
  Date.now = () => Math.round(performance.now() * 1_000); // a second, in a millisecond
  globalThis.setTimeout = (callback, ms, ...rest) => timeout(callback, ms > 5_000 ? ms / 50 : ms, ...rest);
  t.after(() => ((Date.now = now), (globalThis.setTimeout = timeout)));
  answer = (_, response, number) => {
    open(response, Array.from({ length: 300 }, (_, index) => event(index, index)).join(""));
    if (number > 1) return response.end(ended);
    timeout(() => response.write(": heartbeat\n"), 100);
  };
  const began = performance.now();
  await assert.rejects(async () => {
    for await (const message of subscribe(url)) if (message.data === 0) await new Promise((resolve) => timeout(resolve, 300));
  }, { code: "ended" });
  assert.ok(performance.now() - began < 8_000, "given up after a multiple of 300 s, not of the time between heartbeats");
});

// Headers, closing, iterating

test("headers are asked for at each attempt", async () => {
  let number = 0;
  answer = (_, response, number) => (open(response, number < 3 ? "" : ended), response.end());
  await collect({ headers: async () => ({ Authorization: `Bearer ${++number}` }) });
  assert.deepEqual(requests.map(({ headers }) => headers.authorization), ["Bearer 1", "Bearer 2", "Bearer 3"]);
  requests = [];
  answer = (_, response) => open(response, ended);
  await collect({ headers: new Headers({ "X-User": "ada", Accept: "*/*" }) });
  assert.deepEqual([requests[0].headers["x-user"], requests[0].headers.accept], ["ada", "text/event-stream"]);
});

test("close ends it at once, wherever it is", async () => {
  answer = (_, response) => open(response, event(1, 1));
  const gone = new Promise((resolve) => server.once("request", (request) => request.on("close", resolve)));
  const seen = await collect({ onState(state) { if (state === "open") queueMicrotask(() => this.subscription.close()); } });
  assert.deepEqual([seen.states, seen.error], [["connecting", "open", "closed"], undefined]);
  assert.equal(seen.subscription.state, "closed");
  await gone;
  answer = (_, response) => fail(response, 503, "shutting_down");
  const waiting = await collect({ onState(state) { if (state === "reconnecting") queueMicrotask(() => this.subscription.close()); } });
  assert.deepEqual(waiting.states, ["connecting", "reconnecting", "closed"]);
  const before = subscribe(url, { onState: () => assert.equal(before.state, "closed") });
  before.close();
  const count = requests.length;
  await new Promise(setImmediate);
  assert.equal(requests.length, count, "a closed subscription asked the server");
});

test("an AbortSignal closes it", async () => {
  answer = (_, response) => open(response);
  const abort = new AbortController();
  const seen = await collect({ signal: abort.signal, onState: (state) => state === "open" && abort.abort() });
  assert.deepEqual(seen.states, ["connecting", "open", "closed"]);
  assert.deepEqual((await collect({ signal: AbortSignal.abort() })).states.at(-1), "closed");
});

test("for await gives messages and gaps, and can be left", async () => {
  answer = (_, response) => open(response, event(1, 1) + 'event: gap\ndata: {"kind":"gap","data":{}}\n\n' + event(2, 2) + event(3, 3));
  const subscription = subscribe(url);
  const got = [];
  for await (const message of subscription) {
    got.push(message.kind === "gap" ? "gap" : message.data);
    if (message.data === 2) break;
  }
  assert.deepEqual([got, subscription.state], [[1, "gap", 2], "closed"]);
});

test("two reads at once get a message each", async () => {
  answer = (_, response) => (open(response), setTimeout(() => response.write(event(1, 1) + event(2, 2)), 50));
  const subscription = subscribe(url);
  const messages = subscription[Symbol.asyncIterator]();
  const read = await Promise.all([messages.next(), messages.next()]);
  assert.deepEqual(read.map(({ value }) => value.data), [1, 2]);
  const last = [messages.next(), messages.next()];
  subscription.close();
  assert.deepEqual((await Promise.all(last)).map(({ done }) => done), [true, true]);
});

test("for await throws what ended the stream, and finishes when it was closed", async () => {
  answer = (_, response) => fail(response, 403, "forbidden");
  await assert.rejects(async () => { for await (const _ of subscribe(url)); }, { name: "SubscribeError", status: 403, code: "forbidden" });
  answer = (_, response) => open(response);
  const subscription = subscribe(url, { onState: (state) => state === "open" && subscription.close() });
  for await (const _ of subscription) assert.fail("there are no messages");
});

test("a slow for await does not fill the memory", async () => {
  let sent = 0;
  answer = async (_, response) => {
    open(response);
    response.on("error", () => {});
    while (!response.destroyed && sent < 100_000) {
      sent++;
      if (!response.write(event(sent, "x".repeat(1_000)))) await Promise.race([once(response, "drain"), once(response, "close")]).catch(() => {});
    }
  };
  const subscription = subscribe(url);
  let last = 0;
  for await (const message of subscription) {
    if (last++ === 0) {
      let before;
      do {
        before = sent;
        await new Promise((resolve) => setTimeout(resolve, 300));
      } while (sent !== before);
      assert.ok(sent < 50_000, `${sent} were read ahead`);
    }
    if (last === 2_000) break;
    assert.equal(message.data.length, 1_000);
  }
});

test("the id of the last event that was handled is kept for a reload", async (t) => {
  const kept = new Map();
  globalThis.sessionStorage = {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => kept.set(key, value),
    removeItem: (key) => kept.delete(key),
  };
  t.after(() => delete globalThis.sessionStorage);
  answer = (_, response) => open(response, event(1, 1) + event(2, 2) + event(3, 3));
  for await (const message of subscribe(url, { params: { runId: 1 }, resume: "session" })) if (message.data === 2) break;
  await collect({ params: { runId: 1 }, resume: "session", onState(state) { if (state === "open") this.subscription.close(); } });
  await collect({ params: { runId: 2 }, resume: "session", onState(state) { if (state === "open") this.subscription.close(); } });
  assert.deepEqual(requests.map(({ query }) => query.get("lastEventId")), [null, "2", null]);
  answer = (_, response) => fail(response, 403, "forbidden");
  await collect({ params: { runId: 1 }, resume: "session" });
  assert.deepEqual([...kept.keys()].filter((key) => key.includes("runId=1")), [], "a final answer leaves an id behind");
});

test("topics may stand among the parameters, and an empty list is not all of them", async () => {
  answer = (_, response) => open(response, ended);
  await collect({ params: { topics: ["a", "b"], rewind: 3 } });
  await collect({ topics: [] });
  assert.deepEqual(requests.map(({ query }) => query.toString()), ["topics=a&topics=b&rewind=3", "topics="]);
});

test("an id of one's own is where it begins", async () => {
  answer = (_, response) => open(response, ended);
  await collect({ lastEventId: "mine" });
  assert.equal(requests[0].query.get("lastEventId"), "mine");
});
