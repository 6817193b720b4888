// Subscribes a page to an event stream of Inngest Realtime: an ES module without dependencies. client.d.ts documents it.

const MAX_DELAY = 30_000; // ms between two attempts at most
const LONGEST = 2 ** 31 - 1; // ms; a timer of more fires at once
const STABLE = 5_000; // ms that a connection has to live before the backoff begins anew
const QUEUE = 256; // messages that wait for a `for await`; beyond them the response is not read on

export class SubscribeError extends Error {
  constructor(status, code, message, more) {
    super(message);
    // Proxies say 502 and 504 while a server restarts.
    const final = status > 0 && status < 500 && ![408, 425, 429].includes(status);
    Object.assign(this, { name: "SubscribeError", status, code, final }, more);
  }
}

// Parses `text/event-stream` by the HTML standard, from pieces of text.
export function parser({ onEvent, onRetry, onComment }, id = "") {
  let tail = "";
  let data = [];
  let type = "";
  let afterCR = false;
  function line(text) {
    if (!text) {
      onEvent({ type: type || "message", data: data.length ? data.join("\n") : null, id });
      data = [];
      type = "";
      return;
    }
    const colon = text.indexOf(":");
    if (!colon) return onComment?.(text);
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(text[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") data.push(value);
    else if (field === "event") type = value;
    else if (field === "id" && !value.includes("\0")) id = value;
    else if (field === "retry" && /^\d+$/.test(value)) onRetry?.(Number(value));
  }
  return (text) => {
    if (!text) return;
    if (afterCR && text[0] === "\n") text = text.slice(1);
    afterCR = text.endsWith("\r");
    const lines = text.split(/\r\n|\r|\n/);
    lines[0] = tail + lines[0];
    tail = lines.pop();
    lines.forEach(line);
  };
}

export function subscribe(url, options = {}) {
  const { params = {}, topics, rewind, headers, resume, pauseHidden, signal, onMessage, onGap, onState } = options;
  const page = globalThis.document;
  const address = new URL(url, page?.baseURI ?? globalThis.location?.href); // a worker has no document
  for (const [name, value] of [...Object.entries(params), ["topics", topics], ["rewind", rewind]]) {
    for (const item of value?.length === 0 ? [""] : [value].flat()) if (item != null) address.searchParams.append(name, item);
  }
  const key = `inngest-realtime:${address}`;
  const queue = [];
  let lastEventId = options.lastEventId ?? stored() ?? "";
  let state = "";
  let failure = null; // what a closed subscription ended with
  let taken = null; // the id of the message that a `for await` is at
  let attempt = 0;
  let retry = 1_000; // ms, as the server asks
  let opened = false;
  let controller = null; // of the connection
  let wake = () => {}; // ends the wait for the next attempt or for a visible page
  let notify = () => {}; // tells a waiting `for await` of a message or of the end
  let news = null; // which that is
  let drain = () => {}; // tells the reader that there is room in the queue

  function stored(id) {
    if (resume !== "session") return null;
    try {
      const storage = globalThis.sessionStorage;
      if (id === undefined) return storage.getItem(key);
      if (id) storage.setItem(key, id);
      else storage.removeItem(key);
    } catch {} // no storage here
    return null;
  }

  function call(handler, ...values) {
    try {
      Promise.resolve(handler?.(...values)).catch(report);
    } catch (error) {
      report(error);
    }
  }

  function report(error) {
    (globalThis.reportError ?? console.error)(error);
  }

  function become(next, error) {
    if (state === "closed" || (state === next && !error)) return;
    state = next;
    opened ||= state === "open";
    call(onState, state, error);
  }

  function deliver(message, id) {
    if (message?.kind === "gap") call(onGap, message, id);
    else call(onMessage, message, id);
    if (onMessage) {
      if (id) stored(id);
    } else {
      queue.push([message, id]);
      notify();
    }
  }

  function receive({ type, data, id }) {
    if (state === "closed") return;
    lastEventId = id;
    become("open");
    if (data === null) return;
    let message;
    try {
      message = JSON.parse(data);
    } catch (error) {
      return report(new SubscribeError(200, "not_json", `The data of an event ${type} is not JSON.`, { cause: error }));
    }
    const kind = message?.kind;
    if (kind === "end") {
      const { code = "ended", message: text = "The server has ended the stream.", ...more } = message.error ?? message;
      end(new SubscribeError(200, code, text, more));
    } else if (kind === "ready" || kind === "closing") {
      if (id) stored(id);
    } else deliver(message, id);
  }

  function end(error = null) {
    if (state === "closed") return;
    if (error) stored("");
    failure = error;
    become("closed", error ?? undefined);
    controller?.abort();
    page?.removeEventListener("visibilitychange", visibility);
    globalThis.removeEventListener?.("online", online);
    signal?.removeEventListener("abort", close);
    wake();
    drain();
    notify();
  }

  const close = () => end();
  const online = () => wake();
  const hidden = () => pauseHidden && page?.visibilityState === "hidden";
  let hiding;
  const visibility = () => {
    clearTimeout(hiding);
    if (!hidden()) wake();
    else hiding = setTimeout(() => hidden() && controller?.abort(), pauseHidden === true ? 0 : pauseHidden);
  };

  function wait(ms) {
    return new Promise((resolve) => {
      const timer = ms && setTimeout(resolve, Math.min(ms, LONGEST));
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async function connect() {
    controller = new AbortController();
    const sent = new Headers(typeof headers === "function" ? await headers() : headers);
    sent.set("Accept", "text/event-stream");
    const target = new URL(address);
    // Not the header: other origins would have to allow it, and each attempt would ask them first.
    if (lastEventId) target.searchParams.set("lastEventId", lastEventId);
    const response = await (options.fetch ?? fetch)(target, {
      headers: sent,
      credentials: options.credentials ?? "same-origin",
      cache: "no-store",
      signal: controller.signal,
    });
    if (response.status !== 200) throw await endpointError(response);
    if (!/^text\/event-stream\b/i.test(response.headers.get("content-type") ?? "")) {
      response.body?.cancel();
      throw new SubscribeError(200, "not_an_event_stream", `${response.url} is not an event stream.`);
    }
    const missed = opened && !lastEventId; // the stream has no ids: nobody knows what was missed meanwhile
    if (missed) deliver({ kind: "gap", channel: "", topic: "", data: { reason: "reconnect", missed: null } }, "");
    await read(response.body);
  }

  async function read(body) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let latest = Date.now();
    let silence = 0; // ms before a heartbeat, the longest so far: much longer means that the connection is dead
    let watchdog;
    const onComment = (text) => {
      if (text.includes("heartbeat")) silence = Math.max(silence, Date.now() - latest, 1);
    };
    // It is open with the first event, whose id a reconnect needs; a stream without one is not waited for.
    const opening = setTimeout(() => become("open"), 1_000);
    const feed = parser({ onEvent: receive, onRetry: (ms) => (retry = Math.min(ms, MAX_DELAY)), onComment }, lastEventId);
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done || state === "closed") return;
        feed(decoder.decode(value, { stream: true }));
        clearTimeout(watchdog);
        while (queue.length > QUEUE && state !== "closed") await new Promise((resolve) => (drain = resolve));
        latest = Date.now();
        if (silence) watchdog = setTimeout(() => controller.abort(), 3 * silence + 10_000);
      }
    } finally {
      clearTimeout(opening);
      clearTimeout(watchdog);
      reader.cancel().catch(() => {});
    }
  }

  async function run() {
    become("connecting");
    while (state !== "closed") {
      let error;
      if (!hidden()) {
        const began = Date.now();
        try {
          await connect();
        } catch (caught) {
          error = caught;
        }
        if (state === "closed") return;
        if (error?.final) return end(error);
        if (state === "open" && Date.now() - began >= STABLE) attempt = 0;
      }
      if (hidden()) {
        become("reconnecting", new SubscribeError(0, "hidden", "The page is hidden; the stream goes on when it is shown."));
        while (hidden() && state !== "closed") await wait();
        attempt = 0;
      } else {
        if (!(error instanceof SubscribeError)) {
          error = new SubscribeError(0, "connection_lost", error?.message ?? "The connection was lost.", { cause: error });
        }
        become("reconnecting", error);
        const delay = Math.min(Math.max(retry, 250) * 2 ** attempt++, MAX_DELAY) * (0.5 + Math.random() / 2);
        await wait(Math.max(delay, (error.retryAfter ?? 0) * 1_000 * (1 + Math.random() / 2)));
      }
    }
  }

  page?.addEventListener("visibilitychange", visibility);
  globalThis.addEventListener?.("online", online);
  if (signal?.aborted) queueMicrotask(close);
  else signal?.addEventListener("abort", close);
  // Not before the caller has what this function returns.
  queueMicrotask(() => run().catch(end));

  const iterator = {
    async next() {
      if (taken) stored(taken);
      taken = null;
      while (!queue.length) {
        if (state === "closed") {
          if (!failure) return { done: true, value: undefined };
          const error = failure;
          failure = null;
          throw error;
        }
        await (news ??= new Promise((resolve) => (notify = () => resolve((news = null)))));
      }
      const [message, id] = queue.shift();
      taken = id;
      drain();
      return { done: false, value: message };
    },
    async return() {
      if (taken) stored(taken);
      close();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]: () => iterator,
  };
  return {
    close,
    get state() {
      return state || "connecting";
    },
    [Symbol.asyncIterator]: () => iterator,
  };
}

async function endpointError(response) {
  const { status } = response;
  let body;
  if (/json/i.test(response.headers.get("content-type"))) body = await response.json().catch(() => null);
  else response.body?.cancel(); // it might not end
  const { error, detail } = body ?? {};
  const said = error ?? detail ?? {}; // the latter of FastAPI, for its own exceptions
  const given = response.headers.get("retry-after");
  const seconds = given && (/^\d+$/.test(given) ? Number(given) : (Date.parse(given) - Date.now()) / 1_000);
  const message = typeof said === "string" ? said : (said.message ?? `HTTP ${status}`);
  return new SubscribeError(status, said.code ?? `http_${status}`, message, {
    ...(said.parameter && { parameter: said.parameter }),
    ...(seconds > 0 && { retryAfter: seconds }),
  });
}
