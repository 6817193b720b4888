// The components of docs/clients/react.md in one page.
import { createRoot } from "react-dom/client";
import { Progress } from "./Progress";
import { ProgressByEvents } from "./ProgressByEvents";

const root = document.getElementById("root")!;
const runId = root.dataset.run!;

createRoot(root).render(
  <>
    <div id="hook">
      <Progress runId={runId} />
    </div>
    <div id="events">
      <ProgressByEvents runId={runId} />
    </div>
  </>,
);
