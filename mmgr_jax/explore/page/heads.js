// From labels to a map: a head on the embeddings, its predictions, and its doubt.
//
// Numbers get a ridge on log(1 + value / median of the positive values), as long as none
// is negative; classes a softmax regression. Given the same labels and penalty both are
// Python's head "linear" (mmgr_jax/evaluation/heads).

import { dot, products } from "./products.js";
import { LEVEL, members, partsByBlock, radius, whyNoInterval } from "./doubt.js";
import { ridge } from "./ridge.js";
import { UNSEEN_SHARE, softmax } from "./softmax.js";

/** Penalties that are tried: those of `config.eval.strengths`. */
export const STRENGTHS = [1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e3, 1e4];

/** Predictions on a log scale stop at this many times the largest label. */
export const MAX_GROWTH = 2.0;

/** Fewer labels do not say how probabilities should be softened or sharpened. */
export const FEWEST_TO_CALIBRATE = 20;

const TEMPERATURES = [0.5, 0.63, 0.8, 1, 1.25, 1.6, 2, 2.5, 3.2, 4];

/**
 * What numbers become before they are regressed; see TargetScale of the evaluation.
 * @param {ArrayLike<number>} values Labels [m], finite.
 * @param {boolean} log Whether logarithms are taken.
 * @returns {{log: boolean, unit: number, ceiling: number, mean: number,
 *     deviation: number}}
 */
export function targetScale(values, log) {
  const positive = Float64Array.from([...values].filter((value) => value > 0)).sort();
  const half = positive.length >> 1;
  let unit = 1;
  if (positive.length) {
    unit = positive.length % 2 ? positive[half] : (positive[half - 1] + positive[half]) / 2;
  }
  const scaled = Float64Array.from(values, (value) => (log ? Math.log1p(value / unit) : value));
  const mean = scaled.reduce((sum, value) => sum + value, 0) / scaled.length;
  const square = scaled.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const deviation = Math.sqrt(square / scaled.length) || 1;
  const most = scaled.length ? [...values].reduce((a, b) => Math.max(a, b)) : 0;
  return { log, unit, ceiling: MAX_GROWTH * most, mean, deviation };
}

/** From what is regressed to the label's unit, as a function. */
function restorer(scale) {
  if (!scale.log) return (value) => value * scale.deviation + scale.mean;
  const most = Math.log1p(scale.ceiling / scale.unit);
  return (value) => {
    const scaled = value * scale.deviation + scale.mean;
    return scale.unit * Math.expm1(Math.min(Math.max(scaled, 0), most));
  };
}

/**
 * A head for numbers.
 * @param {Object} given
 * @param {Float32Array} given.x Features of all regions [n d]: city.embeddings.
 * @param {number} given.d
 * @param {ArrayLike<number>} given.rows Labelled regions [m], one or more.
 * @param {ArrayLike<number>} given.values Their labels [m], finite.
 * @param {ArrayLike<number>} given.blocks Block of every region [n]: city.blocks.
 * @param {?ArrayLike<number>} [given.weights] Factor of each column [d]: city.weights.
 * @param {?boolean} [given.log] null: unless a label is negative.
 * @param {number[]} [given.strengths]
 * @param {number} [given.level] Of the intervals.
 * @returns {Object} kind "number"; kernel [d], bias, scale, strength, losses [a]; left
 *     [m]: what the head without its block predicts of each label, in the label's unit;
 *     radius of the intervals, on the scale of logarithms where those were taken; level;
 *     why: "" or why there are no intervals (see doubt.whyNoInterval); mean and inverse
 *     [d] of the labelled features.
 * @throws {RangeError} Where there is no label, or one is not finite.
 */
export function fitNumbers(given) {
  const { x, d, rows, values, weights = null, strengths = STRENGTHS, level = LEVEL } = given;
  checkLabels(values, Number.isFinite);
  const log = given.log ?? !values.some((value) => value < 0);
  const scale = targetScale(values, log);
  const scaled = (value) => (log ? Math.log1p(value / scale.unit) : value);
  const y = Float64Array.from(values, (value) => (scaled(value) - scale.mean) / scale.deviation);
  const blocks = Array.from(rows, (row) => given.blocks[row]);
  const fit = ridge(x, d, rows, y, blocks, strengths, weights);
  const left = fit.left.map(restorer(scale));
  const errors = left.map((value, i) => Math.abs(scaled(value) - scaled(values[i])));
  const known = rows.length > 1;
  const limit = known ? radius(errors, blocks, level) : Infinity;
  const why = whyNoInterval(rows.length, members(blocks).length, limit);
  return { kind: "number", ...fit, d, scale, left, radius: why ? Infinity : limit, level, why };
}

/**
 * A head for classes.
 * @param {Object} given As for `fitNumbers`, but for `values` and `log`.
 * @param {ArrayLike<number>} given.classes Class of each labelled region [m], from 0.
 * @param {number} given.k Classes.
 * @param {ArrayLike<number>} [given.parts] Part of each label in cross-validation [m];
 *     otherwise whole blocks are dealt to five parts.
 * @returns {Object} kind "class"; k, kernel [k d], bias [k], strength, losses [a]; left
 *     [m k]: probabilities by heads without the part of each label; radius: a set of
 *     classes holds those with -log p within it; temperature that calibrates the
 *     probabilities, 1 where labels are few; level, why, mean, inverse.
 * @throws {RangeError} Where there is no label, or one names no class.
 */
export function fitClasses(given) {
  const { x, d, rows, classes, k, weights = null } = given;
  const { strengths = STRENGTHS, level = LEVEL } = given;
  checkLabels(classes, (index) => Number.isInteger(index) && index >= 0 && index < k);
  const blocks = Array.from(rows, (row) => given.blocks[row]);
  const parts = given.parts ?? partsByBlock(blocks);
  const fit = softmax(x, d, rows, classes, k, parts, strengths, weights);
  const surprise = Float64Array.from(classes, (c, i) => -fit.left[i * k + c]);
  const limit = Number.isFinite(surprise[0]) ? radius(surprise, blocks, level) : Infinity;
  const why = whyNoInterval(rows.length, members(blocks).length, limit);
  return {
    kind: "class", ...fit, d, k,
    left: fit.left.map(Math.exp),
    temperature: why || rows.length < FEWEST_TO_CALIBRATE ? 1 : temperature(fit.left, classes, k),
    radius: why ? Infinity : limit, level, why,
  };
}

function checkLabels(labels, allowed) {
  if (!labels.length) throw new RangeError("no region has a label");
  for (const label of labels) {
    if (!allowed(label)) throw new RangeError(`${label} is no label of this task`);
  }
}

/** Of the temperatures, that by which left-out labels surprise least. */
function temperature(left, classes, k) {
  let best = 1, least = Infinity;
  for (const tried of TEMPERATURES) {
    let loss = 0;
    for (let i = 0; i < classes.length; i++) {
      let sum = 0;
      for (let c = 0; c < k; c++) sum += Math.exp(left[i * k + c] / tried);
      loss += Math.log(sum) - left[i * k + classes[i]] / tried;
    }
    if (loss < least) [best, least] = [tried, loss];
  }
  return best;
}

/**
 * What a head for numbers says of every region.
 * @param {Object} head By `fitNumbers`.
 * @param {Float32Array} x Features [n d].
 * @param {number} n
 * @returns {{value: Float32Array, low: Float32Array, high: Float32Array}} [n] in the
 *     label's unit; low and high -Infinity (0 of logarithms) and Infinity where
 *     head.why says so.
 */
export function predictNumbers(head, x, n) {
  const value = new Float32Array(n), low = new Float32Array(n), high = new Float32Array(n);
  const restore = restorer(head.scale), { unit, log } = head.scale;
  const { kernel, bias, d } = head;
  for (let i = 0; i < n; i++) {
    const middle = restore(dot(kernel, 0, x, i * d, d) + bias);
    const centre = log ? Math.log1p(middle / unit) : middle;
    value[i] = middle;
    const least = centre - head.radius, most = centre + head.radius;
    low[i] = log ? unit * Math.expm1(Math.max(least, 0)) : least;
    high[i] = log ? unit * Math.expm1(most) : most;
  }
  return { value, low, high };
}

/**
 * What a head for classes says of every region.
 * @param {Object} head By `fitClasses`.
 * @param {Float32Array} x Features [n d].
 * @param {number} n
 * @returns {{probability: Float32Array, best: Int32Array, calibrated: Float32Array,
 *     inSet: Uint8Array, setSize: Int32Array}} Probabilities [n k], as Python's head
 *     gives them; the likeliest class [n] and its calibrated probability [n]; 1 where a
 *     class is in the region's set [n k], every class where head.why says so; the size
 *     of the set [n], which may be 0 where nothing is as likely as labels mostly were.
 */
export function predictClasses(head, x, n) {
  const { k, d, kernel, bias } = head;
  const probability = new Float32Array(n * k), inSet = new Uint8Array(n * k);
  const best = new Int32Array(n), calibrated = new Float32Array(n), setSize = new Int32Array(n);
  const logits = new Float64Array(k), soft = head.temperature !== 1;
  const least = Math.exp(-head.radius);
  products(x, n, d, kernel, d, k, probability);
  for (let i = 0; i < n; i++) {
    let most = -Infinity, sum = 0, softened = 0, chosen = 0, size = 0;
    for (let c = 0; c < k; c++) {
      logits[c] = probability[i * k + c] + bias[c];
      if (logits[c] > most) {
        most = logits[c];
        chosen = c;
      }
    }
    for (let c = 0; c < k; c++) {
      const above = logits[c] - most;
      if (soft) softened += Math.exp(above / head.temperature);
      sum += logits[c] = Math.exp(above);
    }
    for (let c = 0; c < k; c++) {
      const share = logits[c] / sum;
      probability[i * k + c] = share;
      if (Math.max(share, UNSEEN_SHARE) >= least) {
        inSet[i * k + c] = 1;
        size++;
      }
    }
    best[i] = chosen;
    calibrated[i] = 1 / (soft ? softened : sum);
    setSize[i] = size;
  }
  return { probability, best, calibrated, inSet, setSize };
}
