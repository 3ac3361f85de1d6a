// The model, in a thread of its own: the page stays alive while it computes. Its source is handed to a Worker as text, so
// that a folder opened without a server works as well.
function ddpmWorker() {
  const PIXELS = 784
  let wasm, newest = 0

  const bytes = (address, length) => new Uint8Array(wasm.memory.buffer, address, length)
  const place = n => bytes(wasm.image(n), PIXELS)
  const answer = count => Array.from(new Float64Array(wasm.memory.buffer, wasm.answer(), count))
  const put = (n, image) => { if (image) place(n).set(image) }
  const pause = () => new Promise(resolve => setTimeout(resolve)) // in which a newer question may arrive

  /** Steps until the chain ends or a newer chain begins. */
  async function walk(id) {
    for (;;) {
      const count = wasm.step()
      if (count === 0) return postMessage({ id, done: true })
      const [from, to] = answer(count)
      postMessage({ id, from, to, x: place(2).slice(), x0: place(3).slice() })
      await pause()
      if (id !== newest) return postMessage({ id, done: true, superseded: true })
    }
  }

  const questions = {
    async load({ id, module }) {
      // plotters brings calls of a browser's canvas along, which nothing here makes
      const never = new Proxy({}, { get: (_, name) => () => { throw new Error(`${String(name)} is not there`) } })
      wasm = (await WebAssembly.instantiate(module, new Proxy({}, { get: () => never }))).exports
      postMessage({ id, T: wasm.load(), done: true })
    },
    sample({ id, seed, steps, klass, w }) { wasm.sample(seed, steps, klass, w); return walk(id) },
    between({ id, seed, steps, a, b, t, lambda }) { put(0, a); put(1, b); wasm.between(seed, steps, t, lambda); return walk(id) },
    fill({ id, seed, steps, a, known }) { put(0, a); bytes(wasm.known(), PIXELS).set(known); wasm.fill(seed, steps); return walk(id) },
    look({ id, seed, a, t }) {
      put(0, a)
      const [term, prior] = answer(wasm.look(seed, t))
      postMessage({ id, t, term, prior, x: place(2).slice(), x0: place(3).slice(), done: true })
    },
    bound({ id, seed, a, count }) {
      put(0, a)
      const [L_T, L_t, L_0, sum] = answer(wasm.bound(seed, count))
      const chart = new TextDecoder().decode(bytes(wasm.chart(), wasm.chart_length()))
      postMessage({ id, L_T, L_t, L_0, sum, chart, done: true })
    },
  }

  onmessage = async ({ data }) => {
    if (["sample", "between", "fill"].includes(data.op)) newest = data.id
    try { await questions[data.op](data) } catch (error) { postMessage({ id: data.id, error: String(error), done: true }) }
  }
}
