// Pages that use the generated file as they should, and as they should not: `tsc --strict` accepts exactly this.
import { Inngest } from "inngest";
import { useRealtime } from "inngest/react";
import { subscribe } from "inngest/realtime";

import { subscribe as listen } from "./client.js";
import { defaultChannel, httpRequests, job, shapes, type ShapesTopics, type Status, type Tree } from "./channels";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(_: Equal<A, B>) {}
type Data = typeof shapes.$infer;

// What arrives, of each shape. Null arrives as undefined where it is the whole message.
same<Data["text"], string>(true);
same<Data["integer"], number>(true);
same<Data["number"], number>(true);
same<Data["flag"], boolean>(true);
same<Data["nothing"], null | undefined>(true);
same<Data["anything"], unknown>(true);
same<Data["optional"], string | null | undefined>(true);
same<Data["model"]["step"], string | null>(true);
same<Data["camel"], { createdAt: string; longNameOfIt: number; "odd-name": string }>(true);
same<Data["literals"], "a" | "b" | 1 | true | null | undefined>(true);
same<Data["color"], "red" | "green">(true);
same<Data["level"], 1 | 2>(true);
same<Data["union"], number | string | number[]>(true);
same<Data["pet"]["kind"], "cat" | "dog">(true);
same<Data["pets"][number], Data["pet"]>(true);
same<Data["page"], { items: number[]; next: number | null }>(true);
same<Data["page_of_models"]["items"], Status[]>(true);
same<Data["tree"]["children"], Tree[]>(true);
same<Data["open"]["a"], number>(true);
same<Data["open"]["whatever"], unknown>(true);
same<Data["open_numbers"]["n"], number>(true);
same<Data["strict"], { a: number }>(true);
same<Data["empty"], Record<string, never>>(true);
same<Data["area"], { width: number; height: number; size: number }>(true);
same<Data["ids"], number[]>(true);
same<Data["perhaps"], number | null | undefined>(true);
same<Data["movie"], { title: string; year?: number }>(true);
same<Data["point"], { x: number; y: number; tags: string[] }>(true);
same<Data["pair"], [number, string?]>(true);
same<Data["note"]["remark"], string | undefined>(true);
same<Data["note"]["mood"], "good" | undefined>(true);
same<Data["note"]["size"], { width: number; height?: number }>(true);
same<Data["note"]["cells"], Record<string, number | null>>(true);
same<Data["notes"][number], Data["note"]>(true);
same<NonNullable<Data["note"]["status"]>, { message: string; step?: string }>(true);
same<NonNullable<Data["note"]["parent"]>["parent"], Data["note"] | undefined>(true);
same<Data["full_note"]["remark"], string | null>(true);
same<Data["full_note"]["status"], Status | null>(true);
same<Data["folder"]["a"]["b"], Data["folder"]>(true);
same<Data["moves"], { left?: Data["moves"]; right?: Data["moves"] }>(true);
same<Data["section"]["size"], number>(true);
same<Data["access"], number>(true);
same<Data["unsaid"], { at: unknown; price: number; path: string; recent: number[] }>(true);
same<Data["unsaid_whole"], unknown>(true);
same<Data["no_elements"], []>(true);
same<Data["times"], { day: string; at: string; clock: string; took: string }>(true);
same<Data["others"]["price"], string>(true);
same<Data["deep"]["pages"][string]["items"][number]["message"], string>(true);
same<Data["mapping"], Record<string, number>>(true);
same<Data["by_color"], Partial<Record<"red" | "green", number>>>(true);
same<Data["by_number"], Record<string, string>>(true);
same<Data["any_mapping"], Record<string, unknown>>(true);
same<Data["lists"], (number | null)[][]>(true);
same<Data["untyped_list"], unknown[]>(true);
same<Data["fixed"], [number, string]>(true);
same<Data["variadic"], number[]>(true);
same<Data["exactly"], [number, number]>(true);
same<Data["unique"], number[]>(true);
same<Data["frozen"], string[]>(true);
same<Data["sequence"], number[]>(true);
same<Data["readonly"], Record<string, boolean>>(true);
same<Data["constrained"], number>(true);
same<Data["json"], unknown>(true);
same<Data["odd-name.of:a topic"], string>(true);
// @ts-expect-error: the check itself sees a difference
same<Data["text"], number>(true);
const nested: Data["nested"] = [1, [2, [3]]];
const recursive: Data["recursive"] = { a: [1, null, { b: "c" }] };
// @ts-expect-error: numbers and lists of them, nothing else
const broken: Data["nested"] = [1, ["2"]];

// Channels and their parameters.
const name: string = shapes({ runId: "a" }).name;
const news: "news" = defaultChannel.name;
job({ orgId: "o", number: 7 });
httpRequests({ day: "2026-01-02", level: 1, color: "red" });
// @ts-expect-error: camelCase
shapes({ run_id: "a" });
// @ts-expect-error: a number
job({ orgId: "o", number: "7" });
// @ts-expect-error: missing
job({ orgId: "o" });
// @ts-expect-error: no such member
httpRequests({ day: "2026-01-02", level: 3, color: "red" });
// @ts-expect-error: no such topic
shapes({ runId: "a" }).nope;

// The hook.
export function Page({ runId }: { runId: string }) {
  const { messages, connectionStatus } = useRealtime({
    channel: shapes({ runId }),
    topics: ["model", "tree"] as const,
    token: async () => (await fetch(`/token?runId=${runId}`)).json(),
  });
  // @ts-expect-error: not subscribed to
  messages.byTopic.text;
  const last = messages.byTopic.model;
  if (last?.kind === "data") {
    const text: string = last.data.message;
    // @ts-expect-error: may be null
    const step: string = last.data.step;
    // @ts-expect-error: no such field
    last.data.nope;
  }
  return <p>{connectionStatus} {messages.byTopic.model?.data.message}</p>;
}

// subscribe, and publish.
export async function read(client: Inngest.Any) {
  const stream = await subscribe({ channel: shapes({ runId: "a" }), topics: ["pet", "camel"] });
  for await (const message of stream as unknown as AsyncIterable<typeof stream extends ReadableStream<infer M> ? M : never>) {
    if (message.kind === "data" && message.topic === "pet" && message.data.kind === "cat") {
      const lives: number = message.data.lives;
      // @ts-expect-error: a cat is not good
      message.data.good;
    }
  }
  // @ts-expect-error: no such topic
  await subscribe({ channel: shapes({ runId: "a" }), topics: ["nope"] });
  await client.realtime.publish(shapes({ runId: "a" }).model, { message: "hi", step: null });
  // @ts-expect-error: a message has text
  await client.realtime.publish(shapes({ runId: "a" }).model, { message: 1, step: null });
}

// The small client, over an event stream.
listen<ShapesTopics>("/stream", {
  topics: ["model", "integer"],
  onMessage(message) {
    if (message.kind === "data" && message.topic === "model") {
      const text: string = message.data.message;
      // @ts-expect-error: a model
      const number: number = message.data;
    }
    // @ts-expect-error: no such kind
    message.kind === "nope";
    // @ts-expect-error: of which kind and topic?
    message.data.message;
  },
  onGap: (gap) => gap.data.missed?.toFixed(),
  onState(state, error) {
    if (state === "closed" && error?.status === 403) error.code.toUpperCase();
  },
}).close();
// @ts-expect-error: no such topic
listen<ShapesTopics>("/stream", { topics: ["nope"] });
// @ts-expect-error: a number or "all"
listen("/stream", { rewind: "some" });
