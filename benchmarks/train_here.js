// How fast a page trains the two networks of *Train it here*, and what its blocked products are worth.
//
//     node benchmarks/train_here.js
//
// Steps a second of both networks in batches of 60, with all that is measured and reported on the
// way, for images of 8 × 8 and 14 × 14 pixels. The same is done with three plain loops instead.

const fs = require("node:fs");
const path = require("node:path");

const folder = path.join(__dirname, "..", "bn_tutorial", "interactive");
const scripts = ["network.js", "experiment.js"].map((name) => fs.readFileSync(path.join(folder, name), "utf8"));
const PLAIN = `multiply = (a, b, rows, inner, columns) => {
  const out = newArray(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < inner; k++) sum += a[i * inner + k] * b[k * columns + j];
      out[i * columns + j] = sum;
    }
  }
  return out;
};`;
const SETTINGS = { rate: 0.01, batch: 60, deviation: 1, scheme: "normal", activation: "sigmoid", decay: 0.999, seed: 0 };
const [ROUNDS, STEPS] = [5, 200];

function digits(count, pixels) { // noise takes as long as digits do
  return {
    images: Float64Array.from({ length: count * pixels }, Math.random),
    classes: Array.from({ length: count }, (_, i) => i % 10),
  };
}

function stepsASecond(experiment) {
  const start = performance.now();
  for (let step = 0; step < STEPS; step++) {
    experiment.step();
    if (experiment.recorded === experiment.steps) experiment.report();
  }
  return (1000 * STEPS) / (performance.now() - start);
}

for (const pixels of [64, 196]) {
  const data = {
    sizes: [pixels, 100, 100, 10], epsilon: 1e-3, picks: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    train: digits(4000, pixels), test: digits(400, pixels),
  };
  const [blocked, plain] = ["", PLAIN].map((change) =>
    new (new Function(`${scripts.join("")}${change} return Experiment;`)())(data, SETTINGS));
  const best = { blocked: 0, plain: 0 };
  for (let round = 0; round <= ROUNDS; round++) { // in turn; the first warms up
    for (const [name, experiment] of Object.entries({ blocked, plain })) {
      const speed = stepsASecond(experiment);
      if (round) best[name] = Math.max(best[name], speed);
    }
  }
  const ratio = (best.blocked / best.plain).toFixed(1);
  console.log(`${pixels} inputs: ${best.blocked.toFixed(0)} steps a second, ${ratio} times plain loops`);
}
