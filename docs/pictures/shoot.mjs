// Takes pictures of pages with the browser of this machine.
//
//     node shoot.mjs JOBS.json
//
// JOBS.json: {"browser": path, "modules": folder, "jobs": [{"page": file, "out": file, "width": 375, "height": 800?,
// "dark": false, "scale": 1}]}. Without a height the picture is as tall as the page. Frames in the page grow to their
// content first.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { browser: executablePath, modules, jobs } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const puppeteer = createRequire(`${modules}/x.js`)("puppeteer-core");
const browser = await puppeteer.launch({ executablePath, args: ["--no-sandbox", "--hide-scrollbars", "--force-color-profile=srgb"], protocolTimeout: 1_200_000 });
const page = await browser.newPage();
for (const job of jobs) {
  await page.setViewport({ width: job.width, height: job.height ?? 600, deviceScaleFactor: job.scale ?? 1 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: job.dark ? "dark" : "light" }]);
  await page.goto(pathToFileURL(job.page).href, { waitUntil: "load" });
  await page.evaluate(() => {
    for (const frame of document.querySelectorAll("iframe:not(.cut)"))
      frame.style.height = `${frame.contentDocument.documentElement.scrollHeight}px`;
  });
  await page.screenshot({ path: job.out, fullPage: !job.height });
}
await browser.close();
