// The composable and the store of docs/clients/vue-svelte.md, each in a page of its framework.
import { createApp, h } from "vue";
import { run } from "./run.js";
import { useRun } from "./useRun.js";

const runId = new URLSearchParams(location.search).get("runId");
const app = createApp({
  setup() {
    const { status, state, stale } = useRun(runId);
    return () => h("p", `${state.value} ${status.value?.message} ${stale.value}`);
  },
});
app.mount("#vue");

window.svelte = [];
const unsubscribe = run(runId).subscribe((status) => window.svelte.push(status && status.message));

window.leave = () => {
  app.unmount();
  unsubscribe();
};
