// node compile.js <package folder> <out folder>: compiles the contracts and the contracts of the tests, writes ABI and bytecode of each and
// what compiled them. Names of sources are relative to the package folder, so the output is the same wherever it lies.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import solc from "solc";

const [folder, out] = process.argv.slice(2);
if (!out) {
  console.error("usage: node compile.js <package folder> <out folder>");
  process.exit(2);
}

// Where sources lie, and where what they compile to goes.
const folders = { src: "", "test-contracts": "test-contracts" };
const settings = {
  viaIR: true,
  optimizer: { enabled: true, runs: 200 },
  evmVersion: "cancun",
  // No hash of sources and comments at the end: the bytes are those of the code alone.
  metadata: { appendCBOR: false, bytecodeHash: "none" },
};

const sources = {};
for (const part of Object.keys(folders)) {
  for (const file of readdirSync(join(folder, part)).filter((name) => name.endsWith(".sol"))) {
    sources[`${part}/${file}`] = { content: readFileSync(join(folder, part, file), "utf8") };
  }
}
const outputSelection = { "*": { "*": ["abi", "evm.bytecode.object"] } };
const compiled = JSON.parse(
  solc.compile(JSON.stringify({ language: "Solidity", sources, settings: { ...settings, outputSelection } })),
);
const problems = (compiled.errors ?? []).filter((problem) => problem.severity !== "info");
if (problems.length > 0) {
  console.error(problems.map((problem) => problem.formattedMessage).join("\n"));
  process.exit(1);
}

for (const [file, contracts] of Object.entries(compiled.contracts)) {
  const to = join(out, folders[dirname(file)]);
  mkdirSync(to, { recursive: true });
  for (const [name, contract] of Object.entries(contracts)) {
    const code = contract.evm.bytecode.object;
    if (code === "") continue; // abstract
    writeFileSync(join(to, `${name}.abi.json`), JSON.stringify(contract.abi, null, 1) + "\n");
    writeFileSync(join(to, `${name}.hex`), code + "\n");
  }
}
writeFileSync(join(out, "compiler.json"), JSON.stringify({ compiler: `solc ${solc.version()}`, settings }, null, 1) + "\n");
