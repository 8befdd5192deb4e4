// --- The settings ---------------------------------------------------------------------------------

const DEFAULTS = {
  rate: 0.01, batch: 60, deviation: 1, scheme: "normal", activation: "sigmoid", decay: 0.999, seed: 0,
};
const RANGES = { rate: [0.001, 1], batch: [1, 256], deviation: [0.01, 10], seed: [0, 999] };
const CHOICES = { scheme: ["normal", "glorot"], activation: ["sigmoid", "relu"], decay: [0.9, 0.99, 0.999, 0.9999] };
const WHOLE = ["batch", "seed"];
const NEW_WEIGHTS = ["deviation", "scheme", "activation", "seed"]; // start the training again
const MOST_STEPS = 40_000; // as many as the article's
// Each is a claim of a chapter, and stops after so many steps.
const PRESETS = {
  article: { steps: 2000 },
  glorot: { steps: 2000, scheme: "glorot" },
  rate: { steps: 500, rate: 0.1 },
  pairs: { steps: 3000, batch: 2 },
  short: { steps: 200 },
};
const OWN = "own";
const NETWORKS = ["plain", "naive", "fixed"];
const CLEAR = 0.02; // less of a difference in accuracy is none, with so few test images

function presetOf(preset) {
  const { steps, ...changed } = PRESETS[preset];
  return { preset, settings: { ...DEFAULTS, ...changed } };
}

// A value that a setting can have, or undefined.
function readSetting(name, text) {
  if (CHOICES[name]) return CHOICES[name].find((choice) => `${choice}` === text);
  const [low, high] = RANGES[name];
  const value = text === "" ? NaN : Number(text);
  return value >= low && value <= high && (!WHOLE.includes(name) || Number.isInteger(value)) ? value : undefined;
}

// "#train-here?preset=pairs&rate=0.1" → { preset, settings }; what makes no sense is passed over.
function readAddress() {
  const [mark, query] = location.hash.split("?");
  if (mark !== "#train-here") return null;
  const found = new URLSearchParams(query);
  const { preset, settings } = presetOf(PRESETS[found.get("preset")] ? found.get("preset") : "article");
  const named = Object.keys(DEFAULTS).filter((name) => found.has(name));
  const read = named.map((name) => [name, readSetting(name, found.get(name))]);
  const changed = read.filter(([name, value]) => value !== undefined && value !== settings[name]);
  return { preset: changed.length ? OWN : preset, settings: { ...settings, ...Object.fromEntries(changed) } };
}

function writeAddress({ preset, settings }) {
  if (document.body.dataset.jpThemeLight) return; // the address is JupyterLab's
  const own = Object.entries(settings).filter(([name, value]) => value !== DEFAULTS[name]);
  const query = new URLSearchParams(preset === OWN ? own : { preset });
  try {
    history.replaceState(history.state, "", `#train-here?${query}`);
  } catch { /* a page in a sandbox has no address of its own */ }
}

// --- The worker -----------------------------------------------------------------------------------

async function unpack({ images, classes }, { brightness }) {
  const stream = new Blob([bytesOf(images)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const pixels = Float64Array.from({ length: 2 * bytes.length }, (_, i) =>
    brightness * (i % 2 ? bytes[i >> 1] & 15 : bytes[i >> 1] >> 4));
  return { images: pixels, classes: Array.from(classes, Number) };
}

// A function that sends orders to the training, which answers by `hear`. It is in a worker; where
// the page may have none, it is here, and works in short slices.
function startTraining(load, hear) {
  let send;
  const here = () => {
    send = training().serve(hear, 12);
    send(load);
  };
  try {
    const source = `const receive = (${training})().serve(postMessage, 50); onmessage = ({ data }) => receive(data);`;
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const worker = new Worker(address);
    worker.onmessage = ({ data }) => hear(data);
    worker.onerror = here; // before it has loaded: it is refused
    send = (order) => worker.postMessage(order);
    send(load);
  } catch {
    here();
  }
  return (order) => send(order);
}

// --- Pictures -------------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, MOST_POINTS] = [1000, 300, 400];

function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// Lines over the steps, of the classes `names`; `show` takes [step, values] of the records.
function makeChart(names, label, ticks) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  const levels = [0, 0.5, 1].map((share) =>
    svg("line", { x1: 0, x2: WIDTH, y1: share * HEIGHT, y2: share * HEIGHT, class: "level" }));
  const lines = names.map((name) => svg("polyline", { class: `line ${name}` }));
  picture.append(...levels, ...lines);
  const [left, bottom] = [element("div", { class: "left", "aria-hidden": "true" }), element("div", { class: "bottom", "aria-hidden": "true" })];
  const node = element("div", { class: "chart" }, left, picture, bottom);
  const show = (records, [low, high], last) => {
    const stride = Math.ceil(records.length / MOST_POINTS);
    const shown = records.filter((_, i) => i % stride === 0 || i === records.length - 1);
    lines.forEach((line, n) => {
      const points = shown.filter(([, values]) => Number.isFinite(values[n])).map(([step, values]) =>
        `${(WIDTH * step / last).toFixed(1)},${(HEIGHT * (high - values[n]) / (high - low)).toFixed(1)}`);
      line.setAttribute("points", points.join(" "));
    });
    left.replaceChildren(...ticks([low, high]).map((tick) => element("span", {}, tick)));
    bottom.replaceChildren(element("span", {}, "0"), element("span", {}, last.toLocaleString()));
  };
  return { node, picture, show };
}

const minus = (text) => `${text}`.replace("-", "−");

function makeHistogram(name) {
  const bars = element("div", { class: `bars ${name}`, role: "img" });
  const ticks = element("div", { class: "bottom", "aria-hidden": "true" });
  const show = (counts, limit, label) => {
    const most = Math.max(...counts, 1);
    bars.replaceChildren(...counts.map((count) => {
      const bar = element("span");
      bar.style.height = `${100 * count / most}%`;
      return bar;
    }));
    for (const border of limit > 4 ? [-4, 4] : []) {
      const line = element("i");
      line.style.left = `${50 + 50 * border / limit}%`;
      bars.append(line);
    }
    bars.setAttribute("aria-label", label);
    ticks.replaceChildren(...[-limit, 0, limit].map((tick) => element("span", {}, minus(tick))));
  };
  return { node: element("div", {}, bars, ticks), show };
}

// --- The parts of the page ------------------------------------------------------------------------

function button(control, text, act) {
  const node = element("button", { type: "button", "data-control": control }, text);
  node.addEventListener("click", act);
  return node;
}

function select(control, options, change) {
  const node = element("select", { "data-control": control },
    ...options.map(([value, text]) => element("option", { value }, text)));
  node.addEventListener("change", () => change(node.value));
  return node;
}

const value = (name) => element("output", { "data-value": name }, "–");

// A number to type, and a slider beside it whose steps are equal ratios.
function makeNumber(name, text, change) {
  const [low, high] = RANGES[name];
  const typed = element("input", { type: "number", min: low, max: high, step: "any", "data-control": name, "aria-label": text });
  const slider = element("input", { type: "range", min: 0, max: 60, "aria-label": text });
  const ratio = high / low;
  const rounded = (number) => (WHOLE.includes(name) ? Math.round(number) : Number(number.toPrecision(2)));
  let last; // what no number is typed for goes back to
  const show = (number) => {
    last = number;
    typed.value = number;
    slider.value = 60 * Math.log(number / low) / Math.log(ratio);
    slider.setAttribute("aria-valuetext", number);
  };
  const heard = () => {
    const number = readSetting(name, typed.value);
    if (number !== undefined) change(number);
  };
  typed.addEventListener("input", heard);
  typed.addEventListener("change", () => { // what is out of range goes to its end
    show(typed.value === "" ? last : rounded(Math.min(high, Math.max(low, Number(typed.value)))));
    heard();
  });
  slider.addEventListener("input", () => change(rounded(low * ratio ** (slider.value / 60))));
  return { node: element("div", { class: "number" }, element("span", {}, text), typed, slider), show };
}

// All settings; `show` fills them in, `change` hears of a new one.
function makeSettings(texts, change) {
  const numbers = ["rate", "batch", "deviation"].map((name) =>
    [name, makeNumber(name, texts[name], (number) => change(name, number))]);
  const selects = Object.keys(CHOICES).map((name) => {
    const options = CHOICES[name].map((choice) => [choice, texts[`${name}_${choice}`] ?? choice]);
    return [name, select(name, options, (chosen) => change(name, readSetting(name, chosen)))];
  });
  const seed = element("input", { type: "number", min: 0, max: 999, "data-control": "seed" });
  seed.addEventListener("change", () => change("seed", readSetting("seed", seed.value) ?? 0));
  const labelled = [...selects, ["seed", seed]].map(([name, node]) =>
    element("label", {}, element("span", {}, texts[name]), node));
  const show = (settings) => {
    for (const [name, number] of numbers) number.show(settings[name]);
    for (const [name, node] of selects) node.value = settings[name];
    seed.value = settings.seed;
  };
  const node = element("fieldset", { class: "settings" }, element("legend", {}, texts.settings),
    ...numbers.map(([, number]) => number.node), ...labelled, element("p", { class: "note" }, texts.settings_note));
  return { node, show };
}

// The accuracies as numbers and as lines.
function makeAccuracies(texts) {
  const readings = { plain: value("accuracy-plain"), naive: value("accuracy-batch"), fixed: value("accuracy-population") };
  const legend = NETWORKS.map((name) => element("p", { class: name },
    element("span", { class: "name" }, texts.names[name]), readings[name], element("span", { class: "by" }, texts.by[name] ?? "")));
  const chart = makeChart(NETWORKS, texts.accuracy, () => ["1", "0.5", "0"]);
  const node = element("section", { class: "accuracies", "aria-label": texts.accuracy },
    element("h4", {}, texts.accuracy), element("div", { class: "legend" }, ...legend), chart.node);
  const show = (records, last) => {
    const { accuracy } = records.at(-1);
    for (const name of NETWORKS) readings[name].value = formatAccuracy(accuracy[name], texts);
    chart.show(records.map(({ step, accuracy: of }) => [step, NETWORKS.map((name) => of[name])]), [0, 1], last);
  };
  return { node, show };
}

const formatAccuracy = (accuracy, texts) => (Number.isFinite(accuracy) ? accuracy.toFixed(3) : texts.diverged);

// One of ten digits, alone in its batch, and the three answers; and those to the other nine.
function makeAlone(data, texts) {
  const readings = { plain: value("alone-plain"), naive: value("alone-batch"), fixed: value("alone-population") };
  const said = NETWORKS.map((name) => element("p", { class: name },
    element("span", { class: "name" }, texts.names[name]), readings[name]));
  let [picked, answers] = [3, null];
  const cells = {};
  const rows = NETWORKS.map((name) => {
    cells[name] = data.picks.map(() => element("td"));
    return element("tr", { class: name }, element("th", { scope: "row" }, texts.names[name]), ...cells[name]);
  });
  const pictures = data.picks.map(() => canvas(data.side, data.side, { "aria-hidden": "true" }));
  const heads = pictures.map((picture, label) => {
    const choose = element("button", { type: "button", "aria-label": say(texts.pick, { label }) }, picture);
    choose.addEventListener("click", () => { picked = label; if (answers) show(answers); });
    return choose;
  });
  const paint = ({ images }) => data.picks.forEach((index, label) => {
    const size = data.side ** 2;
    const pixels = images.subarray(index * size, (index + 1) * size);
    paintImage(pictures[label], pixels.map((pixel) => pixel / (15 * data.brightness)));
  });
  const show = (given) => {
    answers = given;
    heads.forEach((head, label) => head.setAttribute("aria-pressed", label === picked));
    for (const name of NETWORKS) {
      readings[name].value = answers[name][picked] ?? texts.diverged;
      cells[name].forEach((cell, label) => {
        cell.textContent = answers[name][label] ?? "–";
        cell.className = `${answers[name][label] === label ? "right" : "wrong"}${label === picked ? " picked" : ""}`;
      });
    }
  };
  const table = element("table", {}, element("tr", {}, element("th", { scope: "col" }, texts.shown),
    ...heads.map((head) => element("th", { scope: "col" }, head))), ...rows);
  const node = element("section", { class: "alone", "aria-label": texts.alone },
    element("h4", {}, texts.alone), table, element("div", { class: "legend" }, ...said));
  return { node, paint, show };
}

// What the second layer is fed: a histogram of all values, and five units over the steps.
function makeInputs(texts) {
  const parts = ["plain", "naive"].map((name) => {
    const bars = makeHistogram(name);
    const units = Array.from({ length: 5 }, (_, i) => `unit-${i}`);
    const chart = makeChart(units, say(texts.units, { name: texts.names[name] }), ([, high]) => [high, 0, minus(-high)]);
    const node = element("div", { class: name }, element("p", { class: "name" }, texts.names[name]),
      element("p", { class: "by" }, texts.histogram), bars.node, element("p", { class: "by" }, texts.five_units), chart.node);
    return { name, bars, chart, node };
  });
  const node = element("section", { class: "layer", "aria-label": texts.inputs },
    element("h4", {}, texts.inputs), element("div", { class: "inputs" }, ...parts.map((part) => part.node)));
  const show = (records, histograms, last) => {
    const finite = records.flatMap(({ units }) => [...units.plain, ...units.naive]).filter(Number.isFinite);
    const largest = finite.reduce((most, input) => Math.max(most, Math.abs(input)), 1);
    const high = [1, 2, 5, 10, 20, 50, 100, 200].find((round) => round >= largest) ?? Math.ceil(largest);
    for (const { name, bars, chart } of parts) {
      const beyond = say(texts.histogram_said, { name: texts.names[name], limit: histograms.limit });
      bars.show(histograms[name], histograms.limit, beyond);
      chart.show(records.map(({ step, units }) => [step, units[name]]), [-high, high], last);
    }
  };
  return { node, show };
}

// What came out, in words, from the numbers of the run.
function outcomeOf(preset, { records, answers }, texts) {
  const { step, accuracy } = records.at(-1);
  const early = records.find((record) => record.step >= 100) ?? records.at(-1);
  const shown = (from) => Object.fromEntries(NETWORKS.map((name) => [name, formatAccuracy(from[name], texts)]));
  const right = (name) => answers[name].filter((answer, label) => answer === label).length;
  const values = {
    step: step.toLocaleString(), early: early.step, ...shown(accuracy),
    ...Object.fromEntries(Object.entries(shown(early.accuracy)).map(([name, text]) => [`early_${name}`, text])),
    right_plain: right("plain"), right_fixed: right("fixed"), naive_answer: answers.naive[0] ?? texts.diverged,
  };
  const [first, second] = preset === "short" ? ["fixed", "naive"] : ["naive", "plain"];
  const gap = accuracy[first] - accuracy[second];
  const verdict = (gap > CLEAR && "ahead") || (gap < -CLEAR && "behind") || "even";
  const own = Number.isFinite(gap) ? texts.outcomes[preset]?.[verdict] : undefined;
  const same = new Set(answers.naive).size === 1 ? texts.same_answer : texts.other_answers;
  return [own ?? texts.numbers, same].map((text) => say(text, values)).join(" ");
}

function roundLast(step) {
  const round = [200, 500, 1000, 2000, 3000, 5000, 10_000, 20_000];
  return round.find((last) => last >= step) ?? MOST_STEPS;
}

// --- The page -------------------------------------------------------------------------------------

function buildExperiment(panel, data, texts) {
  if (typeof DecompressionStream === "undefined") throw new Error("this browser has no DecompressionStream");
  const { sizes, epsilon, picks } = data;
  const unpacked = Promise.all([unpack(data.train, data), unpack(data.test, data)])
    .then(([train, test]) => ({ sizes, epsilon, picks, train, test }));
  const frame = matchMedia("(prefers-reduced-motion: reduce)").matches ? 500 : 50;
  const { runs, hear, paint } = makePage(panel, data, texts);
  unpacked.then((digits) => {
    paint(digits.test);
    if (readAddress()) panel.scrollIntoView();
    runs.send = startTraining({ order: "load", data: digits, frame }, hear);
    for (const order of runs.orders) runs.send(order);
  });
  return { training, digits: unpacked };
}

// What is being run, and what came of it: `run` numbers the runs, and a report names its own.
class Runs {
  constructor(changed) {
    Object.assign(this, { changed, run: 0, records: [], playing: false, ...readAddress() ?? presetOf("article") });
    this.orders = []; // that wait until the training hears
    this.send = (order) => this.orders.push(order);
  }

  get goal() { return PRESETS[this.preset]?.steps; }

  restart() {
    Object.assign(this, { run: this.run + 1, records: [], finished: false });
    this.changed(this);
    this.send({ order: "restart", run: this.run, settings: this.settings });
  }

  // Up to the preset's end, or beyond it.
  play() {
    const trained = this.records.at(-1)?.step ?? 0;
    this.send({ order: "play", until: trained < this.goal ? this.goal : MOST_STEPS });
  }

  choose(chosen) {
    Object.assign(this, chosen);
    this.restart();
  }

  set(name, value) {
    if (value === this.settings[name]) return;
    Object.assign(this, { preset: OWN, settings: { ...this.settings, [name]: value } });
    writeAddress(this);
    if (!NEW_WEIGHTS.includes(name)) {
      this.changed(this);
      this.send({ order: "change", settings: this.settings });
      return;
    }
    const again = this.playing;
    this.restart();
    if (again) this.play();
  }

  // Whether the report is of this run; one of a run before may have been under way.
  hear({ run, records, answers, playing, steps }) {
    if (run !== this.run) return false;
    this.records.push(...records);
    Object.assign(this, { answers, playing, steps });
    return true;
  }
}

function makeButtons(runs, texts, tell) {
  const buttons = {
    play: button("play", texts.play, () => runs.play()),
    pause: button("pause", texts.pause, () => runs.send({ order: "pause" })),
    step: button("step", texts.step, () => runs.send({ order: "step" })),
    reset: button("reset", texts.reset, () => runs.restart()),
    describe: button("describe", texts.describe, () => runs.records.length && tell(OWN)),
  };
  const steps = value("steps");
  const goal = element("span");
  const show = ({ playing, steps: trained, goal: end }) => {
    steps.value = trained;
    setText(goal, end ? say(texts.goal, { goal: end.toLocaleString() }) : "");
    buttons.play.setAttribute("aria-pressed", playing);
  };
  const node = element("div", { class: "buttons" }, ...Object.values(buttons), element("p", {}, texts.steps, " ", steps, " ", goal));
  return { node, show };
}

// The choice of a preset with its question, and what is said of the run.
function makeStart(runs, texts) {
  const names = [...Object.keys(PRESETS), OWN].map((name) => [name, texts.presets[name]]);
  const presets = select("preset", names, (preset) => {
    runs.choose(preset === OWN ? { preset } : presetOf(preset));
    writeAddress(runs);
  });
  const ask = element("p", { class: "ask" });
  const status = element("p", { class: "status", role: "status" });
  const tell = (preset) => setText(status, outcomeOf(preset, runs, texts));
  const buttons = makeButtons(runs, texts, tell);
  const changed = ({ preset, records }) => {
    presets.value = preset;
    setText(ask, texts.asks[preset]);
    if (!records.length) setText(status, "");
  };
  const label = element("label", {}, element("span", {}, texts.preset), presets);
  const node = element("div", { class: "start" }, label, ask, buttons.node, status);
  return { node, changed, show: buttons.show, tell };
}

function makePage(panel, data, texts) {
  const runs = new Runs(() => { start.changed(runs); settings.show(runs.settings); });
  const start = makeStart(runs, texts);
  const settings = makeSettings(texts, (name, chosen) => runs.set(name, chosen));
  const [accuracies, alone, inputs] = [makeAccuracies(texts), makeAlone(data, texts), makeInputs(texts)];
  const hear = (report) => {
    if (!runs.hear(report)) return;
    const last = Math.max(runs.goal ?? 0, roundLast(runs.steps));
    start.show(runs);
    accuracies.show(runs.records, last);
    alone.show(runs.answers);
    if (!data.small) inputs.show(runs.records, report.histograms, last);
    if (runs.steps !== runs.goal || runs.finished) return;
    runs.finished = true;
    start.tell(runs.preset);
  };
  window.addEventListener("hashchange", () => readAddress() && runs.choose(readAddress()));
  panel.classList.toggle("small", data.small);
  panel.append(element("div", { class: "parts" }, start.node, accuracies.node, alone.node,
    ...(data.small ? [] : [inputs.node, settings.node])));
  runs.restart();
  return { runs, hear, paint: alone.paint };
}

makeLive("train-here", buildExperiment);
