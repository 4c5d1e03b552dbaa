// What to label next: regions from which the rest of the city is learnt best.
//
// A ridge says before any label how unsure it will be of every region: its predictive
// variance depends on where labels lie, not on what they say. So regions are chosen one
// after another, each where it lowers the mean variance over the city most ("variance
// reduction", uncertainty and coverage in one), or by simpler rules to compare with.

import { dot, products } from "./products.js";

/** Rules by name; `suggest` takes the first where none is named. */
export const RULES = ["reduction", "variance", "spread", "seeded", "typical", "random"];

/** Variance of a label's noise, where the mean squared length of a region is 1. Chosen on
 * one generated city (docs/explore_labels.md): 0.03 to 0.3 did about as well. */
export const NOISE = 0.1;

/** Regions that a rule looks at: of more so many are drawn. */
export const MOST_LOOKED_AT = 1000;

/**
 * Random numbers between 0 and 1 that repeat: a linear congruential generator of 32 bits,
 * its digits mixed.
 * @param {number} seed
 * @returns {function(): number}
 */
export function randomNumbers(seed) {
  let state = (seed ^ 0x9e3779b9) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) >>> 0;
    mixed = Math.imul(mixed ^ (mixed >>> 12), 0x297a2d39) >>> 0;
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 4294967296;
  };
}

/**
 * Some of the items, drawn without putting back, in the order drawn.
 * @param {ArrayLike<number>} items
 * @param {number} count
 * @param {function(): number} random
 * @returns {number[]}
 */
export function drawn(items, count, random) {
  const left = [...items];
  const most = Math.min(count, left.length);
  for (let i = 0; i < most; i++) {
    const j = i + Math.floor(random() * (left.length - i));
    [left[i], left[j]] = [left[j], left[i]];
  }
  return left.slice(0, most);
}

/**
 * Regions to label next, the best first.
 * @param {Object} given
 * @param {Float32Array} given.x Features [n d], standardised over the city.
 * @param {number} given.d
 * @param {ArrayLike<number>} given.candidates Regions that may be labelled; labelled ones
 *     are passed over.
 * @param {ArrayLike<number>} [given.labelled] Regions that have labels.
 * @param {ArrayLike<number>} [given.city] Regions that are to be predicted; the candidates
 *     where none are named.
 * @param {?ArrayLike<number>} [given.weights] Factor of each column [d]; null: 1.
 * @param {number} given.count Regions wanted.
 * @param {string} [given.rule] One of RULES.
 * @param {number} [given.noise] See NOISE.
 * @param {number} [given.seed]
 * @returns {{regions: number[], score: number[]}} At most count; the score of each by the
 *     rule when it was chosen, comparable within one answer.
 * @throws {RangeError} Where there is no such rule.
 */
export function suggest(given) {
  const { x, d, labelled = [], weights = null, count } = given;
  const { rule = RULES[0], noise = NOISE, seed = 0 } = given;
  if (!RULES.includes(rule)) throw new RangeError(`${rule} is none of ${RULES.join(", ")}`);
  const random = randomNumbers(seed), known = new Set(labelled);
  const free = [...given.candidates].filter((region) => !known.has(region));
  if (rule === "random") {
    const regions = drawn(free, count, random);
    return { regions, score: regions.map(() => 0) };
  }
  const candidates = drawn(free, MOST_LOOKED_AT, random);
  const city = drawn(given.city ?? free, MOST_LOOKED_AT, random);
  const rows = (regions) => centredRows(x, d, regions, weights, city);
  const looked = {
    candidates: rows(candidates), city: rows(city), labelled: rows([...labelled]), d, random,
  };
  const chosen = CHOOSE[rule](looked, Math.min(count, candidates.length), noise);
  return { regions: chosen.map(([i]) => candidates[i]), score: chosen.map(([, score]) => score) };
}

/** Rows [m d], less the city's mean, in parts of the city's mean length. */
function centredRows(x, d, regions, weights, city) {
  const mean = new Float64Array(d);
  for (const region of city) {
    for (let j = 0; j < d; j++) mean[j] += x[region * d + j] / city.length;
  }
  let square = 0;
  for (const region of city) {
    for (let j = 0; j < d; j++) {
      square += ((weights ? weights[j] : 1) * (x[region * d + j] - mean[j])) ** 2;
    }
  }
  const scale = square > 0 ? Math.sqrt(city.length / square) : 0;
  const rows = new Float32Array(regions.length * d);
  regions.forEach((region, i) => {
    for (let j = 0; j < d; j++) {
      rows[i * d + j] = (weights ? weights[j] : 1) * (x[region * d + j] - mean[j]) * scale;
    }
  });
  return rows;
}

/** Squared distances of all rows of a [p d] to one row of b. */
function distancesTo(a, b, at, d) {
  const result = new Float64Array(a.length / d);
  for (let i = 0; i < result.length; i++) {
    let sum = 0;
    for (let j = 0; j < d; j++) sum += (a[i * d + j] - b[at * d + j]) ** 2;
    result[i] = sum;
  }
  return result;
}

/** The place of the largest value. */
function largest(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/**
 * By predictive variance: where it is largest, or where a label lowers the city's most.
 *
 * Cov(i, j) = 1 + x_i x_j is what a ridge with an intercept believes before any label;
 * each label takes its share from it (a step of the Cholesky decomposition).
 */
function byVariance({ candidates, city, labelled, d }, count, noise, reduce) {
  const free = candidates.length / d, points = new Float32Array(candidates.length + labelled.length);
  points.set(candidates);
  points.set(labelled, candidates.length);
  const p = points.length / d, q = reduce ? city.length / d : 0;
  const cross = new Float32Array(p * q), variance = new Float64Array(p), taken = [];
  products(points, p, d, city, d, q, cross);
  for (let i = 0; i < p; i++) {
    variance[i] = 1 + dot(points, i * d, points, i * d, d);
    for (let j = 0; j < q; j++) cross[i * q + j] += 1;
  }
  const take = (i) => {
    const own = new Float64Array(p), size = Math.sqrt(Math.max(variance[i], 0) + noise);
    products(points, p, d, points.subarray(i * d, (i + 1) * d), d, 1, own);
    for (let j = 0; j < p; j++) own[j] += 1;
    for (const before of taken) for (let j = 0; j < p; j++) own[j] -= before[i] * before[j];
    const withCity = Float64Array.from(cross.subarray(i * q, (i + 1) * q), (value) => value / size);
    for (let j = 0; j < p; j++) {
      own[j] /= size;
      variance[j] -= own[j] * own[j];
      for (let c = 0; c < q; c++) cross[j * q + c] -= own[j] * withCity[c];
    }
    taken.push(own);
  };
  for (let i = free; i < p; i++) take(i);
  const chosen = [], used = new Uint8Array(free);
  while (chosen.length < count) {
    const score = new Float64Array(free);
    for (let i = 0; i < free; i++) {
      const gain = reduce ? dot(cross, i * q, cross, i * q, q) / q : variance[i];
      score[i] = used[i] ? -1 : gain / (Math.max(variance[i], 0) + noise);
    }
    const best = largest(score);
    used[best] = 1;
    chosen.push([best, score[best]]);
    if (chosen.length < count) take(best);
  }
  return chosen;
}

/** Least squared distance of each candidate to any of some rows; Infinity without one. */
function distancesToAny(candidates, rows, d) {
  const least = new Float64Array(candidates.length / d).fill(Infinity);
  for (let i = 0; i < rows.length / d; i++) nearer(least, distancesTo(candidates, rows, i, d));
  return least;
}

function nearer(least, distances) {
  for (let i = 0; i < least.length; i++) least[i] = Math.min(least[i], distances[i]);
}

/** The farthest from all labels, again and again; the first is the one nearest the mean. */
function farthest({ candidates, labelled, d }, count) {
  const least = distancesToAny(candidates, labelled, d), chosen = [];
  while (chosen.length < count) {
    const first = !labelled.length && !chosen.length;
    const best = first ? nearestTo(candidates, new Float64Array(d), d) : largest(least);
    chosen.push([best, least[best]]);
    nearer(least, distancesTo(candidates, candidates, best, d));
    least[best] = -1;
  }
  return chosen;
}

/** Drawn by squared distance from all labels: the seeds of k-means++. */
function seeded({ candidates, labelled, d, random }, count) {
  const least = distancesToAny(candidates, labelled, d), chosen = [];
  while (chosen.length < count) {
    let open = least.map((value) => (Number.isFinite(value) ? Math.max(value, 0) : 1));
    if (!open.some((value) => value > 0)) open = least.map((value) => (value < 0 ? 0 : 1));
    let left = random() * open.reduce((sum, value) => sum + value, 0), best = largest(open);
    for (let i = 0; i < open.length; i++) {
      left -= open[i];
      if (left < 0) {
        best = i;
        break;
      }
    }
    chosen.push([best, open[best]]);
    nearer(least, distancesTo(candidates, candidates, best, d));
    least[best] = -1;
  }
  return chosen;
}

/** The middle of each k-means cluster without a label, those of large clusters first. */
function typical({ candidates, labelled, d, random }, count) {
  const p = candidates.length / d, k = Math.min(count + labelled.length / d, p);
  const seeds = seeded({ candidates, labelled: new Float32Array(0), d, random }, k);
  const centres = new Float64Array(k * d), member = new Int32Array(p);
  seeds.forEach(([i], c) => centres.set(candidates.subarray(i * d, (i + 1) * d), c * d));
  const sizes = new Float64Array(k);
  for (let round = 0; round < 25; round++) {
    for (let i = 0; i < p; i++) member[i] = nearestTo(centres, candidates.subarray(i * d), d);
    sizes.fill(0);
    const sums = new Float64Array(k * d);
    for (let i = 0; i < p; i++) {
      sizes[member[i]]++;
      for (let j = 0; j < d; j++) sums[member[i] * d + j] += candidates[i * d + j];
    }
    for (let j = 0; j < k * d; j++) {
      const size = sizes[Math.floor(j / d)];
      if (size) centres[j] = sums[j] / size;
    }
  }
  for (let i = 0; i < labelled.length / d; i++) {
    sizes[nearestTo(centres, labelled.subarray(i * d), d)] *= 1e-6;
  }
  const order = [...sizes.keys()].sort((a, b) => sizes[b] - sizes[a]), used = new Set();
  for (const c of order) {
    if (used.size === count) break;
    const middle = nearestTo(candidates, centres.subarray(c * d), d, used);
    used.add(middle);
  }
  return [...used].map((i) => [i, sizes[member[i]]]);
}

/** The row of a [p d] nearest to a point, but for some. */
function nearestTo(a, point, d, without = new Set()) {
  let best = -1, least = Infinity;
  for (let i = 0; i < a.length / d; i++) {
    if (without.has(i)) continue;
    let sum = 0;
    for (let j = 0; j < d && sum < least; j++) sum += (a[i * d + j] - point[j]) ** 2;
    if (sum < least) [best, least] = [i, sum];
  }
  return best;
}

const CHOOSE = {
  reduction: (looked, count, noise) => byVariance(looked, count, noise, true),
  variance: (looked, count, noise) => byVariance(looked, count, noise, false),
  spread: farthest,
  seeded,
  typical,
};
