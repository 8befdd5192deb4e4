// A network of hidden layers and logits, without BN or with it. A matrix [rows, columns] is a
// Float64Array, row after row; of a batch each row is a sample.

// While a step is computed its arrays are pieces of one that the next step uses again: to allocate
// them anew costs an eighth of the time.
const memory = { array: new Float64Array(0), used: 0, inUse: false };

function newArray(length) {
  if (!memory.inUse) return new Float64Array(length);
  if (memory.used + length > memory.array.length) {
    memory.array = new Float64Array(2 * (memory.array.length + length));
    memory.used = 0;
  }
  memory.used += length;
  return memory.array.subarray(memory.used - length, memory.used);
}

// out = a · b, for a [rows, inner] and b [inner, columns]: two rows by four columns at a time, since
// a number that is loaded is then used more than once.
function multiply(a, b, rows, inner, columns) {
  const out = newArray(rows * columns);
  const wholeRows = rows - (rows % 2);
  const wholeColumns = columns - (columns % 4);
  for (let i = 0; i < wholeRows; i += 2) {
    for (let j = 0; j < wholeColumns; j += 4) {
      let p0 = 0, p1 = 0, p2 = 0, p3 = 0, q0 = 0, q1 = 0, q2 = 0, q3 = 0;
      for (let k = 0, upper = i * inner, at = j; k < inner; k++, upper++, at += columns) {
        const p = a[upper], q = a[upper + inner];
        const b0 = b[at], b1 = b[at + 1], b2 = b[at + 2], b3 = b[at + 3];
        p0 += p * b0; p1 += p * b1; p2 += p * b2; p3 += p * b3;
        q0 += q * b0; q1 += q * b1; q2 += q * b2; q3 += q * b3;
      }
      const at = i * columns + j;
      out[at] = p0; out[at + 1] = p1; out[at + 2] = p2; out[at + 3] = p3;
      const below = at + columns;
      out[below] = q0; out[below + 1] = q1; out[below + 2] = q2; out[below + 3] = q3;
    }
  }
  for (let i = 0; i < rows; i++) { // what is left at the edges
    for (let j = i < wholeRows ? wholeColumns : 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < inner; k++) sum += a[i * inner + k] * b[k * columns + j];
      out[i * columns + j] = sum;
    }
  }
  return out;
}

function transpose(a, rows, columns) {
  const out = newArray(a.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = a[i * columns + j];
  return out;
}

// A function of each number.
function map(values, of) {
  const out = newArray(values.length);
  for (let at = 0; at < values.length; at++) out[at] = of(values[at]);
  return out;
}

// Mean and variance of each column, over the batch.
function moments(z, units) {
  const batch = z.length / units;
  const [mean, variance] = [new Float64Array(units), new Float64Array(units)];
  for (let i = 0; i < z.length; i += units) for (let j = 0; j < units; j++) mean[j] += z[i + j];
  for (let j = 0; j < units; j++) mean[j] /= batch;
  for (let i = 0; i < z.length; i += units) {
    for (let j = 0; j < units; j++) variance[j] += (z[i + j] - mean[j]) ** 2;
  }
  for (let j = 0; j < units; j++) variance[j] /= batch;
  return { mean, variance };
}

const ACTIVATIONS = {
  sigmoid: { value: (x) => 1 / (1 + Math.exp(-x)), slope: (y) => y * (1 - y) },
  relu: { value: (x) => (x > 0 ? x : 0), slope: (y) => (y > 0 ? 1 : 0) }, // slopes by the value
};

// One matrix and what follows it: BN, if there is an epsilon, else biases. beta is either's.
class Layer {
  constructor(weights, units, epsilon) {
    Object.assign(this, { weights, units, epsilon, inputs: weights.length / units });
    this.beta = new Float64Array(units);
    this.gamma = new Float64Array(units).fill(1);
    this.population = { mean: new Float64Array(units), variance: new Float64Array(units).fill(1) };
  }

  multiply(x) {
    return multiply(x, this.weights, x.length / this.inputs, this.inputs, this.units);
  }

  // What the activation function is fed, [batch, units], and what the gradient needs.
  forward(x, useBatch, z = this.multiply(x)) {
    const { units, beta, gamma } = this;
    const fed = newArray(z.length);
    if (!this.epsilon) {
      for (let i = 0; i < z.length; i += units) for (let j = 0; j < units; j++) fed[i + j] = z[i + j] + beta[j];
      return { x, z, fed };
    }
    const statistics = useBatch ? moments(z, units) : this.population;
    const { mean, variance } = statistics;
    const deviation = variance.map((value) => Math.sqrt(value + this.epsilon));
    const normalized = newArray(z.length);
    for (let i = 0; i < z.length; i += units) {
      for (let j = 0; j < units; j++) {
        normalized[i + j] = (z[i + j] - mean[j]) / deviation[j];
        fed[i + j] = gamma[j] * normalized[i + j] + beta[j];
      }
    }
    return { x, z, fed, normalized, deviation, statistics };
  }

  // From the gradient of what the activation is fed to that of x · weights; beta and gamma go a step.
  backward(upstream, { normalized, deviation }, rate) {
    const { units, gamma } = this;
    const batch = upstream.length / units;
    const [ofBeta, ofGamma] = [new Float64Array(units), new Float64Array(units)];
    for (let i = 0; i < upstream.length; i += units) {
      for (let j = 0; j < units; j++) {
        ofBeta[j] += upstream[i + j];
        if (normalized) ofGamma[j] += upstream[i + j] * normalized[i + j];
      }
    }
    this.beta = this.beta.map((value, j) => value - rate * ofBeta[j]);
    this.gamma = gamma.map((value, j) => value - rate * ofGamma[j]);
    if (!normalized) return upstream;
    const ofInputs = newArray(upstream.length);
    for (let i = 0; i < upstream.length; i += units) {
      for (let j = 0; j < units; j++) {
        const taken = (ofBeta[j] + normalized[i + j] * ofGamma[j]) / batch;
        ofInputs[i + j] = (gamma[j] / deviation[j]) * (upstream[i + j] - taken);
      }
    }
    return ofInputs;
  }

  // The population's statistics move a little towards the batch's.
  smooth({ mean, variance }, decay) {
    const towards = (batch) => (value, j) => decay * value + (1 - decay) * batch[j];
    this.population = {
      mean: this.population.mean.map(towards(mean)),
      variance: this.population.variance.map(towards(variance)),
    };
  }
}

class Network {
  constructor(layers, activation) {
    Object.assign(this, { layers, activation: ACTIVATIONS[activation] });
  }

  // What each layer computed; `fed` of the last are the logits. The first layer's products with the
  // images may be known already.
  forward(images, useBatch, products) {
    const passes = [this.layers[0].forward(images, useBatch, products)];
    for (const layer of this.layers.slice(1)) {
      passes.push(layer.forward(map(passes.at(-1).fed, this.activation.value), useBatch));
    }
    return passes;
  }

  // One step of gradient descent on the cross entropy, summed over the batch; returns the loss.
  step(images, classes, rate, decay) {
    const batch = classes.length;
    Object.assign(memory, { used: 0, inUse: true });
    const passes = this.forward(images, true);
    let { loss, gradient } = crossEntropy(passes.at(-1).fed, classes);
    for (let l = this.layers.length - 1; l >= 0; l--) {
      const [layer, pass] = [this.layers[l], passes[l]];
      const { units, inputs, weights } = layer;
      gradient = layer.backward(gradient, pass, rate);
      const ofWeights = multiply(transpose(pass.x, batch, inputs), gradient, inputs, batch, units);
      if (l > 0) {
        gradient = multiply(gradient, transpose(weights, inputs, units), batch, units, inputs);
        for (let at = 0; at < gradient.length; at++) gradient[at] *= this.activation.slope(pass.x[at]);
      }
      for (let at = 0; at < weights.length; at++) weights[at] -= rate * ofWeights[at];
      if (pass.statistics) layer.smooth(pass.statistics, decay);
    }
    memory.inUse = false;
    return loss;
  }
}

function softmax(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const powers = logits.map((logit) => Math.exp(logit - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

// The logits of each sample.
function rowsOf(logits, batch) {
  const classes = logits.length / batch;
  return Array.from({ length: batch }, (_, i) => logits.subarray(i * classes, (i + 1) * classes));
}

// The loss of a batch, summed, and its gradient with respect to the logits.
function crossEntropy(logits, classes) {
  const gradient = newArray(logits.length);
  let loss = 0;
  rowsOf(logits, classes.length).forEach((row, i) => {
    const probabilities = softmax(row);
    const best = argmax(row); // its probability is not 0, as that of the right class may be
    loss += row[best] - row[classes[i]] - Math.log(probabilities[best]);
    probabilities[classes[i]] -= 1;
    gradient.set(probabilities, i * row.length);
  });
  return { loss, gradient };
}

const argmax = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

// Numbers in [0, 1) with a seed, so that the same clicks give the same numbers (mulberry32).
function generatorOf(seed) {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffle(items, random) {
  const shuffled = [...items];
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]];
  }
  return shuffled;
}
