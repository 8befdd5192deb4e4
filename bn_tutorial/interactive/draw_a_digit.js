const SIDE = 28;

// Not every browser has a Float16Array. A float32 with the bits of a float16 is 2 ** 112 times
// smaller, as its exponent counts from -127, not from -15. Python refuses infinity and NaN.
function halfFloats(base64) {
  const halves = new Uint16Array(bytesOf(base64).buffer);
  const widen = (half) => ((half & 0x8000) << 16) | ((half & 0x7fff) << 13);
  const small = new Float32Array(Uint32Array.from(halves, widen).buffer);
  return Float64Array.from(small, (number) => number * 2 ** 112);
}

// The network 784-100-100-10 that has these numbers; one set of weights, two kinds of statistics.
function readNetwork({ sizes, weights, epsilon }) {
  const numbers = halfFloats(weights);
  let position = 0;
  const take = (count) => numbers.subarray(position, (position += count));
  const layers = sizes.slice(1).map((units, i) => {
    const layer = new Layer(take(sizes[i] * units), units, i < sizes.length - 2 ? epsilon : 0);
    if (layer.epsilon) layer.gamma = take(units);
    layer.beta = take(units);
    if (layer.epsilon) layer.population = { mean: take(units), variance: take(units) };
    return layer;
  });
  return new Network(layers, "sigmoid");
}

// Which images share the batch. Of one class there are few; they come over and over.
function companionsOf(classes, { count, mixture, picked, seed }) {
  const random = generatorOf(seed);
  const eligible = [...classes.keys()].filter((i) =>
    i !== picked && (mixture === "mixed" || classes[i] === Number(mixture)));
  const chosen = [];
  while (chosen.length < count) chosen.push(...shuffle(eligible, random));
  return chosen.slice(0, count);
}

// --- From strokes to an image like MNIST's --------------------------------------------------------

const BOX = 20; // MNIST's digits fit into 20 × 20 of the 28 × 28 pixels ...
const SMALLEST = 0.15; // ... and so do drawings, unless they are a mere dot (share of the paper)
const RADIUS = 1.25; // half a stroke's width, in pixels

function distance([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const along = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1);
  const t = Math.min(1, Math.max(0, along));
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

// The pixels that a stroke from a to b can reach along one axis, from the first to after the last.
function reach(a, b) {
  const [first, last] = [Math.min(a, b) - RADIUS - 1, Math.max(a, b) + RADIUS + 1];
  return [Math.max(0, Math.floor(first)), Math.min(SIDE, Math.ceil(last))];
}

// How much ink each pixel gets, 0 to 1: strokes with soft edges. Coordinates are pixels.
function ink(strokes) {
  const image = new Float64Array(SIDE * SIDE);
  const draw = (from, to) => {
    const [[left, right], [top, bottom]] = [reach(from[0], to[0]), reach(from[1], to[1])];
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const covered = RADIUS + 0.5 - distance([x + 0.5, y + 0.5], from, to);
        const pixel = y * SIDE + x;
        image[pixel] = Math.max(image[pixel], Math.min(1, covered));
      }
    }
  };
  for (const stroke of strokes) {
    stroke.forEach((point, i) => draw(stroke[Math.max(0, i - 1)], point));
  }
  return image;
}

function centreOfMass(image) {
  let [sum, x, y] = [0, 0, 0];
  image.forEach((value, pixel) => {
    sum += value;
    x += value * ((pixel % SIDE) + 0.5);
    y += value * (Math.floor(pixel / SIDE) + 0.5);
  });
  return [x / sum, y / sum];
}

const move = (strokes, dx, dy) => strokes.map((stroke) => stroke.map(([x, y]) => [x + dx, y + dy]));

// Strokes on the paper, 0 to 1 → image: fitted into the box, the centre of mass in the middle.
function imageOf(strokes) {
  const points = strokes.flat();
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
  const scale = (BOX - 2 * RADIUS) / Math.max(right - left, bottom - top, SMALLEST);
  const scaled = strokes.map((stroke) => stroke.map(([x, y]) => [
    SIDE / 2 + scale * (x - (left + right) / 2), SIDE / 2 + scale * (y - (top + bottom) / 2)]));
  const [x, y] = centreOfMass(ink(scaled));
  return ink(move(scaled, SIDE / 2 - x, SIDE / 2 - y));
}

// --- The parts of the page ------------------------------------------------------------------------

const PAPER = 280;
const NEGATIVE = [0, 114, 178];
const POSITIVE = [213, 94, 0];

// The paper: strokes of the mouse, a finger or a pen. `draw` hears of each change.
function makePaper(texts, draw) {
  const paper = canvas(PAPER, PAPER, { class: "paper", "aria-label": texts.paper });
  let strokes = [];
  const add = (event) => {
    const frame = paper.getBoundingClientRect();
    const parts = event.getCoalescedEvents?.() ?? [];
    for (const { clientX, clientY } of parts.length ? parts : [event]) {
      const point = [(clientX - frame.left) / frame.width, (clientY - frame.top) / frame.height];
      strokes.at(-1).push(point);
    }
    paintStrokes(paper, strokes);
    draw(strokes);
  };
  let active = null;
  paper.addEventListener("pointerdown", (event) => {
    if (active !== null || event.button !== 0) return;
    active = event.pointerId;
    paper.setPointerCapture(active);
    strokes.push([]);
    add(event);
  });
  paper.addEventListener("pointermove", (event) => event.pointerId === active && add(event));
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    paper.addEventListener(end, (event) => event.pointerId === active && (active = null));
  }
  const clear = () => { [strokes, active] = [[], null]; }; // ends a stroke that is being drawn
  return { paper, clear };
}

function blank(paper) {
  const context = paper.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, PAPER, PAPER);
  return context;
}

function paintStrokes(paper, strokes) {
  const context = blank(paper);
  Object.assign(context, { lineWidth: PAPER / 13, lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) {
    context.beginPath();
    for (const [x, y] of [stroke[0], ...stroke]) context.lineTo(x * PAPER, y * PAPER);
    context.stroke();
  }
}

function paintLarge(paper, small) {
  const context = blank(paper);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, PAPER, PAPER);
}

function makePicks(data, images, texts, pick) {
  const buttons = data.picks.map((index) => {
    const picture = canvas(SIDE, SIDE, { "aria-hidden": "true" });
    paintImage(picture, images[index]);
    const name = say(texts.pick, { label: data.classes[index] });
    return button(picture, () => pick(index), { "aria-label": name, title: name });
  });
  const show = (picked) => buttons.forEach((each, i) =>
    each.setAttribute("aria-pressed", data.picks[i] === picked));
  const group = { class: "picks", role: "group", "aria-label": texts.picks };
  const node = element("div", {}, element("p", {}, texts.picks), element("div", group, ...buttons));
  return { node, show };
}

// Paper, the image that the network sees, and the test images to take instead.
function makeDrawing(data, images, texts, change) {
  const seen = canvas(SIDE, SIDE, { class: "seen", "aria-label": texts.seen });
  const draw = (strokes) => change({ image: imageOf(strokes), picked: null });
  const { paper, clear } = makePaper(texts, draw);
  const replace = (image, picked) => {
    clear();
    change({ image, picked });
    paintLarge(paper, seen);
  };
  const empty = () => replace(null, null);
  const picks = makePicks(data, images, texts, (index) => replace(images[index], index));
  const erase = button(texts.clear, empty, { class: "clear" });
  const side = element("div", {}, seen, element("p", {}, texts.seen), erase);
  const show = ({ image, picked }) => {
    paintImage(seen, image ?? new Float64Array(SIDE * SIDE));
    picks.show(picked);
  };
  return { nodes: [element("div", { class: "sheet" }, paper, side), picks.node], empty, show };
}

// Who shares the batch.
function makeControls(data, texts, change) {
  const shown = element("output", {}, "0");
  const note = element("p", { class: "note" });
  const labels = [...new Set(data.classes)];
  const report = () => {
    const [number, label] = [Number(count.value), mixture.value];
    shown.value = number;
    again.disabled = number === 0;
    const values = { label, count: data.classes.length / labels.length };
    setText(note, label === "mixed" ? texts.mixed_note : say(texts.one_class_note, values));
    change({ count: number, mixture: label });
  };
  const most = data.classes.length - 1;
  const count = element("input", { type: "range", min: 0, max: most, value: 0, class: "count" });
  count.addEventListener("input", report);
  const classes = labels.map((label) => [label, say(texts.one_class, { label })]);
  const mixture = select([["mixed", texts.mixed], ...classes], report);
  let seed = data.seed;
  const again = button(texts.again, () => change({ seed: ++seed }), { class: "again" });
  const node = element("div", { class: "controls" },
    labelled(count, texts.companions, " ", shown), labelled(mixture, texts.mixture), again, note);
  return { node, report };
}

// Ten bars, which say how probable each class is.
const makeBars = (probabilities, answer) => probabilities.map((probability, c) => {
  const percent = 100 * probability;
  const fill = element("span", { class: "fill", style: `width: ${percent.toFixed(1)}%` });
  return element("li", { class: c === answer ? "answer" : "" }, element("span", {}, c),
    element("span", { class: "bar" }, fill),
    element("span", { class: "share" }, `${Math.round(percent)}%`));
});

// One cell a unit: blue below 0, white at 0, orange above; beyond the limit the colour stays.
const paintStrip = (strip, values, limit) => paint(strip, values, (value) => {
  const share = Math.min(1, Math.abs(value) / limit);
  return (value < 0 ? NEGATIVE : POSITIVE).map((part) => 255 + share * (part - 255));
});

// One answer: the class in large figures, ten bars, and a strip. `show` takes what each layer made
// of the digit, the logits last, or null, and returns the answer.
function makeAnswer(way, data, texts) {
  const [figure, bars] = [element("p", { class: "figure" }), element("ol")];
  const strip = canvas(25, data.sizes[1] / 25, { class: "strip" });
  const node = element("section", { class: way, "aria-label": texts[way] },
    element("p", { class: "name" }, texts[way]), element("p", { class: "by" }, texts[`${way}_by`]),
    figure, bars, strip);
  const show = (passes, layer) => {
    const answer = passes && argmax(passes.at(-1));
    figure.textContent = answer ?? "–";
    const probabilities = passes ? softmax(passes.at(-1)) : new Float64Array(data.sizes.at(-1));
    bars.replaceChildren(...makeBars([...probabilities], answer));
    const fed = passes?.[layer] ?? new Float64Array(data.sizes[layer + 1]);
    const bounds = { low: Math.min(...fed).toFixed(1), high: Math.max(...fed).toFixed(1) };
    const said = { name: texts[way], number: layer + 1, units: fed.length, ...bounds };
    strip.setAttribute("aria-label", say(texts.strip, said));
    paintStrip(strip, fed, data.limits[layer]);
    return answer;
  };
  return { node, show };
}

// The two answers and the sentence about them; `show` fills them in.
function makeResults(data, texts) {
  const ways = ["naive", "fixed"].map((way) => [way, makeAnswer(way, data, texts)]);
  const status = element("p", { class: "status", role: "status" });
  const show = (passes, { count, layer }) => {
    const said = { count };
    for (const [way, answer] of ways) said[way] = answer.show(passes && passes[way], layer);
    const key = passes ? ["alone", "with_one"][count] ?? "together" : "empty";
    setText(status, say(texts[key], said));
  };
  const answers = element("div", { class: "answers" }, ...ways.map(([, answer]) => answer.node));
  return { nodes: [status, answers], show };
}

function makeLayerChoice(data, texts, change) {
  const [low, high] = [element("span"), element("span")];
  const report = () => {
    const limit = data.limits[layer.value];
    [low.textContent, high.textContent] = [`−${limit}`, `${limit}`];
    change(Number(layer.value));
  };
  const options = data.limits.map((_, i) => [i, say(texts.layer, { number: i + 1 })]);
  const layer = select(options, report, { class: "layer" });
  layer.value = data.limits.length - 1;
  const colours = element("span", { class: "colours" });
  const node = element("div", { class: "scale" }, labelled(layer, texts.strips),
    element("p", {}, low, colours, high), element("p", {}, texts.scale));
  return { node, report };
}

// --- The page -------------------------------------------------------------------------------------

function buildPage(panel, data, texts) {
  const network = readNetwork(data);
  const pixels = Float64Array.from(bytesOf(data.images), (level) => level / 255);
  const images = rowsOf(pixels, data.classes.length);
  const { seed } = data;
  const state = { image: null, picked: null, count: 0, mixture: "mixed", layer: 0, seed };
  const companions = () => companionsOf(data.classes, state);
  // What each layer makes of the digit, in a batch with these images.
  const passesOf = (others, useBatch) => {
    const batch = [state.image, ...others].flatMap((image) => [...image]);
    const passes = network.forward(Float64Array.from(batch), useBatch);
    return passes.map(({ fed }) => rowsOf(fed, 1 + others.length)[0]);
  };
  const change = (changes) => {
    Object.assign(state, changes);
    drawing.show(state);
    results.show(state.image && {
      naive: passesOf(companions().map((index) => images[index]), true),
      fixed: passesOf([], false),
    }, state);
  };
  const results = makeResults(data, texts);
  const drawing = makeDrawing(data, images, texts, change);
  const controls = makeControls(data, texts, change);
  const layers = makeLayerChoice(data, texts, (layer) => change({ layer }));
  panel.append(element("div", { class: "parts" },
    element("div", { class: "drawing" }, ...drawing.nodes, controls.node),
    element("div", { class: "results" }, ...results.nodes, layers.node)));
  drawing.empty(); // a digit there would answer before the reader has guessed
  controls.report();
  layers.report();
  return { network, companions, image: () => [...(state.image ?? [])] };
}

makeLive("draw-a-digit", buildPage);
