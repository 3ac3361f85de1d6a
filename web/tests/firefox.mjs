// The page in Firefox, from a folder without a server: the numbers of expected.json, and no fault.
//
// node firefox.mjs FOLDER       with puppeteer-core installed, and FIREFOX or /usr/bin/firefox-esr
import assert from "node:assert/strict"
import { join, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import puppeteer from "puppeteer-core"
import { close, expected, levels, mean, terms } from "./expected.mjs"

const folder = resolve(process.argv[2])

const browser = await puppeteer.launch({ browser: "firefox", executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr", headless: true })
try {
  const page = await browser.newPage()
  const faults = []
  page.on("pageerror", error => faults.push(String(error)))
  await page.goto(pathToFileURL(join(folder, "index.html")).href)
  await page.waitForSelector("body[data-ready=yes]", { timeout: 60_000 })
  await terms(page)
  await page.select("#sample select[name=steps]", "20")
  await page.click("#sample button")
  await page.waitForSelector("body[data-sample]", { timeout: 120_000 })
  close(mean(await levels(page, "sample-x0")), expected.sample.mean, 1e-3)
  assert.deepEqual(faults, [])
  console.log(`ok - Firefox, 20 steps: ${await page.$eval("body", body => body.dataset.sample)} ms`)
} finally {
  await browser.close()
}
