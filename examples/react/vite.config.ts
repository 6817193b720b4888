import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  base: "/react/", // where the Python applications of this folder serve dist/
  plugins: [react()],
  // `npm run dev` beside one of them: BACKEND=http://127.0.0.1:8000
  server: { proxy: { "/api": process.env.BACKEND ?? "http://127.0.0.1:8000" } },
});
