import { useEffect, useState } from "react";

import { subscribe, type State } from "../../../inngest_realtime_core/endpoints/client.js"; // or a copy in your project
import type { PipelineTopics, Status } from "./channels";
import { Progress, readRun, startRun } from "./Progress";

/** Over server-sent events of the Python application, for deployments whose Inngest browsers cannot reach. */
export function RunByEvents({ runId }: { runId: string }) {
  const [status, setStatus] = useState<Status>();
  const [text, setText] = useState("");
  const [connection, setConnection] = useState<State>("connecting");
  const [failure, setFailure] = useState<string>();

  useEffect(() => {
    let started = false;
    let patchy = false;
    const fail = (reason: Error) => setFailure(reason.message);
    const read = () => readRun(runId).then((run) => (setStatus(run.status), setText(run.text)), fail);
    const subscription = subscribe<PipelineTopics>("/api/realtime/pipeline/stream", {
      params: { runId },
      onMessage(message) {
        if (message.kind === "data" && message.topic === "status") {
          setStatus(message.data);
          if (patchy && message.data.step === "done") read();
        }
        if (message.kind === "chunk") setText((before) => before + message.data);
      },
      onGap() {
        patchy = true; // what comes while it is read may be missing then, so it is read once more at the end
        read();
      },
      onState(state, error) {
        setConnection(state);
        setFailure(state === "closed" ? error?.message : undefined);
        if (state === "open" && !started) {
          started = true; // subscribed for certain: nothing of the run can be missed
          startRun(runId).catch(fail);
        }
      },
    });
    return () => subscription.close();
  }, [runId]);

  return <Progress status={status} text={text} connection={connection} error={failure} />;
}
