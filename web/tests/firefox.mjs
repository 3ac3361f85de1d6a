// The page in Firefox, from a folder without a server: the numbers of expected.json, and no fault.
//
// node firefox.mjs FOLDER       with puppeteer-core installed, and FIREFOX or /usr/bin/firefox-esr
import assert from "node:assert/strict"
import { readFile } from "node:fs/promises"
import { join, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import puppeteer from "puppeteer-core"

const folder = resolve(process.argv[2])
const expected = JSON.parse(await readFile(new URL("expected.json", import.meta.url)))
const close = (a, b, share) => assert.ok(Math.abs(a - b) <= share * Math.abs(b), `${a} instead of ${b}`)

const browser = await puppeteer.launch({ browser: "firefox", executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr", headless: true })
try {
  const page = await browser.newPage()
  const faults = []
  page.on("pageerror", error => faults.push(String(error)))
  await page.goto(pathToFileURL(join(folder, "index.html")).href)
  await page.waitForSelector("body[data-ready=yes]", { timeout: 60_000 })
  for (const { t, term, prior } of expected.looks) {
    await page.$eval("#t", (slider, t) => { slider.value = t; slider.dispatchEvent(new Event("input")) }, t)
    await page.waitForSelector(`#look-text[data-t="${t}"]`)
    const said = await page.$eval("#look-text", text => ({ ...text.dataset }))
    close(Number(said.term), term, 1e-4)
    close(Number(said.prior), prior, 1e-9)
  }
  await page.click("#bound")
  await page.waitForSelector("#terms[data-sum]", { timeout: 120_000 })
  close(Number(await page.$eval("#terms", terms => terms.dataset.sum)), expected.bound[3], 1e-4)
  await page.select("#sample select[name=steps]", "20")
  await page.click("#sample button")
  await page.waitForSelector("body[data-sample]", { timeout: 120_000 })
  const drawn = await page.$eval("#sample-x0", canvas => Array.from(canvas.getContext("2d").getImageData(0, 0, 28, 28).data.filter((_, i) => i % 4 === 0)))
  close(drawn.reduce((a, b) => a + b, 0) / drawn.length, expected.sample.mean, 1e-3)
  assert.deepEqual(faults, [])
  console.log(`ok - Firefox, 20 steps: ${await page.$eval("body", body => body.dataset.sample)} ms`)
} finally {
  await browser.close()
}
