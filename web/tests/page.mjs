// The page in a browser: each thing that a reader can do, and what the model says, beside what it says elsewhere.
//
// node page.mjs FOLDER [SCREENSHOTS]       with playwright-core and axe-core installed, and CHROMIUM or /usr/bin/chromium
import assert from "node:assert/strict"
import { createServer } from "node:http"
import { readFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { extname, join, resolve } from "node:path"
import { test, before, after } from "node:test"
import { pathToFileURL } from "node:url"
import { chromium } from "playwright-core"
import { close, expected, levels, mean, terms } from "./expected.mjs"

const [folder, pictures] = process.argv.slice(2).map(path => resolve(path))
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js")
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" }
let server, browser, address

before(async () => {
  server = createServer(async ({ url }, response) => {
    try {
      const path = join(folder, decodeURIComponent(new URL(url, "http://x").pathname))
      const bytes = await readFile(path.endsWith("/") ? join(path, "index.html") : path)
      response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "text/html" }).end(bytes)
    } catch { response.writeHead(404).end() }
  })
  await new Promise(done => server.listen(0, "127.0.0.1", done))
  address = `http://127.0.0.1:${server.address().port}/`
  const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args })
})
after(async () => { await browser.close(); server.close() })

async function open(url = address, width = 1440, prepare = async () => {}) {
  const page = await browser.newPage({ viewport: { width, height: 900 } })
  const faults = [], foreign = []
  page.on("pageerror", error => faults.push(String(error)))
  page.on("request", request => { if (!request.url().startsWith(address) && !/^(blob|data|file):/.test(request.url())) foreign.push(request.url()) })
  await prepare(page)
  await page.goto(url)
  return { page, faults, foreign }
}
const ready = page => page.waitForSelector("body[data-ready=yes]", { timeout: 60_000 })

test("a garment is drawn, within seconds, and no request leaves", { timeout: 120_000 }, async () => {
  const { page, faults, foreign } = await open()
  await ready(page)
  await page.selectOption("#sample select[name=steps]", "20")
  await page.click("#sample button")
  await page.waitForSelector("body[data-sample]", { timeout: 60_000 })
  console.log(`# 20 steps: ${await page.$eval("body", body => body.dataset.sample)} ms`)
  const drawn = await levels(page, "sample-x0")
  close(mean(drawn), expected.sample.mean, 1e-3)
  assert.match(await page.textContent("#paid-text"), /bits per pixel/)
  assert.deepEqual([faults, foreign], [[], []])
  await page.close()
})

test("nine at once, by several workers, are nine different ones", { timeout: 180_000 }, async () => {
  const { page, faults, foreign } = await open()
  await ready(page)
  await page.selectOption("#sample select[name=steps]", "20")
  await page.click("#sheet")
  await page.waitForFunction(() => /Nine garments/.test(document.querySelector("#sheet-text").textContent), null, { timeout: 150_000 })
  console.log(`# ${await page.textContent("#sheet-text")}`)
  const sheet = await Promise.all(Array.from({ length: 9 }, (_, n) => levels(page, `sheet-${n}`)))
  assert.equal(new Set(sheet.map(String)).size, 9)
  sheet.forEach(image => assert.ok(mean(image) > 5))
  close(mean(sheet[0]), expected.sample.mean, 1e-3) // seed 1, whichever worker drew it
  assert.deepEqual([faults, foreign], [[], []])
  await page.close()
})

test("an image is taken apart: the terms are those of the native program", { timeout: 120_000 }, async () => {
  const { page, faults } = await open()
  await ready(page)
  await terms(page)
  await page.waitForFunction(() => document.querySelector("#chart").naturalWidth > 0) // the library's figure is one
  assert.deepEqual(faults, [])
  await page.close()
})

test("with the keyboard alone: another image, another depth", { timeout: 120_000 }, async () => {
  const { page, faults } = await open()
  await ready(page)
  await page.focus("#gallery button[aria-checked=true]")
  const first = await levels(page, "image")
  await page.keyboard.press("ArrowRight")
  assert.notDeepEqual(await levels(page, "image"), first)
  await page.focus("#between input[name=t]")
  await page.keyboard.press("ArrowLeft")
  await page.focus("#between button")
  await page.keyboard.press("Enter")
  await page.waitForFunction(() => document.querySelector("#between-x0").getContext("2d").getImageData(0, 0, 28, 28).data.some((level, i) => i % 4 < 3 && level > 0))
  assert.deepEqual(faults, [])
  await page.close()
})

test("what is erased is filled in, and what is known stays", { timeout: 120_000 }, async () => {
  const { page } = await open()
  await ready(page)
  await page.selectOption("#fill select[name=half]", "upper")
  const image = await levels(page, "image")
  const seen = await levels(page, "fill-known")
  assert.deepEqual(seen.slice(392), image.slice(392))
  assert.ok(seen.slice(0, 392).every(level => level === 96))
  await page.click("#fill button")
  await page.waitForFunction(() => document.querySelector("#fill-x0").getContext("2d").getImageData(0, 0, 28, 28).data.some((level, i) => i % 4 < 3 && level > 100), null, { timeout: 60_000 })
  await page.close()
})

test("pictures of one's own: cropped, or refused with a sentence", { timeout: 120_000 }, async () => {
  const { page, faults } = await open()
  await ready(page)
  await page.setInputFiles("#file", { name: "broken.png", mimeType: "image/png", buffer: Buffer.from("not a picture") })
  await page.waitForFunction(() => document.querySelector("#file-text").textContent.includes("broken.png is not a picture"))
  const png = await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(90, 60), context = canvas.getContext("2d")
    context.fillStyle = "#fff"; context.fillRect(0, 0, 90, 60)
    return Array.from(new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer()))
  })
  await page.setInputFiles("#file", { name: "white.png", mimeType: "image/png", buffer: Buffer.from(png) })
  await page.waitForFunction(() => document.querySelector("#file-text").textContent.includes("90×60"))
  assert.ok((await levels(page, "image")).every(level => level === 255))
  await page.click("#draw")
  const box = await (await page.$("#image")).boundingBox()
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 4)
  await page.mouse.down()
  await page.mouse.move(box.x + box.width / 2, box.y + 3 * box.height / 4, { steps: 8 })
  await page.mouse.up()
  const drawn = await levels(page, "image")
  assert.ok(drawn[14 * 28 + 14] > 150 && drawn[0] === 0)
  assert.deepEqual(faults, [])
  await page.close()
})

test("from a folder, without a server", { timeout: 120_000 }, async () => {
  const { page, faults } = await open(pathToFileURL(join(folder, "index.html")).href)
  await ready(page)
  assert.deepEqual(faults, [])
  await page.close()
})

test("a browser without SIMD gets a word", { timeout: 120_000 }, async () => {
  const { page } = await open(address, 1440, page => page.addInitScript(() => { WebAssembly.validate = () => false }))
  await page.waitForFunction(() => document.querySelector("#status").textContent.includes("no WebAssembly SIMD"))
  await page.close()
})

test("labels, contrast and order: no violation that axe knows", { timeout: 120_000 }, async () => {
  const { page } = await open()
  await ready(page)
  await page.addScriptTag({ path: axe })
  const { violations } = await page.evaluate(() => axe.run())
  assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(node => node.html)]), [])
  await page.close()
})

for (const width of [360, 768, 1440]) {
  test(`nothing is cut off at ${width} pixels`, { timeout: 120_000 }, async () => {
    const { page } = await open(address, width)
    await ready(page)
    await page.click("#sample button")
    await page.waitForSelector("body[data-sample]", { timeout: 60_000 })
    await page.click("#bound")
    await page.waitForSelector("#terms[data-sum]")
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth))
    if (pictures) await page.screenshot({ path: join(pictures, `${width}.png`), fullPage: true })
    await page.close()
  })
}
