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
const BY = { plain: "plain", naive: "batch", fixed: "population" }; // by what each normalises
const NETWORKS = Object.keys(BY);
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
  const { preset: named, ...texts } = Object.fromEntries(new URLSearchParams(query));
  const { preset, settings } = presetOf(PRESETS[named] ? named : "article");
  const changed = Object.keys(DEFAULTS)
    .map((name) => [name, readSetting(name, texts[name] ?? "")])
    .filter(([name, value]) => value !== undefined && value !== settings[name]);
  Object.assign(settings, Object.fromEntries(changed));
  return { preset: changed.length ? OWN : preset, settings };
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

async function unpack({ images, classes }, brightness) {
  const stream = new Blob([bytesOf(images)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const levels = Array.from(bytes, (two) => [two >> 4, two & 15]).flat();
  const pixels = Float64Array.from(levels, (level) => brightness * level);
  return { images: pixels, classes: Array.from(classes, Number) };
}

// Starts the training, which answers by `hear`, and gives a function that sends it orders. It is in
// a worker; where the page may have none, it is here, and works in short slices.
function startTraining(hear) {
  return new Promise((resolve) => {
    const here = () => resolve(training().serve(hear, 12));
    try {
      const source = `const receive = (${training})().serve(postMessage, 50);
        onmessage = ({ data }) => receive(data);
        postMessage(null);`; // it has loaded
      const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      const worker = new Worker(address);
      worker.onmessage = ({ data }) => {
        if (data) hear(data);
        else resolve((order) => worker.postMessage(order));
      };
      worker.onerror = here; // if it has not loaded: it is refused
    } catch {
      here();
    }
  });
}

// --- Pictures -------------------------------------------------------------------------------------

const [WIDTH, HEIGHT, MOST_POINTS] = [1000, 300, 400];

const minus = (number) => `${number}`.replace("-", "−");

const makeTicks = (values) => values.map((value) => element("span", {}, minus(value)));

// Lines over the steps, of the classes `names`; `show` takes [step, values] of the records.
function makeChart(names, label) {
  const levels = [0, 0.5, 1].map((share) =>
    `<line x2="${WIDTH}" y1="${share * HEIGHT}" y2="${share * HEIGHT}" class="level"/>`);
  const polylines = names.map((name) => `<polyline class="line ${name}"/>`);
  const node = element("div", { class: "chart" });
  node.innerHTML = `
    <div class="left" aria-hidden="true"></div>
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img">
      ${[...levels, ...polylines].join("")}
    </svg>
    <div class="bottom" aria-hidden="true"></div>`;
  const [left, picture, bottom] = node.children;
  picture.setAttribute("aria-label", label);
  const show = (records, [low, high], last) => {
    const stride = Math.ceil(records.length / MOST_POINTS);
    const shown = records.filter((_, i) => i % stride === 0 || i === records.length - 1);
    picture.querySelectorAll("polyline").forEach((line, n) => {
      const finite = shown.filter(([, values]) => Number.isFinite(values[n]));
      const points = finite.map(([step, values]) => [
        (WIDTH * step / last).toFixed(1), (HEIGHT * (high - values[n]) / (high - low)).toFixed(1)]);
      line.setAttribute("points", points.join(" "));
    });
    left.replaceChildren(...makeTicks([high, (low + high) / 2, low]));
    bottom.replaceChildren(...makeTicks([0, last.toLocaleString()]));
  };
  return { node, show };
}

function makeHistogram(name) {
  const bars = element("div", { class: `bars ${name}`, role: "img" });
  const ticks = element("div", { class: "bottom", "aria-hidden": "true" });
  const show = (counts, limit, label) => {
    const most = Math.max(...counts, 1);
    const borders = limit > 4 ? [-4, 4] : []; // beyond these the sigmoid is flat
    bars.replaceChildren(
      ...counts.map((count) => element("span", { style: `height: ${100 * count / most}%` })),
      ...borders.map((at) => element("i", { style: `left: ${50 + 50 * at / limit}%` })));
    bars.setAttribute("aria-label", label);
    ticks.replaceChildren(...makeTicks([-limit, 0, limit]));
  };
  return { node: element("div", {}, bars, ticks), show };
}

// --- The parts of the page ------------------------------------------------------------------------

// A number to type, and a slider beside it whose steps are equal ratios.
function makeNumber(name, text, change) {
  const [min, max] = RANGES[name];
  const typed = element("input", {
    type: "number", min, max, step: "any", "data-control": name, "aria-label": text,
  });
  const slider = element("input", { type: "range", min: 0, max: 60, "aria-label": text });
  const rounded = (number) => (WHOLE.includes(name) ? Math.round(number) : Number(number.toPrecision(2)));
  let last; // what no number is typed for goes back to
  const show = (number) => {
    last = number;
    typed.value = number;
    slider.value = 60 * Math.log(number / min) / Math.log(max / min);
    slider.setAttribute("aria-valuetext", number);
  };
  const heard = () => {
    const number = readSetting(name, typed.value);
    if (number !== undefined) change(number);
  };
  typed.addEventListener("input", heard);
  typed.addEventListener("change", () => { // what is out of range goes to its end
    show(typed.value === "" ? last : rounded(Math.min(max, Math.max(min, Number(typed.value)))));
    heard();
  });
  slider.addEventListener("input", () => change(rounded(min * (max / min) ** (slider.value / 60))));
  return { node: element("div", { class: "number" }, element("span", {}, text), typed, slider), show };
}

// All settings; `show` fills them in, `change` hears of a new one.
function makeSettings(texts, change) {
  const numbers = ["rate", "batch", "deviation"].map((name) =>
    [name, makeNumber(name, texts[name], (number) => change(name, number))]);
  const selects = Object.keys(CHOICES).map((name) => {
    const options = CHOICES[name].map((choice) => [choice, texts[`${name}_${choice}`] ?? choice]);
    const choose = (chosen) => change(name, readSetting(name, chosen));
    return [name, select(options, choose, { "data-control": name })];
  });
  const seed = element("input", { type: "number", min: 0, max: 999, "data-control": "seed" });
  seed.addEventListener("change", () => change("seed", readSetting("seed", seed.value) ?? 0));
  const fields = [...selects, ["seed", seed]];
  const show = (settings) => {
    for (const [name, number] of numbers) number.show(settings[name]);
    for (const [name, field] of fields) field.value = settings[name];
  };
  const node = element("fieldset", { class: "settings" }, element("legend", {}, texts.settings),
    ...numbers.map(([, number]) => number.node),
    ...fields.map(([name, field]) => labelled(field, texts[name])),
    element("p", { class: "note" }, texts.settings_note));
  return { node, show };
}

// What is asked of each network, by its name.
const ofEach = (of) => Object.fromEntries(NETWORKS.map((name) => [name, of(name)]));

const formatted = (accuracy, texts) => ofEach((name) =>
  (Number.isFinite(accuracy[name]) ? accuracy[name].toFixed(3) : texts.diverged));

// A value of each network, to be filled in.
const makeReadings = (kind) => ofEach((name) =>
  element("output", { "data-value": `${kind}-${BY[name]}` }, "–"));

// The networks' names, each with its reading and with what is said `by` it.
const makeLegend = (readings, texts, by = {}) => element("div", { class: "legend" },
  ...NETWORKS.map((name) => element("p", { class: name },
    element("span", { class: "name" }, texts.names[name]), readings[name],
    element("span", { class: "by" }, by[name] ?? ""))));

const section = (name, title, ...parts) => element(
  "section", { class: name, "aria-label": title }, element("h4", {}, title), ...parts);

// The accuracies as numbers and as lines.
function makeAccuracies(texts) {
  const readings = makeReadings("accuracy");
  const chart = makeChart(NETWORKS, texts.accuracy);
  const show = (records, last) => {
    const accuracies = formatted(records.at(-1).accuracy, texts);
    for (const name of NETWORKS) readings[name].value = accuracies[name];
    const lines = records.map(({ step, accuracy }) => [step, NETWORKS.map((name) => accuracy[name])]);
    chart.show(lines, [0, 1], last);
  };
  const legend = makeLegend(readings, texts, texts.by);
  return { node: section("accuracies", texts.accuracy, legend, chart.node), show };
}

// One of ten digits, alone in its batch, and the three answers; and those to the other nine.
function makeAlone(data, texts) {
  const readings = makeReadings("alone");
  let [picked, answers] = [3, null];
  const pictures = data.picks.map(() => canvas(data.side, data.side, { "aria-hidden": "true" }));
  const heads = pictures.map((picture, label) => {
    const choose = () => { picked = label; if (answers) show(answers); };
    return button(picture, choose, { "aria-label": say(texts.pick, { label }) });
  });
  const rows = ofEach((name) => element("tr", { class: name },
    element("th", { scope: "row" }, texts.names[name]), ...data.picks.map(() => element("td"))));
  const table = element("table", {}, element("tr", {}, element("th", { scope: "col" }, texts.shown),
    ...heads.map((head) => element("th", { scope: "col" }, head))), ...Object.values(rows));
  const show = (given) => {
    answers = given;
    heads.forEach((head, label) => head.setAttribute("aria-pressed", label === picked));
    for (const name of NETWORKS) {
      readings[name].value = answers[name][picked] ?? texts.diverged;
      rows[name].querySelectorAll("td").forEach((cell, label) => {
        cell.textContent = answers[name][label] ?? "–";
        cell.className = answers[name][label] === label ? "right" : "wrong";
        cell.classList.toggle("picked", label === picked);
      });
    }
  };
  const paint = ({ images }) => data.picks.forEach((index, label) => {
    const size = data.side ** 2;
    const pixels = images.subarray(index * size, (index + 1) * size);
    paintImage(pictures[label], pixels.map((pixel) => pixel / (15 * data.brightness)));
  });
  return { node: section("alone", texts.alone, table, makeLegend(readings, texts)), paint, show };
}

// What the second layer is fed: a histogram of all values, and five units over the steps.
function makeInputs(texts) {
  const parts = ["plain", "naive"].map((network) => {
    const name = texts.names[network];
    const bars = makeHistogram(network);
    const units = [0, 1, 2, 3, 4].map((i) => `unit-${i}`);
    const chart = makeChart(units, say(texts.units, { name }));
    const by = (text) => element("p", { class: "by" }, text);
    const node = element("div", { class: network }, element("p", { class: "name" }, name),
      by(texts.histogram), bars.node, by(texts.five_units), chart.node);
    return { network, name, bars, chart, node };
  });
  const show = (records, histograms, last) => {
    const { limit } = histograms;
    const values = records.flatMap(({ units }) => [...units.plain, ...units.naive]);
    const finite = values.filter(Number.isFinite).map(Math.abs);
    const largest = finite.reduce((a, b) => Math.max(a, b), 1);
    const round = [1, 2, 5, 10, 20, 50, 100, 200].find((height) => height >= largest);
    const high = round ?? Math.ceil(largest);
    for (const { network, name, bars, chart } of parts) {
      bars.show(histograms[network], limit, say(texts.histogram_said, { name, limit }));
      chart.show(records.map(({ step, units }) => [step, units[network]]), [-high, high], last);
    }
  };
  const node = element("div", { class: "inputs" }, ...parts.map((part) => part.node));
  return { node: section("layer", texts.inputs, node), show };
}

// What came out, in words, from the numbers of the run.
function outcomeOf(preset, { records, answers }, texts) {
  const { step, accuracy } = records.at(-1);
  const early = records.find((record) => record.step >= 100) ?? records.at(-1);
  const [now, then] = [formatted(accuracy, texts), formatted(early.accuracy, texts)];
  const right = (name) => answers[name].filter((answer, label) => answer === label).length;
  const values = {
    step: step.toLocaleString(), ...now,
    early: early.step, early_plain: then.plain, early_naive: then.naive,
    right_plain: right("plain"), right_fixed: right("fixed"),
    naive_answer: answers.naive[0] ?? texts.diverged,
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
  const { sizes, epsilon, picks, brightness } = data;
  const digits = Promise.all([unpack(data.train, brightness), unpack(data.test, brightness)])
    .then(([train, test]) => ({ sizes, epsilon, picks, train, test }));
  const frame = matchMedia("(prefers-reduced-motion: reduce)").matches ? 500 : 50;
  const started = digits.then(async (unpacked) => {
    page.paint(unpacked.test);
    if (readAddress()) panel.scrollIntoView();
    const send = await startTraining(page.hear);
    send({ order: "load", data: unpacked, frame });
    return send;
  });
  const page = makePage(panel, data, texts, (order) => started.then((send) => send(order)));
  return { training, digits };
}

// What is being run, and what came of it: `run` numbers the runs, and a report names its own.
class Runs {
  constructor(send, changed) {
    Object.assign(this, { send, changed, run: 0, playing: false, ...readAddress() ?? presetOf("article") });
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
  const make = (name, act) => button(texts[name], act, { "data-control": name });
  const play = make("play", () => runs.play());
  const others = [
    make("pause", () => runs.send({ order: "pause" })),
    make("step", () => runs.send({ order: "step" })),
    make("reset", () => runs.restart()),
    make("describe", () => runs.records.length && tell(OWN)),
  ];
  const steps = element("output", { "data-value": "steps" }, "–");
  const goal = element("span");
  const show = ({ playing, steps: trained, goal: end }) => {
    steps.value = trained;
    setText(goal, end ? say(texts.goal, { goal: end.toLocaleString() }) : "");
    play.setAttribute("aria-pressed", playing);
  };
  const node = element("div", { class: "buttons" }, play, ...others,
    element("p", {}, texts.steps, " ", steps, " ", goal));
  return { node, show };
}

// The choice of a preset with its question, and what is said of the run.
function makeStart(runs, texts) {
  const names = [...Object.keys(PRESETS), OWN].map((name) => [name, texts.presets[name]]);
  const choose = (preset) => {
    runs.choose(preset === OWN ? { preset } : presetOf(preset));
    writeAddress(runs);
  };
  const presets = select(names, choose, { "data-control": "preset" });
  const ask = element("p", { class: "ask" });
  const status = element("p", { class: "status", role: "status" });
  const tell = (preset) => setText(status, outcomeOf(preset, runs, texts));
  const buttons = makeButtons(runs, texts, tell);
  const changed = ({ preset, records }) => {
    presets.value = preset;
    setText(ask, texts.asks[preset]);
    if (!records.length) setText(status, "");
  };
  const node = element("div", { class: "start" },
    labelled(presets, texts.preset), ask, buttons.node, status);
  return { node, changed, show: buttons.show, tell };
}

function makePage(panel, data, texts, send) {
  const runs = new Runs(send, () => { start.changed(runs); settings.show(runs.settings); });
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
  return { hear, paint: alone.paint };
}

makeLive("train-here", buildExperiment);
