import { fileURLToPath } from "node:url";

const entry = process.env.ENTRY;
const here = fileURLToPath(new URL(".", import.meta.url));

export default {
  root: here,
  define: {
    "process.env.NODE_ENV": '"production"',
    __VUE_OPTIONS_API__: false,
    __VUE_PROD_DEVTOOLS__: false,
    __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: false,
  },
  build: {
    emptyOutDir: false,
    minify: false,
    lib: { entry: `${here}/${entry}`, formats: ["es"], fileName: () => entry.replace(/\.\w+$/, ".js") },
  },
};
