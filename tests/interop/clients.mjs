// The clients that pages use for event streams, each as its README shows it: `read` calls back with the data of every
// event that it hands on, which a page parses as JSON without a second look, and returns what closes it.
import { fetchEventSource } from "@microsoft/fetch-event-source";
import { EventSource } from "eventsource";
import { createParser } from "eventsource-parser";

import { subscribe } from "../../inngest_realtime_core/endpoints/client.js";

// fetch-event-source is for browsers.
globalThis.window ??= globalThis;
globalThis.document ??= { hidden: false, addEventListener() {}, removeEventListener() {} };

export const clients = {
  eventsource(url, { onEvent, onError }) {
    const source = new EventSource(url);
    source.onmessage = (event) => onEvent(event.data);
    source.addEventListener("ready", (event) => onEvent(event.data));
    source.addEventListener("gap", (event) => onEvent(event.data));
    source.onerror = (event) => source.readyState === source.CLOSED && onError(event);
    return () => source.close();
  },
  "fetch-event-source"(url, { onEvent, onError }) {
    const abort = new AbortController();
    fetchEventSource(url, {
      signal: abort.signal,
      onmessage: (event) => onEvent(event.data),
      onclose: () => { throw new Error("closed"); }, // its README: the way to come back after a clean end, too
    }).catch(onError);
    return () => abort.abort();
  },
  "client.js"(url, { onEvent, onError }) {
    const subscription = subscribe(url, {
      onMessage: (message) => onEvent(JSON.stringify(message)),
      onGap: (gap) => onEvent(JSON.stringify(gap)),
      onState: (state, error) => (state === "open" ? onEvent('{"kind":"ready"}') : state === "closed" && error && onError(error)),
    });
    return () => subscription.close();
  },
};

/** Without reconnecting: a parser, and a `fetch` around it. */
export async function parseOnly(url, { onEvent, signal }) {
  const parser = createParser({ onEvent: (event) => onEvent(event.data) });
  const response = await fetch(url, { signal });
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) parser.feed(text);
}
