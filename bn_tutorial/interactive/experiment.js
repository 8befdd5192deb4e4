// The experiment, which runs away from the page in a worker: two networks from the same weights, one
// without BN and one with it, trained on the same batches. It is told what to do by messages, and
// reports what it measured.

const RECORD_EVERY = 20; // steps from one record to the next
const UNITS = 5; // of the second layer are recorded one by one, as in the article's picture
const BINS = 40; // of the histograms
const LIMITS = [5, 10, 20, 50, 100, 200, 500, 1000]; // what the histograms may reach to

// Standard normal numbers, by Box and Muller.
const normal = (random) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

// Glorot's deviation counts the inputs that the article's images have, which are four times as many.
function initialWeights(sizes, { scheme, deviation, seed }) {
  const random = generatorOf(seed);
  return sizes.slice(1).map((outputs, i) => {
    const fanIn = i ? sizes[i] : 4 * sizes[i];
    const scale = scheme === "glorot" ? Math.sqrt(2 / (fanIn + outputs)) : deviation;
    return Float64Array.from({ length: sizes[i] * outputs }, () => scale * normal(random));
  });
}

// The images with these numbers, one after the other.
function gather({ images }, inputs, chosen) {
  const rows = new Float64Array(chosen.length * inputs);
  chosen.forEach((from, to) => rows.set(images.subarray(from * inputs, (from + 1) * inputs), to * inputs));
  return rows;
}

// NaN if there is no telling, since a logit is no finite number.
function accuracy(logits, classes) {
  if (!logits.every(Number.isFinite)) return NaN;
  const right = rowsOf(logits, classes.length).filter((row, i) => argmax(row) === classes[i]);
  return right.length / classes.length;
}

// The mean over the batch of what the first units are fed.
const firstUnits = (fed, units) => [...moments(fed, units).mean.subarray(0, UNITS)];

// How many values are in each of the bins from -limit to limit; those beyond are in the outermost.
function histogram(values, limit) {
  const counts = new Array(BINS).fill(0);
  for (const value of values) {
    const bin = Math.floor((BINS * (value + limit)) / (2 * limit));
    if (!Number.isNaN(bin)) counts[Math.min(BINS - 1, Math.max(0, bin))] += 1;
  }
  return counts;
}

function shareWithin(values, limit) {
  let count = 0;
  for (const value of values) if (Math.abs(value) <= limit) count += 1;
  return count / values.length;
}

class Experiment {
  constructor(data, settings) {
    const { sizes, epsilon } = data;
    Object.assign(this, { ...data, settings, steps: 0, order: [], losses: [], records: [] });
    const matrices = initialWeights(sizes, settings);
    const make = (batchNorm) => new Network(matrices.map((matrix, i) => // none before the logits
      new Layer(matrix.slice(), sizes[i + 1], batchNorm && i < matrices.length - 1 ? epsilon : 0)), settings.activation);
    [this.plain, this.normalized] = [make(false), make(true)];
    this.random = generatorOf(settings.seed + 1);
    this.record();
  }

  // Which samples are next; each epoch has an order of its own.
  nextBatch() {
    while (this.order.length < this.settings.batch) {
      this.order.push(...shuffle(this.train.classes.keys(), this.random));
    }
    return this.order.splice(0, this.settings.batch);
  }

  step() {
    const { rate, decay } = this.settings;
    const chosen = this.nextBatch();
    const images = gather(this.train, this.sizes[0], chosen);
    const classes = chosen.map((i) => this.train.classes[i]);
    this.losses = [this.plain, this.normalized].map((network) => network.step(images, classes, rate, decay));
    this.steps += 1;
    if (this.steps % RECORD_EVERY === 0) this.record();
  }

  // Measure on the test set, which is one batch.
  record() {
    const { images, classes } = this.test;
    const plain = this.plain.forward(images, true);
    const naive = this.normalized.forward(images, true);
    const fixed = this.normalized.forward(images, false, naive[0].z);
    const of = (passes) => accuracy(passes.at(-1).fed, classes);
    this.fed = { plain: plain.at(-2).fed, naive: naive.at(-2).fed };
    this.recorded = this.steps;
    this.records.push({
      step: this.steps,
      accuracy: { plain: of(plain), naive: of(naive), fixed: of(fixed) },
      units: {
        plain: firstUnits(this.fed.plain, this.sizes.at(-2)),
        naive: firstUnits(this.fed.naive, this.sizes.at(-2)),
      },
    });
  }

  // The classes that are answered to some test images, each of which is alone in its batch.
  answersAlone() {
    const answer = (network, useBatch) => this.picks.map((index) => {
      const logits = network.forward(gather(this.test, this.sizes[0], [index]), useBatch).at(-1).fed;
      return logits.every(Number.isFinite) ? argmax(logits) : null;
    });
    return {
      plain: answer(this.plain, true),
      naive: answer(this.normalized, true),
      fixed: answer(this.normalized, false),
    };
  }

  // Both histograms, on one axis that reaches to 99 of 100 values of each at least.
  histograms() {
    const { plain, naive } = this.fed;
    const reaches = (limit) => [plain, naive].every((values) => shareWithin(values, limit) >= 0.99);
    const limit = LIMITS.find(reaches) ?? LIMITS.at(-1);
    return { limit, plain: histogram(plain, limit), naive: histogram(naive, limit) };
  }

  // What is new since the last report; after a step that has no record it makes one.
  report() {
    if (this.recorded !== this.steps) this.record();
    const { steps, losses } = this;
    const records = this.records.splice(0);
    return { steps, losses, records, answers: this.answersAlone(), histograms: this.histograms() };
  }
}

// Hears orders, and answers by `post`. `slice` is how many milliseconds it may work at a stretch.
function serve(post, slice) {
  let experiment;
  let data;
  let run; // its number, which tells late reports of the one before
  let until = 0; // it trains up to this step
  let frame = 0; // milliseconds from one report to the next, at least
  let last = 0; // when it reported
  const report = () => {
    last = performance.now();
    post({ ...experiment.report(), run, playing: experiment.steps < until });
  };
  const work = () => {
    const end = performance.now() + slice;
    while (experiment.steps < until && performance.now() < end) {
      experiment.step();
      const due = experiment.recorded === experiment.steps && performance.now() >= last + frame;
      if (due || experiment.steps === until) report();
    }
    if (experiment.steps < until) setTimeout(work);
  };
  const orders = {
    load: (message) => ({ data, frame } = message),
    restart: (message) => {
      run = message.run;
      until = 0;
      experiment = new Experiment(data, message.settings);
    },
    change: ({ settings }) => { experiment.settings = settings; },
    play: (message) => {
      if (experiment.steps >= until) setTimeout(work);
      until = message.until;
    },
    pause: () => { until = 0; },
    step: () => { until = 0; experiment.step(); },
  };
  return (message) => {
    orders[message.order](message);
    if (experiment && message.order !== "change") report();
  };
}
