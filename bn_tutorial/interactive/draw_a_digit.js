const SIDE = 28;

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

// --- The images, and who shares the batch ---------------------------------------------------------

// Runs of zeros are stored as a zero and their length.
function readImages(base64) {
  const pixels = [];
  const bytes = bytesOf(base64);
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i]) pixels.push(bytes[i] / 255);
    else for (let zeros = bytes[++i]; zeros > 0; zeros--) pixels.push(0);
  }
  const size = SIDE * SIDE;
  return Array.from({ length: pixels.length / size }, (_, i) =>
    Float64Array.from(pixels.slice(i * size, (i + 1) * size)));
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

// --- Pictures -------------------------------------------------------------------------------------

const NEGATIVE = [0, 114, 178];
const POSITIVE = [213, 94, 0];

// One cell a unit: blue below 0, white at 0, orange above; beyond the limit the colour stays.
function paintStrip(target, values, limit) {
  const picture = new ImageData(target.width, target.height);
  values.forEach((value, i) => {
    const share = Math.min(1, Math.abs(value) / limit);
    const colour = value < 0 ? NEGATIVE : POSITIVE;
    picture.data.set([...colour.map((part) => 255 + share * (part - 255)), 255], 4 * i);
  });
  target.getContext("2d").putImageData(picture, 0, 0);
}

// --- The parts of the page ------------------------------------------------------------------------

const PAPER = 280;

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
    const { clientX, clientY } = event;
    strokes.push([]);
    add({ clientX, clientY });
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
    const button = element("button", { type: "button", "aria-label": name, title: name }, picture);
    button.addEventListener("click", () => pick(index));
    return button;
  });
  const show = (picked) => buttons.forEach((button, i) =>
    button.setAttribute("aria-pressed", data.picks[i] === picked));
  const group = { class: "picks", role: "group", "aria-label": texts.picks };
  const node = element("div", {}, element("p", {}, texts.picks), element("div", group, ...buttons));
  return { node, show };
}

function makeControls(data, texts, change) {
  const most = data.classes.length - 1;
  const count = element("input", { type: "range", min: 0, max: most, value: 0, class: "count" });
  const shown = element("output", {}, "0");
  const classes = [...new Set(data.classes)].map((label) =>
    element("option", { value: label }, say(texts.one_class, { label })));
  const mixture = element("select", {}, element("option", { value: "mixed" }, texts.mixed), ...classes);
  const again = element("button", { type: "button", class: "again" }, texts.again);
  const note = element("p", { class: "note" });
  const report = () => {
    shown.value = count.value;
    again.disabled = count.value === "0";
    const values = { label: mixture.value, count: data.classes.filter((c) => c === +mixture.value).length };
    setText(note, mixture.value === "mixed" ? texts.mixed_note : say(texts.one_class_note, values));
    change({ count: Number(count.value), mixture: mixture.value });
  };
  count.addEventListener("input", report);
  mixture.addEventListener("change", report);
  const node = element("div", { class: "controls" },
    element("label", {}, element("span", {}, texts.companions, " ", shown), count),
    element("label", {}, element("span", {}, texts.mixture), mixture), again, note);
  return { node, again, report };
}

// Ten bars; `show` gives them their lengths, or empties them.
function makeBars(classes) {
  const bars = Array.from({ length: classes }, (_, c) => {
    const [fill, share] = [element("span", { class: "fill" }), element("span", { class: "share" })];
    const bar = element("span", { class: "bar" }, fill);
    return { fill, share, row: element("li", {}, element("span", {}, `${c}`), bar, share) };
  });
  const show = (probabilities, answer) => bars.forEach(({ fill, share, row }, c) => {
    const percent = probabilities ? 100 * probabilities[c] : 0;
    fill.style.width = `${percent.toFixed(1)}%`;
    share.textContent = `${Math.round(percent)}%`;
    row.classList.toggle("answer", c === answer);
  });
  return { node: element("ol", {}, ...bars.map(({ row }) => row)), show };
}

function makeStrip(name, units, texts) {
  const strip = canvas(25, units / 25, { class: "strip" });
  const feed = (values, number, limit) => {
    const bounds = { low: Math.min(...values).toFixed(1), high: Math.max(...values).toFixed(1) };
    strip.setAttribute("aria-label", say(texts.strip, { name, number, units, ...bounds }));
    paintStrip(strip, values, limit);
  };
  return { node: strip, feed };
}

// One answer: the class in large figures, ten bars, and a strip.
function makeAnswer(way, data, texts) {
  const figure = element("p", { class: "figure" });
  const bars = makeBars(data.sizes.at(-1));
  const strip = makeStrip(texts[way], data.sizes[1], texts);
  const node = element("section", { class: way, "aria-label": texts[way] },
    element("p", { class: "name" }, texts[way]), element("p", { class: "by" }, texts[`${way}_by`]),
    figure, bars.node, strip.node);
  const show = (probabilities) => {
    const answer = probabilities && argmax(probabilities);
    figure.textContent = answer ?? "–";
    bars.show(probabilities, answer);
    return answer;
  };
  return { node, show, feed: strip.feed };
}

function makeLayerChoice(data, texts, change) {
  const options = data.limits.map((_, i) =>
    element("option", { value: i }, say(texts.layer, { number: i + 1 })));
  const layer = element("select", { class: "layer" }, ...options);
  layer.value = data.limits.length - 1;
  const [low, high] = [element("span"), element("span")];
  const report = () => {
    const limit = data.limits[layer.value];
    [low.textContent, high.textContent] = [`−${limit}`, `${limit}`];
    change(Number(layer.value));
  };
  layer.addEventListener("change", report);
  const node = element("div", { class: "scale" },
    element("label", {}, element("span", {}, texts.strips), layer),
    element("p", {}, low, element("span", { class: "colours" }), high), element("p", {}, texts.scale));
  return { node, report };
}

// --- The page -------------------------------------------------------------------------------------

// What is computed: the arithmetic of the page, without the page.
function makeArithmetic(data) {
  const network = readNetwork(data);
  const images = readImages(data.images);
  const forward = (batch, useBatch) => {
    const passes = network.forward(Float64Array.from(batch.flatMap((image) => [...image])), useBatch);
    return { fed: passes.slice(0, -1).map(({ fed }) => fed), logits: rowsOf(passes.at(-1).fed, batch.length) };
  };
  const answers = (image, companions) => ({
    naive: forward([image, ...companions.map((index) => images[index])], true),
    fixed: forward([image], false),
  });
  const logits = (batch, useBatch) => forward(batch, useBatch).logits.map((row) => [...row]);
  return { images, answers, logits };
}

// The two answers and the sentence about them; `show` fills them in.
function makeResults(data, texts) {
  const ways = ["naive", "fixed"].map((way) => [way, makeAnswer(way, data, texts)]);
  const status = element("p", { class: "status", role: "status" });
  const show = (result, { count, layer }) => {
    const said = { count };
    for (const [way, answer] of ways) {
      said[way] = answer.show(result && softmax(result[way].logits[0]));
      const units = data.sizes[layer + 1];
      const fed = result ? result[way].fed[layer].subarray(0, units) : new Float64Array(units);
      answer.feed(fed, layer + 1, data.limits[layer]);
    }
    const key = result ? ["alone", "with_one"][count] ?? "together" : "empty";
    setText(status, say(texts[key], said));
  };
  const answers = element("div", { class: "answers" }, ...ways.map(([, answer]) => answer.node));
  return { nodes: [status, answers], show };
}

// Paper, the image that the network sees, and the test images to take instead.
function makeDrawing(data, images, texts, change) {
  const seen = canvas(SIDE, SIDE, { class: "seen", "aria-label": texts.seen });
  const draw = (strokes) => change({ image: imageOf(strokes), picked: null });
  const { paper, clear } = makePaper(texts, draw);
  const replace = (changes) => { clear(); change(changes); paintLarge(paper, seen); };
  const pick = (index) => replace({ image: images[index], picked: index });
  const picks = makePicks(data, images, texts, pick);
  const empty = () => replace({ image: null, picked: null });
  const erase = element("button", { type: "button", class: "clear" }, texts.clear);
  erase.addEventListener("click", empty);
  const side = element("div", {}, seen, element("p", {}, texts.seen), erase);
  const show = ({ image, picked }) => {
    paintImage(seen, image ?? new Float64Array(SIDE * SIDE));
    picks.show(picked);
  };
  return { nodes: [element("div", { class: "sheet" }, paper, side), picks.node], empty, show };
}

function buildPage(panel, data, texts) {
  const { images, answers, logits } = makeArithmetic(data);
  const state = { image: null, picked: null, count: 0, mixture: "mixed", layer: 0, redrawn: 0 };
  const companions = () => companionsOf(data.classes, { ...state, seed: data.seed + state.redrawn });
  const change = (changes) => {
    Object.assign(state, changes);
    drawing.show(state);
    results.show(state.image && answers(state.image, companions()), state);
  };
  const results = makeResults(data, texts);
  const drawing = makeDrawing(data, images, texts, change);
  const controls = makeControls(data, texts, change);
  const layers = makeLayerChoice(data, texts, (layer) => change({ layer }));
  controls.again.addEventListener("click", () => change({ redrawn: state.redrawn + 1 }));
  panel.append(element("div", { class: "parts" },
    element("div", { class: "drawing" }, ...drawing.nodes, controls.node),
    element("div", { class: "results" }, ...results.nodes, layers.node)));
  drawing.empty(); // a digit there would answer before the reader has guessed
  controls.report();
  layers.report();
  return { logits, companions, image: () => [...(state.image ?? [])] };
}

makeLive("draw-a-digit", buildPage);
