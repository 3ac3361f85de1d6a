// The page: what is chosen, asked and shown. The mathematics is the crate's, behind the worker.
(() => {
  const $ = id => document.getElementById(id)
  const PIXELS = 784
  const decode = text => Uint8Array.from(atob(text), c => c.charCodeAt(0))
  const garments = decode(DATA.garments)
  const garment = n => garments.slice(n * PIXELS, (n + 1) * PIXELS)
  const state = { a: garment(0), b: garment(9), seed: 1, drawing: false }

  // ---- the workers, each with a model of its own: the first answers the reader, others come when many images are asked for.
  // Answers come by the question's number.
  const workers = []
  let compiled, asked = 0
  const listeners = new Map()
  function ask(message, onAnswer, worker = workers[0]) {
    const id = ++asked
    listeners.set(id, onAnswer)
    worker.postMessage({ id, ...message })
  }
  function begin(onReady) {
    const worker = new Worker(URL.createObjectURL(new Blob([`(${ddpmWorker})()`], { type: "text/javascript" })))
    worker.onmessage = ({ data }) => {
      const listener = listeners.get(data.id)
      if (data.done) listeners.delete(data.id)
      if (data.error) return say(`Something went wrong: ${data.error}`)
      listener?.(data)
    }
    workers.push(worker)
    ask({ op: "load", module: compiled }, onReady, worker)
  }

  // ---- loading
  const say = text => { $("status").textContent = text }
  // (module (func (result v128) (v128.const i32x4 0 0 0 0)))
  const simd = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 22, 1, 20, 0, 253, 12, ...new Array(16).fill(0), 11])
  async function bytesOfModel() {
    try {
      const response = await fetch("model.wasm")
      const size = Number(response.headers.get("content-length")) || DATA.size
      const parts = [], reader = response.body.getReader()
      let got = 0
      for (let part; !(part = await reader.read()).done;) {
        parts.push(part.value)
        got += part.value.length
        $("loading").value = Math.min(got / size, 1)
      }
      return new Uint8Array(await new Blob(parts).arrayBuffer())
    } catch { // a folder without a server: the same as a script
      await new Promise((resolve, reject) => {
        const script = document.createElement("script")
        Object.assign(script, { src: "model.js", onload: resolve, onerror: () => reject(new Error("the network could not be loaded")) })
        document.head.append(script)
      })
      return decode(MODEL)
    }
  }
  async function load() {
    if (typeof WebAssembly !== "object" || !WebAssembly.validate(simd)) {
      $("loading").hidden = true
      return say("This browser has no WebAssembly SIMD, which the model needs: Chrome 91, Firefox 89, Safari 16.4 or newer have it. The course and the results can be read all the same.")
    }
    try { compiled = await WebAssembly.compile(await bytesOfModel()) } catch (error) { return say(`${error.message}.`) }
    begin(({ T }) => {
      $("loading").hidden = true
      if (T !== 1000) return say("The network could not be unpacked.")
      say("Ready.")
      document.querySelectorAll("button, #t").forEach(control => { control.disabled = false })
      document.body.dataset.ready = "yes"
      look()
    })
  }

  // ---- images
  function show(canvas, levels) {
    const image = new ImageData(28, 28)
    levels.forEach((level, i) => image.data.set([level, level, level, 255], 4 * i))
    $(canvas).getContext("2d").putImageData(image, 0, 0)
  }
  function gallery(id, chosen, choose) {
    DATA.labels.forEach((label, n) => {
      const button = document.createElement("button")
      Object.assign(button, { type: "button", title: label })
      button.setAttribute("role", "radio")
      button.setAttribute("aria-label", `${label}, image ${n + 1}`)
      button.setAttribute("aria-checked", n === chosen)
      button.tabIndex = n === chosen ? 0 : -1
      const canvas = document.createElement("canvas")
      Object.assign(canvas, { width: 28, height: 28, id: `${id}-${n}` })
      button.append(canvas)
      button.addEventListener("click", () => pick(n))
      button.addEventListener("keydown", event => {
        const to = { ArrowRight: n + 1, ArrowDown: n + 1, ArrowLeft: n - 1, ArrowUp: n - 1 }[event.key]
        if (to === undefined) return
        event.preventDefault()
        pick((to + DATA.labels.length) % DATA.labels.length)
      })
      $(id).append(button)
      show(canvas.id, garment(n))
    })
    const buttons = [...$(id).children]
    function pick(n) {
      buttons.forEach((button, i) => { button.setAttribute("aria-checked", i === n); button.tabIndex = i === n ? 0 : -1 })
      if ($(id).contains(document.activeElement)) buttons[n].focus()
      choose(garment(n))
    }
  }
  function chosen(image, text = "") {
    state.a = image
    $("file-text").textContent = text
    $("terms").hidden = true
    show("image", image); show("between-a", image); erased(); look()
  }

  // ---- draw one
  const button = document.querySelector("#sample button")
  $("sample").addEventListener("submit", event => {
    event.preventDefault()
    const form = new FormData(event.target)
    button.textContent = "Draw another"
    const begun = performance.now()
    ask({ op: "sample", seed: state.seed++, steps: Number(form.get("steps")), klass: Number(form.get("class")), w: Number(form.get("w")) }, answer => {
      if (answer.superseded) return
      if (answer.done) { document.body.dataset.sample = Math.round(performance.now() - begun); return }
      show("sample-x", answer.x); show("sample-x0", answer.x0); pay(answer.to)
    })
  })
  /** Nine at once, shared out among as many models as there are cores, four at most. */
  $("sheet").addEventListener("click", () => {
    const form = new FormData($("sample")), begun = performance.now()
    const many = Math.min(navigator.hardwareConcurrency || 1, 4)
    $("sheet").disabled = true
    $("sheet-images").hidden = false
    let next = 0, left = 9
    const draw = worker => {
      if (next === 9) return
      const canvas = `sheet-${next++}`
      ask({ op: "sample", seed: state.seed++, steps: Number(form.get("steps")), klass: Number(form.get("class")), w: Number(form.get("w")) }, answer => {
        if (!answer.done) return show(canvas, answer.x0)
        if (--left === 0) {
          $("sheet").disabled = false
          $("sheet-text").textContent = `Nine garments in ${((performance.now() - begun) / 1000).toFixed(1)} s, by ${many === 1 ? "one worker" : `${many} workers`}.`
        } else draw(worker)
      }, worker)
    }
    for (let n = 0; n < many; n++) if (workers[n]) draw(workers[n]); else begin(() => draw(workers[n]))
  })
  /** What a garment has cost down to t, on average, of all that it costs. */
  function pay(t) {
    const paid = DATA.paid[t], all = DATA.paid[0]
    $("paid").style.width = `${100 * paid / all}%`
    $("paid-text").textContent = t > 0
      ? `t = ${t}: of ${all.toFixed(2)} bits per pixel, ${paid.toFixed(paid < 0.1 ? 3 : 2)} are paid down to here, on average over test images.`
      : `At the end a garment has cost ${all.toFixed(2)} bits per pixel on average; most of them in the last steps, for what nobody sees.`
  }

  // ---- take an image apart
  let wanted = null, looking = false
  function look() {
    if (!document.body.dataset.ready) return
    if (looking) { wanted = true; return }
    looking = true
    const t = Number($("t").value)
    ask({ op: "look", seed: 7, a: state.a, t }, ({ term, prior, x, x0 }) => {
      show("look-x", x); show("look-x0", x0)
      const name = t === 1 ? "L_0" : `L_${t - 1}`
      const digits = bits => bits < 1e-3 ? bits.toExponential(1) : bits.toFixed(4)
      $("look-text").textContent = `Step t = ${t} costs this image ${name} = ${digits(term)} bits per pixel with this noise; L_T = ${digits(prior)}.`
      Object.assign($("look-text").dataset, { t, term, prior })
      looking = false
      if (wanted) { wanted = null; look() }
    })
  }
  $("t").addEventListener("input", () => { document.querySelector("output[for=t]").value = $("t").value; look() })
  $("bound").addEventListener("click", () => {
    $("bound").disabled = true
    $("look-text").textContent = "Adding up …"
    ask({ op: "bound", seed: 1, a: state.a, count: 40 }, answer => { $("bound").disabled = false; bound(answer) })
  })
  function bound({ L_T, L_t, L_0, sum, chart }) {
    $("terms").hidden = false
    $("parts").replaceChildren(...[["L_T", L_T], ["L_t", L_t], ["L_0", L_0]].map(([name, bits]) => {
      const part = document.createElement("div")
      part.className = name
      part.style.flex = `${Math.max(bits, 0)} 0 0`
      return part
    }))
    const text = `L_T = ${L_T.toExponential(1)}, Σ L_{t−1} = ${L_t.toFixed(2)}, L_0 = ${L_0.toFixed(2)}: together ${sum.toFixed(2)} bits per pixel, estimated from 41 of the 1000 steps.`
    $("look-text").textContent = text
    Object.assign($("terms").dataset, { lt: L_t, l0: L_0, sum })
    $("chart").src = URL.createObjectURL(new Blob([chart], { type: "image/svg+xml" }))
    $("chart-text").textContent = "Bits per pixel of single steps, over t; both axes are logarithmic. The bar above has Σ L_{t−1} (blue) and L_0 (grey) side by side; L_T is too little to be seen."
  }
  /** A picture of any kind and size, as what the network can see: its middle square, grey, 28×28. */
  $("file").addEventListener("change", async event => {
    const file = event.target.files[0]
    if (!file) return
    try {
      const picture = await createImageBitmap(file)
      const side = Math.min(picture.width, picture.height)
      const canvas = new OffscreenCanvas(28, 28), context = canvas.getContext("2d")
      context.imageSmoothingQuality = "high"
      context.fillRect(0, 0, 28, 28)
      context.drawImage(picture, (picture.width - side) / 2, (picture.height - side) / 2, side, side, 0, 0, 28, 28)
      const { data } = context.getImageData(0, 0, 28, 28)
      const levels = new Uint8Array(PIXELS).map((_, i) => Math.round(0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]))
      chosen($("invert").checked ? levels.map(level => 255 - level) : levels,
        `${file.name}: ${picture.width}×${picture.height} pixels; its middle square, in grey and 28×28, is what the network sees.`)
    } catch {
      $("file-text").textContent = `${file.name} is not a picture that this browser can read.`
    }
    event.target.value = ""
  })
  $("draw").addEventListener("click", () => {
    state.drawing = true
    chosen(new Uint8Array(PIXELS), "Draw on the image with mouse or finger; light on dark.")
    $("image").focus()
  })
  $("image").addEventListener("pointermove", event => { if (event.buttons) stroke(event) })
  $("image").addEventListener("pointerdown", event => { if (state.drawing) { event.preventDefault(); stroke(event) } })
  $("image").style.touchAction = "none"
  function stroke({ offsetX, offsetY, target }) {
    if (!state.drawing) return
    const cx = 28 * offsetX / target.clientWidth, cy = 28 * offsetY / target.clientHeight
    state.a = state.a.map((level, i) => {
      const distance = Math.hypot(i % 28 + 0.5 - cx, Math.floor(i / 28) + 0.5 - cy)
      return Math.max(level, Math.round(230 * Math.min(Math.max(2 - distance, 0), 1)))
    })
    show("image", state.a); show("between-a", state.a); erased(); look()
  }

  // ---- between two images
  $("between").addEventListener("submit", event => {
    event.preventDefault()
    const form = new FormData(event.target)
    ask({ op: "between", seed: 5, steps: 50, a: state.a, b: state.b, t: Number(form.get("t")), lambda: Number(form.get("lambda")) },
      answer => { if (!answer.done) show("between-x0", answer.x0) })
  })

  // ---- fill in
  const isKnown = { lower: i => i < PIXELS / 2, upper: i => i >= PIXELS / 2, left: i => i % 28 >= 14, right: i => i % 28 < 14 }
  const known = () => Uint8Array.from({ length: PIXELS }, (_, i) => Number(isKnown[$("fill").elements.half.value](i)))
  function erased() { const mask = known(); show("fill-known", state.a.map((level, i) => mask[i] ? level : 96)) }
  $("fill").elements.half.addEventListener("change", erased)
  $("fill").addEventListener("submit", event => {
    event.preventDefault()
    ask({ op: "fill", seed: state.seed++, steps: 50, a: state.a, known: known() }, answer => { if (!answer.done) show("fill-x0", answer.x0) })
  })

  // ---- search
  $("search").addEventListener("input", () => {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean)
    const hits = words.length ? INDEX.filter(({ text }) => words.every(word => text.includes(word))).slice(0, 12) : []
    $("found").replaceChildren(...hits.map(({ title, heading, url }) => {
      const item = document.createElement("li"), link = document.createElement("a")
      Object.assign(link, { href: url, textContent: `${title}: ${heading}` })
      item.append(link)
      return item
    }))
  })

  document.querySelectorAll("form input[type=range]").forEach(input => input.addEventListener("input", () => { input.nextElementSibling.value = input.value }))
  DATA.classes.forEach((name, n) => $("sample").elements.class.add(new Option(name, n)))
  gallery("gallery", 0, image => { state.drawing = false; chosen(image) })
  gallery("gallery-b", 9, image => { state.b = image; show("between-b", image) })
  chosen(state.a); show("between-b", state.b)
  for (let n = 0; n < 9; n++) {
    const canvas = document.createElement("canvas")
    Object.assign(canvas, { id: `sheet-${n}`, width: 28, height: 28 })
    canvas.setAttribute("role", "img")
    canvas.setAttribute("aria-label", `Garment ${n + 1} of nine`)
    $("sheet-images").append(canvas)
    show(canvas.id, new Uint8Array(PIXELS))
  }
  for (const id of ["sample-x", "sample-x0", "look-x", "look-x0", "between-x0", "fill-x0"]) show(id, new Uint8Array(PIXELS))
  load()
})()
