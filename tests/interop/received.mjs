// Subscribes with the SDK and a generated file, whose schemas check; prints what came as a line of JSON for each message.
import { subscribe } from "inngest/realtime";

const { channels, token, topics, count, runId } = JSON.parse(process.argv[2]);
const { shapes } = await import(channels);
console.error = (...values) => (console.log(JSON.stringify({ refused: values.map(String).join(" ") })), process.exit(1));
const stream = await subscribe({ channel: shapes({ runId }), topics, ...token });
console.log("open");
let left = count;
for await (const message of stream) {
  console.log(JSON.stringify({ topic: message.topic, data: message.data ?? null }));
  if (!--left) break;
}
process.exit(0);
