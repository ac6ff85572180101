// node compile.js <contract folder> <out folder>: compiles the contract, writes its code as a hex BoC and prints the code hash.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runTolkCompiler } from "@ton/tolk-js";

const [folder, out] = process.argv.slice(2);
if (!out) {
  console.error("usage: node compile.js <contract folder> <out folder>");
  process.exit(2);
}
const result = await runTolkCompiler({
  entrypointFileName: "channel.tolk",
  fsReadCallback: (path) => readFileSync(join(folder, "src", path), "utf8"),
});
if (result.status === "error") {
  console.error(result.message);
  process.exit(1);
}
mkdirSync(out, { recursive: true });
writeFileSync(join(out, "channel.boc.hex"), Buffer.from(result.codeBoc64, "base64").toString("hex") + "\n");
console.log(result.codeHashHex.toLowerCase());
