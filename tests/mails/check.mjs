// Holds mails against axe, caniemail and the width of screens.
//
//     node check.mjs JOBS.json
//
// JOBS.json: {"browser": path, "modules": folder, "mails": [{"name": "…", "file": path}], "known": {title: reason}}.
// Prints one JSON object: {"problems": ["name: sentence", …], "features": {title: clients without it}}.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { browser: executablePath, modules, mails, known } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const fromThere = createRequire(`${modules}/x.js`);
const puppeteer = fromThere("puppeteer-core");
const axe = readFileSync(`${modules}/axe-core/axe.min.js`, "utf8");
const { caniemail } = await import(pathToFileURL(`${modules}/caniemail/dist/index.js`).href);

const CLIENTS = ["gmail.*", "apple-mail.*", "outlook.windows", "outlook.windows-mail", "outlook.outlook-com", "outlook.ios",
  "outlook.android", "outlook.macos", "yahoo.*"];
const WIDTHS = [320, 375, 700];
const problems = [];
const features = {};

const browser = await puppeteer.launch({ executablePath, args: ["--no-sandbox"], protocolTimeout: 1_200_000 });
const page = await browser.newPage();
for (const { name, file } of mails) {
  const html = readFileSync(file, "utf8");
  supported(name, html);
  await page.setViewport({ width: 375, height: 800 });
  for (const scheme of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await page.goto(pathToFileURL(file).href, { waitUntil: "load" });
    await accessible(name, scheme);
  }
  await fits(name, "");
  await page.evaluate(() => document.querySelectorAll("style").forEach((style) => (style.disabled = true)));
  await fits(name, " without <style>", WIDTHS.slice(1));
  await page.evaluate(() => document.querySelectorAll("style").forEach((style) => (style.disabled = false)));
  await page.evaluate(() => document.querySelectorAll("img").forEach((img) => img.removeAttribute("src")));
  await fits(name, " without pictures");
  await page.evaluate(() => {
    const sizes = [...document.querySelectorAll("body *")].map((element) => [element, parseFloat(getComputedStyle(element).fontSize)]);
    for (const [element, size] of sizes) if (size > 2) element.style.setProperty("font-size", `${size * 2}px`, "important");
    for (const element of document.querySelectorAll("[style*=line-height]")) element.style.lineHeight = "1.4";
  });
  await fits(name, " with text of twice the size");
}
await browser.close();
process.stdout.write(JSON.stringify({ problems, features: Object.fromEntries(Object.entries(features).map(([title, clients]) => [title, [...clients]])) }));

// Who does not read <style> sees a whole mail (that is looked at below); what stands on the elements must be understood.
function supported(name, html) {
  const { issues } = caniemail({ clients: CLIENTS, html: html.replace(/<style[^]*?<\/style>/g, "") });
  for (const [client, found] of issues.errors.entries())
    for (const { title } of found) {
      if (!(title in known) && !features[title])
        problems.push(`${name}: ${title} is not known to ${client}, and there is no fallback`);
      (features[title] ??= new Set()).add(client);
    }
}

async function accessible(name, scheme) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, help, nodes } of violations)
    if (impact === "serious" || impact === "critical")
      problems.push(`${name} (${scheme}): ${id}, ${help}: ${nodes[0].html.slice(0, 160)} ${nodes[0].any[0]?.message ?? ""}`);
}

async function fits(name, how, widths = WIDTHS) {
  for (const width of widths) {
    await page.setViewport({ width, height: 800 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    if (wide > width) problems.push(`${name}: ${wide} pixels wide on a screen of ${width}${how}`);
    const cut = await page.evaluate(beyond, width);
    if (cut) problems.push(`${name}: "${cut}" is cut off on a screen of ${width}${how}`);
  }
}

// A sheet with round corners hides what is wider than itself, so that the page is never too wide: its words are looked at.
function beyond(width) {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    if (!text.data.trim() || getComputedStyle(text.parentElement).display === "none") continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    const { right, width: wide } = range.getBoundingClientRect();
    if (wide && right > width + 1) return text.data.trim().slice(0, 40);
  }
  return "";
}
