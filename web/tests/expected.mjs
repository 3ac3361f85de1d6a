// What the native program says (expected.json), and how the page is held against it; for Playwright's pages and Puppeteer's.
import assert from "node:assert/strict"
import { readFile } from "node:fs/promises"

export const expected = JSON.parse(await readFile(new URL("expected.json", import.meta.url)))
export const mean = numbers => numbers.reduce((a, b) => a + b, 0) / numbers.length
export const close = (a, b, share) => assert.ok(Math.abs(a - b) <= share * Math.abs(b), `${a} instead of ${b}`)
export const levels = (page, id) => page.$eval(`#${id}`, canvas => Array.from(canvas.getContext("2d").getImageData(0, 0, 28, 28).data.filter((_, i) => i % 4 === 0)))

/** Every term that is known, and the bound. */
export async function terms(page) {
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
}
