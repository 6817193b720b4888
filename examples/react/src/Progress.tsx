import type { Status } from "./channels";

interface Props {
  status: Status | undefined;
  text: string;
  connection: string;
  error?: string | undefined;
}

/** What both views show. */
export function Progress({ status, text, connection, error }: Props) {
  const percent = Math.round((status?.progress ?? 0) * 100);
  return (
    <>
      <section className={`run ${status?.step === "done" ? "done" : ""}`} aria-label="The run">
        <div className="line tight">
          <span id="message" aria-live="polite">{status?.message ?? "Starting…"}</span>
          <span id="percent">{percent} %</span>
        </div>
        <div className="bar" role="progressbar" aria-label="Progress" aria-valuemin={0} aria-valuemax={100} aria-valuenow={percent}>
          <i style={{ width: `${percent}%` }} />
        </div>
        <div id="text">{text}</div>
      </section>
      <section className="wire">
        <span id="state" data-state={connection}>{connection}</span>
        {error && <p id="note" role="alert">{error}</p>}
      </section>
    </>
  );
}

export async function startRun(runId: string) {
  const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1]; // Django's
  const answer = await fetch(`/api/runs?runId=${runId}`, {
    method: "POST",
    headers: token ? { "X-CSRFToken": decodeURIComponent(token) } : {},
  });
  if (!answer.ok) throw new Error(`The run could not be started (${answer.status}).`);
}

export async function readRun(runId: string): Promise<{ status: Status; text: string }> {
  const answer = await fetch(`/api/runs?runId=${runId}`);
  if (!answer.ok) throw new Error(`The run could not be read (${answer.status}).`);
  return answer.json();
}
