// The same with the TypeScript SDK's React hook, which connects to Inngest itself with a token of the endpoint.
import { useEffect } from "react";
import { createRoot } from "react-dom/client";
import { useRealtime } from "inngest/react";

const query = new URLSearchParams(location.search);
const runId = query.get("runId")!;

async function token() {
  const answer = await fetch(`${query.get("api")}/pipeline/token?runId=${encodeURIComponent(runId)}`);
  if (!answer.ok) throw new Error((await answer.json()).error.code);
  return answer.json();
}

function Page() {
  const { messages, connectionStatus, error } = useRealtime({
    channel: `pipeline:${runId}`,
    topics: ["status", "tokens"],
    token,
    historyLimit: null,
  });
  useEffect(() => {
    const data = messages.all.map((message) => message.data);
    Object.assign(window, { got: data, gaps: [], state: connectionStatus, error: error?.message });
  });
  return null;
}

createRoot(document.getElementById("root")!).render(<Page />);
