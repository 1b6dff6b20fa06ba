// The console in a browser: looked at by what it says, used by pressing and typing.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Builder, By, logging } from "selenium-webdriver";
import chrome from "selenium-webdriver/chrome.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SOON = 8000;

/** Asks until it is so; what it was last asked came to is in the error. */
export async function until(what, question, limit = SOON) {
  const deadline = Date.now() + limit;
  for (;;) {
    let found;
    try {
      found = await question();
    } catch (error) {
      // What was looked at may have been drawn anew meanwhile.
      if (error.name !== "StaleElementReferenceError") throw error;
    }
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`after ${limit} ms still not: ${what}`);
    await sleep(25);
  }
}

export class Page {
  static async open(url, screenshots) {
    const options = new chrome.Options().setChromeBinaryPath("/usr/bin/chromium");
    options.addArguments(
      "--headless=new",
      "--no-sandbox",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--window-size=1360,900",
      "--force-device-scale-factor=1",
    );
    const wanted = new logging.Preferences();
    wanted.setLevel(logging.Type.BROWSER, logging.Level.ALL);
    options.setLoggingPrefs(wanted);
    const one = new Page();
    one.driver = await new Builder()
      .forBrowser("chrome")
      .setChromeOptions(options)
      .setChromeService(new chrome.ServiceBuilder("/usr/bin/chromedriver"))
      .build();
    Object.assign(one, { url, screenshots, clicks: 0, logged: [] });
    await one.driver.sendDevToolsCommand("Page.addScriptToEvaluateOnNewDocument", { source: WATCHER });
    return one;
  }

  async go(hash) {
    const here = await this.driver.getCurrentUrl();
    if (here.startsWith(`${this.url}/`)) await this.driver.executeScript("location.hash = arguments[0]", hash);
    else await this.driver.get(`${this.url}/${hash}`);
  }

  /** What is to be read on the page, or in a part of it. */
  async text(selector = "body") {
    const [found] = await this.driver.findElements(By.css(selector));
    return found ? found.getText() : "";
  }

  async says(words, selector = "main", limit = SOON) {
    const missing = async () => [words].flat().filter((word) => !this.seen.includes(word));
    await until(
      `${selector} says ${JSON.stringify(words)}`,
      async () => {
        this.seen = await this.text(selector);
        return (await missing()).length === 0;
      },
      limit,
    ).catch((error) => {
      throw new Error(`${error.message}; it says: ${this.seen.slice(0, 1500)}`);
    });
  }

  find(selector, word = "") {
    return until(`${selector} with ${JSON.stringify(word)}`, async () => {
      for (const each of await this.driver.findElements(By.css(selector))) {
        if ((await each.isDisplayed()) && (await each.getText()).includes(word)) return each;
      }
      return null;
    });
  }

  async press(selector, word = "") {
    await until(`${selector} with ${JSON.stringify(word)} can be pressed`, async () => {
      const found = await this.find(selector, word);
      try {
        await found.click();
        return true;
      } catch (error) {
        if (!["ElementClickInterceptedError", "StaleElementReferenceError", "ElementNotInteractableError"].includes(error.name))
          throw error;
        return false;
      }
    });
    this.clicks += 1;
  }

  async type(selector, text) {
    const field = await this.find(selector);
    await field.clear();
    await field.sendKeys(text);
    return field;
  }

  async isDark(dark) {
    await this.driver.sendDevToolsCommand("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }],
    });
  }

  async screenshot(name) {
    writeFileSync(path.join(this.screenshots, `${name}.png`), await this.driver.takeScreenshot(), "base64");
  }

  /** What axe finds to be serious or critical. */
  async axe() {
    const loaded = await this.driver.executeScript("return typeof axe");
    if (loaded !== "object") await this.driver.executeScript(AXE);
    const { violations } = await this.driver.executeAsyncScript(
      "const done = arguments[arguments.length - 1]; axe.run(document, { resultTypes: ['violations'] }).then(done, (error) => done({ violations: [{ impact: 'critical', id: String(error), nodes: [] }] }))",
    );
    return violations
      .filter(({ impact }) => ["serious", "critical"].includes(impact))
      .map(
        ({ id, nodes }) =>
          `${id}: ${nodes
            .map(({ html, any }) => `${html.slice(0, 120)} (${any?.[0]?.message ?? ""})`)
            .slice(0, 3)
            .join(" | ")}`,
      );
  }

  /** What payloads must not have brought about: their scripts, dialogs, and what the policy had to stop. */
  async harm() {
    const said = await this.driver.manage().logs().get(logging.Type.BROWSER);
    this.logged.push(...said.map(({ level, message }) => `${level.name}: ${message}`));
    return this.driver.executeScript(
      "return { pwned: window.__pwned ?? null, alerts: window.__alerts, violations: window.__violations, errors: window.__errors }",
    );
  }

  async close() {
    await this.driver.quit();
  }
}

const WATCHER = `
  window.__alerts = []; window.__violations = []; window.__errors = [];
  for (const name of ["alert", "confirm", "prompt"]) window[name] = (text) => { window.__alerts.push(String(text)); };
  document.addEventListener("securitypolicyviolation", (event) => window.__violations.push(event.violatedDirective + " " + event.blockedURI));
  addEventListener("error", (event) => window.__errors.push(event.message));
  addEventListener("unhandledrejection", (event) => window.__errors.push(String(event.reason)));
`;
