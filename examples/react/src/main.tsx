import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";

import "../../style.css";
import { RunByEvents } from "./RunByEvents";
import { RunByHook } from "./RunByHook";

function App() {
  const [runId, setRunId] = useState(() => crypto.randomUUID() as string);
  const [byEvents, setByEvents] = useState(location.hash === "#events");
  const View = byEvents ? RunByEvents : RunByHook;
  const choose = (events: boolean) => () => (setByEvents(events), setRunId(crypto.randomUUID()));
  return (
    <main>
      <header>
        <hgroup>
          <h1>Weekly grid report</h1>
          <p>The same run, with the SDK's hook or over server-sent events.</p>
        </hgroup>
        <button type="button" onClick={() => setRunId(crypto.randomUUID())}>New run</button>
      </header>
      <nav>
        <a href="#hook" aria-current={byEvents ? undefined : "page"} onClick={choose(false)}>useRealtime</a>
        <a href="#events" aria-current={byEvents ? "page" : undefined} onClick={choose(true)}>Server-sent events</a>
      </nav>
      <View key={runId} runId={runId} />
    </main>
  );
}

createRoot(document.getElementById("root")!).render(<StrictMode><App /></StrictMode>);
