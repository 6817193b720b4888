/** Subscribes a page to an event stream of Inngest Realtime, over `fetch`. */

/** The data of each topic, such as the types that `inngest-realtime types` generates: `{ status: Status; tokens: string }`. */
export type Topics = Record<string, any>;

interface Common {
  channel: string;
  /** The function run that published it, where the publisher said so. */
  runId?: string;
  fnId?: string;
}

export type DataMessage<T extends Topics = Topics> = {
  [Name in keyof T & string]: Common & {
    kind: "data";
    topic: Name;
    data: T[Name];
    /** ISO 8601, UTC, milliseconds. */
    createdAt: string;
    envId?: string;
  };
}[keyof T & string];

/** The life of a function run; `data` has any shape. */
export interface RunMessage extends Common {
  kind: "run";
  topic?: string;
  data: unknown;
  createdAt?: string;
  envId?: string;
}

/** A piece of a text that is being written, and its beginning and end, whose `data` is the stream's id. */
export interface StreamMessage<T extends Topics = Topics> extends Common {
  kind: "datastream-start" | "chunk" | "datastream-end";
  topic: keyof T & string;
  data: string;
  streamId: string;
}

/** Messages may have been missed: fetch the current state from where it is certain. */
export interface Gap {
  kind: "gap";
  channel: string;
  topic: string;
  data: {
    reason: "reconnect" | "overflow" | "too-large" | "unreadable" | "expired";
    /** How many, or null when that cannot be known. */
    missed: number | null;
  };
}

export type Message<T extends Topics = Topics> = DataMessage<T> | RunMessage | StreamMessage<T>;

export type State = "connecting" | "open" | "reconnecting" | "closed";

/** Why a subscription is not open. */
export class SubscribeError extends Error {
  constructor(status: number, code: string, message: string, more?: object);
  /** The HTTP status; 0 without an answer. */
  readonly status: number;
  /**
   * The server's word (`forbidden`, `unknown_parameter`, `too_many_streams`, ...), else `http_<status>`, or one of
   * `connection_lost`, `hidden` (a paused page), `not_an_event_stream`, `not_json`, `ended` (the server ended the stream).
   */
  readonly code: string;
  /** Whether the server would say the same again, so that the subscription ends. */
  readonly final: boolean;
  /** The request parameter at fault. */
  readonly parameter?: string;
  /** Seconds after which the server wants to be asked again. */
  readonly retryAfter?: number;
}

export interface SubscribeOptions<T extends Topics = Topics> {
  /** The channel's parameters, such as `{ runId }`, and others that the route knows; lists are repeated. */
  params?: Record<string, unknown>;
  /** Some of the topics that are granted; all of them by default. */
  topics?: (keyof T & string) | readonly (keyof T & string)[];
  /** How much of the past to begin with: a number of messages a topic, or "all". The grant sets a limit. */
  rewind?: number | "all";
  /** Sent with each request; a function is called for each, so that tokens are fresh. */
  headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /** Whether cookies go to other origins; "same-origin" by default. */
  credentials?: RequestCredentials;
  /**
   * "session" goes on after a reload with what came since the last event that was handled, whose id is kept in
   * sessionStorage. Reconnects resume without it, too. A page that does not keep its view uses `rewind` instead.
   */
  resume?: "session";
  /** The id of the last event that was handled, for pages that keep it with their view. */
  lastEventId?: string;
  /** Closes the connection while the page is hidden: at once, or after so many milliseconds. Then it resumes. */
  pauseHidden?: boolean | number;
  /** Closes the subscription when aborted. */
  signal?: AbortSignal;
  /** Instead of the global `fetch`. */
  fetch?: typeof fetch;
  /** Called for each message but gaps. `id` is that of the event, "" without one. An exception is reported; it ends nothing. */
  onMessage?(message: Message<T>, id: string): unknown;
  /** Called when messages may have been missed. */
  onGap?(gap: Gap, id: string): unknown;
  /** Called at each change. `error` says why it is not open; a "closed" without one is the page's own close(). */
  onState?(state: State, error?: SubscribeError): unknown;
}

/** Without `onMessage` it gives messages and gaps to one `for await`, which throws a final `SubscribeError`. */
export interface Subscription<T extends Topics = Topics> extends AsyncIterable<Message<T> | Gap> {
  readonly state: State;
  close(): void;
}

/**
 * Opens an event stream and keeps it open: reconnects with a growing, random delay, resumes with the id of the last
 * event, waits as Retry-After says, and ends with the first final answer (403 and other 4xx).
 */
export function subscribe<T extends Topics = Topics>(url: string | URL, options?: SubscribeOptions<T>): Subscription<T>;

export interface ServerSentEvent {
  type: string;
  /** Null for a block without data, which only may have moved the id. */
  data: string | null;
  id: string;
}

/** A parser of `text/event-stream` by the HTML standard; returns what takes the text, piece by piece. */
export function parser(
  handlers: { onEvent(event: ServerSentEvent): void; onRetry?(ms: number): void; onComment?(text: string): void },
  id?: string,
): (text: string) => void;
