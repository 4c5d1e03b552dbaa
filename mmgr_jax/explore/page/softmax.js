// Softmax regression of few labels, its penalty chosen by cross-validation over blocks.
//
// Minimises sum_i -log p_i(true class) + strength / 2 |W|^2 with free intercepts, as
// Python's heads and scikit-learn do. Limited-memory BFGS in tridiagonal coordinates (see
// linalg.js), where the curvature of a ridge of the same penalty is its starting point.

import { addFour, addScaled, coordinates, dot, dots, standardisedRows, tridiagonalSolver } from "./linalg.js";

/** About what is told of a class that no label shows. */
export const UNSEEN_SHARE = 1e-6;

/** No weaker penalty is tried after so many in a row that did worse than the best. */
const PATIENCE = 2;

/** Of more labels than these two parts in five choose the penalty: they are enough. */
const MANY_LABELS = 150, PARTS_OF_MANY = 2;

/** A fit ends when the next step promises to lower the loss by less than half of it. */
const ROUGH = 1e-3, EXACT = 1e-10;

const MEMORY = 20, MAX_STEPS = 2000, MAX_HALVINGS = 25;

/** Bounds the curvature of classes that hardly occur. */
const LEAST_CURVATURE = 1e-6;

/**
 * @typedef {Object} SoftmaxFit
 * @property {Float64Array} kernel On features as they are [k d].
 * @property {Float64Array} bias [k]
 * @property {number} strength The penalty that was chosen.
 * @property {Float64Array} losses Mean surprise of left-out parts, in nats, by each
 *     strength [a]; NaN where it was not tried.
 * @property {Float64Array} left Log-probabilities of each label by the head without its
 *     part [m k]; NaN where there is one part alone.
 * @property {Float64Array} mean Of the labelled features [d].
 * @property {Float64Array} inverse Weight over their deviation [d].
 */

/**
 * @param {Float32Array|Float64Array} x Features of all regions [n d].
 * @param {number} d
 * @param {ArrayLike<number>} rows Labelled regions [m], one or more.
 * @param {ArrayLike<number>} classes Class of each [m].
 * @param {number} k Classes.
 * @param {ArrayLike<number>} part Part of each label, from 0 [m]: see doubt.partsByBlock.
 * @param {number[]} strengths Penalties to choose from, above 0.
 * @param {?ArrayLike<number>} weights Factors of standardised columns [d]; null: 1.
 * @returns {SoftmaxFit}
 */
export function softmax(x, d, rows, classes, k, part, strengths, weights = null) {
  const m = rows.length;
  const { z, mean, inverse } = standardisedRows(x, d, rows, weights);
  const own = coordinates(z, m, d);
  const parts = m ? 1 + part.reduce((most, value) => Math.max(most, value), 0) : 0;
  const { losses, best } = cross(own, classes, k, part, parts, strengths);
  const all = [...Array(m).keys()];
  const problem = subset(own, all, classes, k);
  const promise = EXACT * Math.min(strengths[best], 1);
  const fit = minimise(problem, strengths[best], start(problem), promise);
  const left = outOfPart(own, classes, k, part, parts, strengths[best], fit);
  const kernel = new Float64Array(k * d), bias = new Float64Array(k);
  for (let c = 0; c < k; c++) {
    const line = own.back(fit.subarray(c * (own.s + 1), c * (own.s + 1) + own.s));
    for (let j = 0; j < d; j++) kernel[c * d + j] = line[j] * inverse[j];
    bias[c] = intercept(problem, fit, c) - dot(kernel, c * d, mean, 0, d);
  }
  return { kernel, bias, strength: strengths[best], losses, left, mean, inverse };
}

function intercept(problem, weights, c) {
  return problem.seen[c] ? weights[c * (problem.s + 1) + problem.s] : Math.log(UNSEEN_SHARE);
}

/** Losses by each strength [a], and the index of the least. */
function cross(own, classes, k, part, parts, strengths) {
  const losses = new Float64Array(strengths.length).fill(NaN);
  const order = [...strengths.keys()].sort((a, b) => strengths[b] - strengths[a]);
  if (parts < 2) return { losses, best: order[0] };
  const chooses = part.length > MANY_LABELS ? Math.min(parts, PARTS_OF_MANY) : parts;
  const count = part.reduce((sum, own) => sum + (own < chooses ? 1 : 0), 0);
  const taught = Array.from({ length: chooses }, (_, held) => {
    const train = [...part.keys()].filter((i) => part[i] !== held);
    const problem = subset(own, train, classes, k);
    return { problem, weights: start(problem) };
  });
  let best = order[0], worse = 0;
  for (const index of order) {
    if (worse >= PATIENCE) break;
    let sum = 0;
    taught.forEach((cell, held) => {
      cell.weights = minimise(cell.problem, strengths[index], cell.weights, ROUGH);
      for (let i = 0; i < part.length; i++) {
        if (part[i] === held) sum -= logShares(own, cell, i)[classes[i]];
      }
    });
    losses[index] = sum / count;
    const better = !(losses[best] <= losses[index]) || index === best;
    worse = better ? 0 : worse + 1;
    if (better) best = index;
  }
  return { losses, best };
}

/** Log-probabilities of each label by the head of the other parts [m k]. */
function outOfPart(own, classes, k, part, parts, strength, whole) {
  const left = new Float64Array(part.length * k).fill(NaN);
  for (let held = 0; held < parts && parts > 1; held++) {
    const train = [...part.keys()].filter((i) => part[i] !== held);
    const problem = subset(own, train, classes, k);
    const weights = minimise(problem, strength, warm(problem, whole), ROUGH);
    for (let i = 0; i < part.length; i++) {
      if (part[i] === held) left.set(logShares(own, { problem, weights }, i), i * k);
    }
  }
  return left;
}

/** Log-probabilities of one region [k], UNSEEN_SHARE at least. */
function logShares(own, { problem, weights }, i) {
  const { s } = own, logits = new Float64Array(problem.k);
  for (let c = 0; c < problem.k; c++) {
    const line = problem.seen[c] ? dot(weights, c * (s + 1), own.u, i * s, s) : 0;
    logits[c] = line + intercept(problem, weights, c);
  }
  const log = logSum(logits, 0, problem.k);
  return logits.map((logit) => Math.max(logit - log, Math.log(UNSEEN_SHARE)));
}

/** log sum exp of a stretch. */
function logSum(values, at, count) {
  let most = -Infinity, sum = 0;
  for (let c = 0; c < count; c++) most = Math.max(most, values[at + c]);
  for (let c = 0; c < count; c++) sum += Math.exp(values[at + c] - most);
  return most + Math.log(sum);
}

/** Some labels: their coordinates, classes, and which classes they show. */
function subset(own, places, classes, k) {
  const counts = new Float64Array(k);
  const truth = Int32Array.from(places, (i) => classes[i]);
  for (const c of truth) counts[c]++;
  const seen = Array.from(counts, (count) => count > 0);
  return { ...own, places, k, m: places.length, truth, counts, seen };
}

/** The mean shares everywhere: the optimum for an infinite penalty, [k s + 1]. */
function start({ s, k, m, counts }) {
  const weights = new Float64Array(k * (s + 1));
  for (let c = 0; c < k; c++) {
    weights[c * (s + 1) + s] = counts[c] > 0 ? Math.log(counts[c] / m) : 0;
  }
  return weights;
}

/** Weights of all labels as a beginning for some of them; 0 for what these do not show. */
function warm(problem, whole) {
  const weights = whole.slice(), width = problem.s + 1;
  problem.seen.forEach((seen, c) => {
    if (!seen) weights.fill(0, c * width, (c + 1) * width);
  });
  return weights;
}

/** Logits [m k] of weights [k s + 1]; -Infinity for classes that no label shows. */
function logitsAt({ u, s, k, m, places, seen }, weights, without = -Infinity) {
  const logits = new Float64Array(m * k);
  for (let i = 0; i < m; i++) {
    dots(u, places[i] * s, weights, s + 1, k, s, logits, i * k);
    for (let c = 0; c < k; c++) {
      const at = i * k + c;
      logits[at] = seen[c] ? logits[at] + weights[c * (s + 1) + s] : without;
    }
  }
  return logits;
}

/** Loss at logits, with the shares [m k] there. */
function lossAt({ s, k, m, truth }, logits, weights, strength) {
  const shares = new Float64Array(m * k);
  let loss = 0;
  for (let i = 0; i < m; i++) {
    const log = logSum(logits, i * k, k);
    loss += log - logits[i * k + truth[i]];
    for (let c = 0; c < k; c++) shares[i * k + c] = Math.exp(logits[i * k + c] - log);
  }
  for (let c = 0; c < k; c++) {
    const at = c * (s + 1);
    loss += 0.5 * strength * dot(weights, at, weights, at, s);
  }
  return { loss, shares };
}

function gradientAt({ u, s, k, m, places, truth, seen }, shares, weights, strength) {
  const gradient = new Float64Array(weights.length), off = new Float64Array(m);
  for (let c = 0; c < k; c++) {
    if (!seen[c]) continue;
    const at = c * (s + 1);
    for (let i = 0; i < m; i++) {
      off[i] = shares[i * k + c] - (truth[i] === c ? 1 : 0);
      gradient[at + s] += off[i];
    }
    let i = 0;
    for (; i + 3 < m; i += 4) {
      const four = [places[i] * s, places[i + 1] * s, places[i + 2] * s, places[i + 3] * s];
      addFour(off.subarray(i, i + 4), u, four, gradient, at, s);
    }
    for (; i < m; i++) addScaled(off[i], u, places[i] * s, gradient, at, s);
    addScaled(strength, weights, at, gradient, at, s);
  }
  return gradient;
}

/** Second derivative along a direction whose logits are `turn`. */
function bendAt({ s, k, m }, shares, turn, direction, strength) {
  let bend = 0;
  for (let i = 0; i < m; i++) {
    let mean = 0, square = 0;
    for (let c = 0; c < k; c++) {
      const part = shares[i * k + c] * turn[i * k + c];
      mean += part;
      square += part * turn[i * k + c];
    }
    bend += square - mean * mean;
  }
  for (let c = 0; c < k; c++) {
    const at = c * (s + 1);
    bend += strength * dot(direction, at, direction, at, s);
  }
  return bend;
}

/** Multiplies by about the inverse Hessian: that of a ridge with each class's curvature. */
function preconditioner({ s, k, m, diagonal, off }, shares, strength) {
  const curvature = new Float64Array(k);
  for (let i = 0; i < m * k; i++) curvature[i % k] += (shares[i] * (1 - shares[i])) / m;
  const floored = curvature.map((value) => Math.max(value, LEAST_CURVATURE));
  const solvers = [...floored].map((bend) => tridiagonalSolver(diagonal, off, strength, bend));
  return (way) => {
    for (let c = 0; c < k; c++) {
      solvers[c](way, c * (s + 1));
      way[c * (s + 1) + s] /= m * floored[c];
    }
  };
}

/** Weights [k s + 1] of the least loss. */
function minimise(problem, strength, from, promise) {
  const size = from.length;
  let memory = [], fresh = true;
  let weights = from.slice();
  let logits = logitsAt(problem, weights);
  let { loss, shares } = lossAt(problem, logits, weights, strength);
  let gradient = gradientAt(problem, shares, weights, strength);
  let soften = preconditioner(problem, shares, strength);
  for (let step = 0; step < MAX_STEPS; step++) {
    const way = descent(gradient, memory, soften);
    const gain = -dot(gradient, 0, way, 0, size);
    if (!(gain > promise)) {
      if (fresh) break;
      // Classes that come apart leave less curvature than there was, and more to gain.
      soften = preconditioner(problem, shares, strength);
      [memory, fresh] = [[], true];
      continue;
    }
    fresh = false;
    const turn = logitsAt(problem, way, 0);
    const bend = bendAt(problem, shares, turn, way, strength);
    let length = bend > 0 ? gain / bend : 1, next = null;
    for (let halving = 0; halving < MAX_HALVINGS && next === null; halving++, length /= 2) {
      const there = weights.map((weight, i) => weight + length * way[i]);
      const ahead = logits.map((logit, i) => logit + length * turn[i]);
      const reached = lossAt(problem, ahead, there, strength);
      if (reached.loss <= loss - 1e-4 * length * gain + 1e-13 * Math.abs(loss)) {
        next = { there, ahead, ...reached };
      }
    }
    if (next === null) break;
    const newGradient = gradientAt(problem, next.shares, next.there, strength);
    remember(memory, next.there.map((w, i) => w - weights[i]),
      newGradient.map((g, i) => g - gradient[i]));
    ({ there: weights, ahead: logits, loss, shares } = next);
    gradient = newGradient;
  }
  return weights;
}

function remember(memory, move, change) {
  const curvature = dot(move, 0, change, 0, move.length);
  if (!(curvature > 0)) return;
  memory.push({ move, change, curvature });
  if (memory.length > MEMORY) memory.shift();
}

/** The two loops of L-BFGS: minus the inverse Hessian, about, times the gradient. */
function descent(gradient, memory, soften) {
  const way = gradient.map((value) => -value), size = way.length;
  const alphas = memory.map(() => 0);
  for (let i = memory.length - 1; i >= 0; i--) {
    const { move, change, curvature } = memory[i];
    alphas[i] = dot(move, 0, way, 0, size) / curvature;
    addScaled(-alphas[i], change, 0, way, 0, size);
  }
  soften(way);
  memory.forEach(({ move, change, curvature }, i) => {
    const beta = dot(change, 0, way, 0, size) / curvature;
    addScaled(alphas[i] - beta, move, 0, way, 0, size);
  });
  return way;
}
