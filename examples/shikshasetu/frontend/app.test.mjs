import assert from "node:assert";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { line, path } from "./src/app.js";

test("a grade is asked for by its number", () => {
  assert.equal(path(""), "/api/v1/curriculum/standards");
  assert.equal(path("6 &x"), "/api/v1/curriculum/standards?grade=6%20%26x");
});

test("a standard is one line", () => {
  assert.equal(line({ code: "SCI-6-01", description: "Explains." }), "SCI-6-01: Explains.");
});

test("the build names its assets by their content and its release", () => {
  const out = mkdtempSync(join(tmpdir(), "setu-"));
  execFileSync("sh", ["build.sh", out, "v7"]);
  const page = readFileSync(join(out, "index.html"), "utf8");
  const assets = readdirSync(join(out, "assets"));
  assert.equal(assets.length, 2);
  for (const name of assets) {
    assert.match(name, /^(app|style)\.[0-9a-f]{12}\.(js|css)$/);
    assert.ok(page.includes(`/assets/${name}"`));
  }
  assert.ok(page.includes('content="v7"'));
});
