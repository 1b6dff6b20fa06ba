// What is checked, and how it went.

import { isDeepStrictEqual, parseArgs } from "node:util";

export const { values: given } = parseArgs({ options: { hookgate: { type: "string" }, only: { type: "string" } } });
export const counts = { passed: 0, failed: 0 };

/** One thing that must hold; a failure is told at once, and the others are checked all the same. */
export async function check(what, body, page) {
  if (given.only && !what.includes(given.only)) return;
  const began = Date.now();
  try {
    await body();
    counts.passed += 1;
    console.log(`ok      ${what} (${Date.now() - began} ms)`);
  } catch (error) {
    counts.failed += 1;
    console.log(`FAILED  ${what}: ${error.message}`);
    await page?.screenshot(`failed-${counts.failed}`).catch(() => {});
    // No question of it is left for the next.
    await page?.driver.navigate().refresh();
  }
}

export function equal(found, wanted, what) {
  if (!isDeepStrictEqual(found, wanted)) throw new Error(`${what}: found ${JSON.stringify(found)}, wanted ${JSON.stringify(wanted)}`);
}
