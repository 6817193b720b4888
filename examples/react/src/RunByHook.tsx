import { useRealtime } from "inngest/react";
import { useEffect, useRef, useState } from "react";

import { pipeline } from "./channels";
import { Progress, readRun, startRun } from "./Progress";

const TOPICS = ["status"] as const;

/** With the SDK's hook: the browser connects to Inngest itself, with a token that the Python application mints. */
export function RunByHook({ runId }: { runId: string }) {
  const [text, setText] = useState("");
  const [failure, setFailure] = useState<string>();
  const { messages, connectionStatus, error } = useRealtime({
    channel: pipeline({ runId }),
    topics: TOPICS,
    token: async () => {
      const answer = await fetch(`/api/realtime/pipeline/token?runId=${runId}&topics=status`);
      if (!answer.ok) throw new Error(await answer.text());
      return answer.json();
    },
  });
  const status = messages.byTopic.status?.data;

  // The hook is "open" a moment before Inngest has it subscribed; a run that must not be missed is read as well.
  const started = useRef(false);
  useEffect(() => {
    if (connectionStatus !== "open" || started.current) return;
    started.current = true;
    startRun(runId).catch((reason: Error) => setFailure(reason.message));
  }, [connectionStatus, runId]);

  // Data streams do not reach the hook: the text is read at the end. Publish it with `batch`, or see RunByEvents.
  const done = status?.step === "done";
  useEffect(() => {
    if (done) readRun(runId).then((run) => setText(run.text), (reason: Error) => setFailure(reason.message));
  }, [done, runId]);

  return <Progress status={status} text={text} connection={connectionStatus} error={failure ?? error?.message} />;
}
