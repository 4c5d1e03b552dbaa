// What a head's prediction of a region is made of: parts that add up to it, exactly.
//
// A linear head adds up its features, so every feature's part is known. A part says what
// this head reads where, not what causes what: features go together, and another head of
// the same quality may divide the sum in another way.

import { dot } from "./products.js";
import { mixLogs, mixOf, setVector } from "./poi_encoder.js";

/**
 * @typedef {Object} Contributions
 * @property {number} baseline What the head says of the mean of its labelled regions.
 * @property {{name: string, start: number, size: number, value: number}[]} groups Parts
 *     of each group of features.
 * @property {{group: string, category: number, value: number}[]} categories Parts of
 *     single columns of groups that hold counts; category -1 is the number of all POIs.
 * @property {number} sum baseline and all groups: what the head says, before predictions
 *     are kept within 0 and the ceiling.
 */

/**
 * Parts of a prediction of a number.
 *
 * On the scale that is regressed: log(1 + value / unit) where scale.log, so that
 * exp(value) is a factor of 1 + value / unit; else in the label's unit.
 * @param {Object} head By heads.fitNumbers.
 * @param {Float32Array} x Features [n d].
 * @param {number} region
 * @param {{name: string, start: number, size: number}[]} groups city.groups
 * @param {number} [numCategories] Columns of counts; see `contributions`.
 * @returns {Contributions}
 */
export function whyNumber(head, x, region, groups, numCategories = 0) {
  const { deviation, mean } = head.scale;
  const kernel = head.kernel.map((value) => value * deviation);
  const bias = head.bias * deviation + mean;
  return contributions(kernel, bias, head, x, region, groups, numCategories);
}

/**
 * Parts of how likely a class is: of its logarithm, less the mean logarithm of all
 * classes that a label showed.
 * @param {Object} head By heads.fitClasses.
 * @param {Float32Array} x Features [n d].
 * @param {number} region
 * @param {number} c The class.
 * @param {{name: string, start: number, size: number}[]} groups city.groups
 * @param {number} [numCategories] Columns of counts; see `contributions`.
 * @returns {Contributions}
 */
export function whyClass(head, x, region, c, groups, numCategories = 0) {
  const { d, k } = head, kernel = head.kernel.slice(c * d, (c + 1) * d);
  const shown = [...Array(k).keys()].filter((other) => isShown(head, other));
  let bias = head.bias[c];
  for (const other of shown) {
    for (let j = 0; j < d; j++) kernel[j] -= head.kernel[other * d + j] / shown.length;
    bias -= head.bias[other] / shown.length;
  }
  return contributions(kernel, bias, head, x, region, groups, numCategories);
}

/** Whether a label showed a class: others have no kernel. */
function isShown(head, c) {
  if (head.kernel.every((value) => value === 0)) return true;
  return head.kernel.subarray(c * head.d, (c + 1) * head.d).some((value) => value !== 0);
}

/**
 * Parts of kernel . x + bias, around the mean of the labelled regions.
 *
 * A group whose name begins with "POI counts" holds log(1 + count) of each category and
 * then of all POIs; of its columns each is named.
 */
function contributions(kernel, bias, head, x, region, groups, numCategories) {
  const d = kernel.length;
  const part = (j) => kernel[j] * (x[region * d + j] - head.mean[j]);
  const baseline = bias + dot(kernel, 0, head.mean, 0, d);
  const categories = [];
  const parts = groups.map(({ name, start, size }) => {
    let value = 0;
    for (let j = start; j < start + size; j++) value += part(j);
    if (name.startsWith("POI counts") && size === numCategories + 1) {
      for (let c = 0; c < size; c++) {
        const category = c < numCategories ? c : -1;
        categories.push({ group: name, category, value: part(start + c) });
      }
    }
    return { name, start, size, value };
  });
  categories.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  const sum = parts.reduce((total, { value }) => total + value, baseline);
  return { baseline, groups: parts, categories, sum };
}

/**
 * What a group of POI features owes to categories, by way of a linear map from counts:
 * an approximation. What it leaves over is `rest`.
 * @param {Object} map By mixes.fitCounts of the group's columns.
 * @param {Float64Array} kernel The head's, of the group's columns [width], on the scale of
 *     the parts.
 * @param {Float64Array} logs log(1 + count) of each category, then of all, of the region
 *     [c + 1].
 * @param {Float64Array} usual The same of the mean of the labelled regions.
 * @param {number} whole The group's exact part.
 * @returns {{categories: {category: number, value: number}[], rest: number}}
 */
export function throughCounts(map, kernel, logs, usual, whole) {
  const c = logs.length, categories = [];
  let rest = whole;
  for (let t = 0; t < c; t++) {
    if (logs[t] === usual[t]) continue;
    let slope = 0;
    for (let j = 0; j < kernel.length; j++) slope += kernel[j] * map.lines[j * c + t];
    const value = slope * (logs[t] - usual[t]);
    rest -= value;
    categories.push({ category: t < c - 1 ? t : -1, value });
  }
  categories.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  return { categories, rest };
}

/**
 * What a prediction would lose without the region's own POIs of one category: the set is
 * encoded again without them. Nothing is approximated; what lies around stays as it is.
 * @param {Object} city See README.md: embeddings, d, groups, mean, deviation, pois.
 * @param {Object} weights See poi_encoder.js.
 * @param {Float64Array} kernel Of the prediction's scale [d]: of a number `numberKernel`.
 * @param {number} region
 * @returns {{category: number, count: number, value: number}[]} The prediction with all
 *     POIs less that without those of the category, on the scale of the kernel; the
 *     largest difference first. [] where no group holds POIs, or there are none.
 */
export function withoutCategories(city, weights, kernel, region) {
  const whole = mixOf(city, region), full = poiPart(city, weights, kernel, whole), rows = [];
  for (const [category, count] of whole) {
    const mix = new Map(whole);
    mix.delete(category);
    rows.push({ category, count, value: full - poiPart(city, weights, kernel, mix) });
  }
  return rows.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
}

/** The kernel of a head for numbers, on the scale of its parts [d]. */
export function numberKernel(head) {
  return head.kernel.map((value) => value * head.scale.deviation);
}

/** What a kernel makes of the groups that a mix of POIs decides. */
function poiPart(city, weights, kernel, mix) {
  let sum = 0;
  for (const { name, start, size } of city.groups) {
    if (name !== "POI counts" && name !== "POI set") continue;
    const raw = name === "POI set" ? setVector(weights, mix) : mixLogs(weights.c, mix);
    for (let j = 0; j < size; j++) {
      const deviation = city.deviation[start + j];
      if (deviation > 0) sum += (kernel[start + j] * (raw[j] - city.mean[start + j])) / deviation;
    }
  }
  return sum;
}
