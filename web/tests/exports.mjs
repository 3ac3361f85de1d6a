// What the module exports, without a browser.
//
// node exports.mjs MODEL.wasm
import assert from "node:assert/strict"
import { readFile } from "node:fs/promises"
import { test } from "node:test"
import { close, expected, mean } from "./expected.mjs"

const never = new Proxy({}, { get: (_, name) => () => { throw new Error(`${String(name)} is not there`) } })
const module = await WebAssembly.compile(await readFile(process.argv[2]))
const wasm = (await WebAssembly.instantiate(module, new Proxy({}, { get: () => never }))).exports

const bytes = (address, length) => new Uint8Array(wasm.memory.buffer, address, length)
const place = n => bytes(wasm.image(n), 784)
const answer = count => Array.from(new Float64Array(wasm.memory.buffer, wasm.answer(), count))
const steps = () => { const visited = []; for (let n; (n = wasm.step());) visited.push(answer(n)); return visited }

test("before the network is unpacked, nothing is answered", () => {
  assert.equal(wasm.step(), 0)
  assert.equal(wasm.look(1, 10), 0)
  assert.equal(wasm.load(), 1000)
})

test("a sample goes from T to 0, each step where the one before ended", () => {
  wasm.sample(1, 20, -1, 0)
  const visited = steps()
  assert.equal(visited.length, 20)
  assert.deepEqual([visited[0][0], visited.at(-1)[1]], [1000, 0])
  visited.slice(1).forEach(([from], i) => assert.equal(from, visited[i][1]))
  close(mean(place(3)), expected.sample.mean, 1e-3)
  assert.equal(wasm.step(), 0)
})

test("with a class that does not exist, any; with one, another image", () => {
  const drawn = klass => { wasm.sample(1, 5, klass, 2); steps(); return String(place(3)) }
  assert.equal(drawn(99), drawn(-1))
  assert.notEqual(drawn(3), drawn(-1))
})

test("filling in keeps what is known", () => {
  const image = Uint8Array.from({ length: 784 }, (_, i) => i % 251)
  place(0).set(image)
  bytes(wasm.known(), 784).fill(0).fill(1, 0, 392)
  wasm.fill(3, 5)
  steps()
  assert.deepEqual(place(3).slice(0, 392), image.slice(0, 392))
})

test("between an image and itself at a small depth lies the image", () => {
  const image = Uint8Array.from({ length: 784 }, () => 128)
  place(0).set(image); place(1).set(image)
  wasm.between(5, 10, 5, 0.5)
  steps()
  close(mean(place(3)), 128, 0.05)
})

test("depths outside the chain are its ends; the bound's parts add up, and there is a chart", () => {
  const looked = t => answer(wasm.look(7, t))
  assert.deepEqual(looked(0), looked(1))
  assert.deepEqual(looked(5000), looked(1000))
  const [L_T, L_t, L_0, sum, ...terms] = answer(wasm.bound(1, 3))
  close(L_T + L_t + L_0, sum, 1e-12)
  assert.equal(terms.length, 8)
  assert.match(new TextDecoder().decode(bytes(wasm.chart(), wasm.chart_length())), /^<svg.*<\/svg>\s*$/s)
})
