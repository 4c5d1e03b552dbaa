// Softmax regression of few labels, its penalty chosen by cross-validation over blocks.
//
// Minimises sum_i -log p_i(true class) + strength / 2 |W|^2 with free intercepts, as
// Python's heads and scikit-learn do. Limited-memory BFGS in tridiagonal coordinates (see
// linalg.js), where the curvature of a ridge of the same penalty is its starting point.

import { coordinates, standardisedRows, tridiagonalSolver } from "./linalg.js";
import { addProducts, addScaled, dot, products } from "./products.js";

/** About what is told of a class that no label shows. */
export const UNSEEN_SHARE = 1e-6;

/** No weaker penalty is tried after so many in a row that did worse than the best. */
const PATIENCE = 2;

/** Of more labels than these two parts in five choose the penalty, without patience: they
 * are enough. */
const MANY_LABELS = 150, PARTS_OF_MANY = 2, PATIENCE_OF_MANY = 1;

/** A fit ends when the next step promises to lower the loss by less than half of it: while
 * penalties are compared, of labels left out, and of the map. */
const ROUGH = 1e-3, ROUGH_OF_MANY = 1e-2, EXACT = 1e-9;

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
  const { losses, best, taught } = cross(own, classes, k, part, parts, strengths);
  const problem = subset(own, [...Array(m).keys()], classes, k);
  const promise = EXACT * Math.min(strengths[best], 1);
  const fit = minimise(problem, strengths[best], middle(problem, taught), promise);
  const left = outOfPart(own, classes, k, part, parts, strengths[best], fit, taught);
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

/** Losses by each strength [a], the index of the least, and the fits that have it. */
function cross(own, classes, k, part, parts, strengths) {
  const losses = new Float64Array(strengths.length).fill(NaN);
  const order = [...strengths.keys()].sort((a, b) => strengths[b] - strengths[a]);
  if (parts < 2) return { losses, best: order[0], taught: [] };
  const many = part.length > MANY_LABELS;
  const chooses = many ? Math.min(parts, PARTS_OF_MANY) : parts;
  const patience = many ? PATIENCE_OF_MANY : PATIENCE, promise = many ? ROUGH_OF_MANY : ROUGH;
  const count = part.reduce((sum, own) => sum + (own < chooses ? 1 : 0), 0);
  const taught = Array.from({ length: chooses }, (_, held) => {
    const problem = without(own, classes, k, part, held);
    return { problem, weights: start(problem), chosen: null };
  });
  let best = order[0], worse = 0;
  for (const index of order) {
    if (worse >= patience) break;
    let sum = 0;
    taught.forEach((cell, held) => {
      cell.weights = minimise(cell.problem, strengths[index], cell.weights, promise);
      for (let i = 0; i < part.length; i++) {
        if (part[i] === held) sum -= logShares(own, cell, i)[classes[i]];
      }
    });
    losses[index] = sum / count;
    const better = !(losses[best] <= losses[index]) || index === best;
    worse = better ? 0 : worse + 1;
    if (better) for (const cell of taught) cell.chosen = cell.weights;
    if (better) best = index;
  }
  return { losses, best, taught };
}

/** The labels outside a part. */
function without(own, classes, k, part, held) {
  return subset(own, [...part.keys()].filter((i) => part[i] !== held), classes, k);
}

/** Log-probabilities of each label by the head of the other parts [m k]. */
function outOfPart(own, classes, k, part, parts, strength, whole, taught) {
  const left = new Float64Array(part.length * k).fill(NaN);
  for (let held = 0; held < parts && parts > 1; held++) {
    const known = taught[held];
    const problem = known ? known.problem : without(own, classes, k, part, held);
    const from = known ? known.chosen : warm(problem, whole);
    const weights = minimise(problem, strength, from, ROUGH);
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

/** The mean of what some of the labels taught, as a beginning for all. */
function middle(problem, taught) {
  const weights = start(problem), width = problem.s + 1;
  for (let c = 0; c < problem.k; c++) {
    const seen = taught.filter((cell) => cell.problem.seen[c]);
    if (!seen.length) continue;
    weights.fill(0, c * width, (c + 1) * width);
    for (const { chosen } of seen) {
      addScaled(1 / seen.length, chosen, c * width, weights, c * width, width);
    }
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

/** Logits [m k] of weights [k s + 1]; `absent` for classes that no label shows. */
function logitsAt({ u, s, k, places, seen }, weights, absent, logits) {
  products(u, places, s, weights, s + 1, k, logits);
  for (let at = 0; at < logits.length; at += k) {
    for (let c = 0; c < k; c++) {
      logits[at + c] = seen[c] ? logits[at + c] + weights[c * (s + 1) + s] : absent;
    }
  }
}

/** A place of a fit: room for weights, logits, shares and gradient. */
function place({ m, k }, size) {
  const [weights, gradient] = [new Float64Array(size), new Float64Array(size)];
  return { weights, gradient, logits: new Float64Array(m * k), shares: new Float64Array(m * k), loss: 0 };
}

/** Sets loss and shares of a place by its logits and weights. */
function weigh({ s, k, m, truth }, here, strength) {
  const { logits, shares, weights } = here;
  let loss = 0;
  for (let i = 0, at = 0; i < m; i++, at += k) {
    let most = -Infinity, sum = 0;
    for (let c = 0; c < k; c++) if (logits[at + c] > most) most = logits[at + c];
    for (let c = 0; c < k; c++) sum += shares[at + c] = Math.exp(logits[at + c] - most);
    loss += most + Math.log(sum) - logits[at + truth[i]];
    for (let c = 0; c < k; c++) shares[at + c] /= sum;
  }
  for (let at = 0; at < k * (s + 1); at += s + 1) {
    loss += 0.5 * strength * dot(weights, at, weights, at, s);
  }
  here.loss = loss;
}

/** Sets the gradient of a place; `off` [m k] is room. */
function slope({ u, s, k, m, places, truth }, { shares, weights, gradient }, strength, off) {
  off.set(shares);
  for (let i = 0; i < m; i++) off[i * k + truth[i]] -= 1;
  gradient.fill(0);
  addProducts(off, u, places, s, gradient, s + 1, k);
  for (let c = 0; c < k; c++) {
    const at = c * (s + 1);
    for (let i = 0; i < m; i++) gradient[at + s] += off[i * k + c];
    addScaled(strength, weights, at, gradient, at, s);
  }
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
  const size = from.length, room = problem.m * problem.k;
  const way = new Float64Array(size), turn = new Float64Array(room), off = new Float64Array(room);
  let memory = [], fresh = true, here = place(problem, size), next = place(problem, size);
  here.weights.set(from);
  logitsAt(problem, here.weights, -Infinity, here.logits);
  weigh(problem, here, strength);
  slope(problem, here, strength, off);
  let soften = preconditioner(problem, here.shares, strength);
  for (let step = 0; step < MAX_STEPS; step++) {
    descent(here.gradient, memory, soften, way);
    const gain = -dot(here.gradient, 0, way, 0, size);
    if (!(gain > promise)) {
      if (fresh) break;
      // Classes that come apart leave less curvature than there was, and more to gain.
      soften = preconditioner(problem, here.shares, strength);
      [memory, fresh] = [[], true];
      continue;
    }
    fresh = false;
    logitsAt(problem, way, 0, turn);
    if (!search(problem, strength, here, way, turn, gain, next)) break;
    slope(problem, next, strength, off);
    remember(memory, here, next);
    [here, next] = [next, here];
  }
  return here.weights;
}

/** Goes from `here` along a way whose logits are `turn` to `next`; false: nowhere. */
function search(problem, strength, here, way, turn, gain, next) {
  const bend = bendAt(problem, here.shares, turn, way, strength);
  let length = bend > 0 ? gain / bend : 1;
  for (let halving = 0; halving < MAX_HALVINGS; halving++, length /= 2) {
    for (let i = 0; i < way.length; i++) next.weights[i] = here.weights[i] + length * way[i];
    for (let i = 0; i < turn.length; i++) next.logits[i] = here.logits[i] + length * turn[i];
    weigh(problem, next, strength);
    if (next.loss <= here.loss - 1e-4 * length * gain + 1e-13 * Math.abs(here.loss)) return true;
  }
  return false;
}

/** Keeps the last changes of weights and gradient, in the room of the oldest. */
function remember(memory, here, next) {
  const size = here.weights.length, full = memory.length >= MEMORY;
  const { move, change } = full
    ? memory.shift()
    : { move: new Float64Array(size), change: new Float64Array(size) };
  for (let i = 0; i < size; i++) {
    move[i] = next.weights[i] - here.weights[i];
    change[i] = next.gradient[i] - here.gradient[i];
  }
  const curvature = dot(move, 0, change, 0, size);
  if (curvature > 0) memory.push({ move, change, curvature });
}

/** The two loops of L-BFGS: minus the inverse Hessian, about, times the gradient. */
function descent(gradient, memory, soften, way) {
  const size = way.length, alphas = new Float64Array(memory.length);
  for (let i = 0; i < size; i++) way[i] = -gradient[i];
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
}
