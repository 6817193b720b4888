import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));

export default {
  root: here,
  define: { "process.env.NODE_ENV": '"production"' },
  build: {
    emptyOutDir: false,
    minify: false,
    lib: { entry: `${here}/hook.tsx`, formats: ["es"], fileName: () => "hook.js" },
  },
};
