// Builds ../dist/page.html: one file with the script and the style inside, and their hashes in its security policy.
// The worker that draws is bundled first and becomes a string of the main script.
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const output = process.argv[2] ?? join(here, "..", "dist", "page.html");
const common = {
  absWorkingDir: here,
  bundle: true,
  charset: "utf8",
  define: { "process.env.NODE_ENV": '"production"' },
  legalComments: "none",
  logLevel: "warning",
  minify: true,
  target: ["es2022"],
  write: false,
};

async function bundled(entry, plugins = []) {
  const result = await build({ ...common, entryPoints: [entry], format: "iife", plugins });
  return result.outputFiles[0].text.trim();
}

const worker = {
  name: "worker",
  setup(on) {
    on.onResolve({ filter: /^worker:/ }, ({ path }) => ({ path: path.slice("worker:".length), namespace: "worker" }));
    on.onLoad({ filter: /.*/, namespace: "worker" }, async ({ path }) => ({
      contents: await bundled(join("src", path)),
      loader: "text",
    }));
  },
};

// In the text of a script element only these end it or change how it is read.
const inScript = (text) => text.replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--");
const hash = (text) => `'sha256-${createHash("sha256").update(text, "utf8").digest("base64")}'`;

const script = inScript(await bundled("src/main.tsx", [worker]));
const style = await bundled("src/style.css");
const policy = [
  "default-src 'none'",
  `script-src ${hash(script)}`,
  `style-src ${hash(style)}`,
  "img-src data: blob:",
  "connect-src 'self'",
  "worker-src blob:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

const parts = { csp: policy, style, script };
const template = await readFile(join(here, "page.template.html"), "utf8");
await mkdir(dirname(output), { recursive: true });
await writeFile(
  output,
  template.replace(/\{\{(\w+)\}\}/g, (_, name) => parts[name]),
);
