// Checks the licences and sources of all crates against deny.toml, for machines without cargo-deny.
//
// An SPDX expression is allowed when `allow` satisfies it: one side of OR, both sides of AND. Licence
// texts are not compared with what the crates say of themselves; cargo-deny does that too.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

const CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index";

const list = /^allow = \[([^\]]*)\]/m.exec(readFileSync("deny.toml", "utf8"));
const allowed = new Set([...list[1].matchAll(/"([^"]+)"/g)].map(([, licence]) => licence));

const metadata = execFileSync("cargo", ["metadata", "--format-version", "1", "--locked", "--all-features"], {
  encoding: "utf8",
  maxBuffer: 256 * 1024 * 1024,
});
const { packages } = JSON.parse(metadata);
const problems = packages.flatMap(({ name, version, license, source }) => {
  if (source === null) return [];
  if (source !== CRATES_IO) return [`${name} ${version} comes from ${source}`];
  if (!license || !isAllowed(license)) return [`${name} ${version} has the licence ${license ?? "(none)"}`];
  return [];
});

for (const problem of problems) console.error(problem);
console.log(`${packages.length} crates, ${problems.length} that deny.toml does not allow`);
process.exit(problems.length === 0 ? 0 : 1);

// expression = term { OR term };  term = factor { AND factor };  factor = "(" expression ")" | id [ WITH id ]
function isAllowed(expression) {
  const tokens = expression.replaceAll("/", " OR ").match(/[()]|[^\s()]+/g);
  let at = 0;
  const either = () => {
    let is = both();
    while (tokens[at] === "OR") {
      at += 1;
      is = both() || is;
    }
    return is;
  };
  const both = () => {
    let is = one();
    while (tokens[at] === "AND") {
      at += 1;
      is = one() && is;
    }
    return is;
  };
  const one = () => {
    let id = tokens[at++];
    if (id === "(") {
      const is = either();
      at += 1;
      return is;
    }
    if (tokens[at] === "WITH") {
      id = `${id} WITH ${tokens[at + 1]}`;
      at += 2;
    }
    return allowed.has(id);
  };
  return either();
}
