// node compile.js <entry.tolk> <out.boc.hex>: compiles the contract, writes its code as a hex BoC and prints the code hash.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { runTolkCompiler } from "@ton/tolk-js";

const [entry, out] = process.argv.slice(2);
if (!out) {
  console.error("usage: node compile.js <entry.tolk> <out.boc.hex>");
  process.exit(2);
}
const result = await runTolkCompiler({
  entrypointFileName: basename(entry),
  fsReadCallback: (path) => readFileSync(join(dirname(entry), path), "utf8"),
});
if (result.status === "error") {
  console.error(result.message);
  process.exit(1);
}
mkdirSync(dirname(out), { recursive: true });
writeFileSync(out, Buffer.from(result.codeBoc64, "base64").toString("hex") + "\n");
console.log(result.codeHashHex.toLowerCase());
