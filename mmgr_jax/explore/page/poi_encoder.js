// The city's own POI encoder for one set: the same numbers as in Python.
//
// Of encoders that read which POIs there are and not where: Set2Set, with or without
// counts. mmgr_jax/explore/poi_weights.py says which these are and writes the weights.

import { addScaled, dot } from "./products.js";

/**
 * @typedef {Object} PoiWeights
 * @property {number} c Categories.
 * @property {number} width Length of a category's vector.
 * @property {number} steps Readings of a set.
 * @property {boolean} counts Whether log(1 + count) stands behind the set's vector.
 * @property {Float32Array} vectors [c width]
 * @property {Float32Array} kernelIh [2 width, 4 width]
 * @property {Float32Array} kernelHh [width, 4 width]
 * @property {Float32Array} biasIh [4 width]
 * @property {Float32Array} biasHh [4 width]
 * @property {?Float32Array} empty Vector of a set without POIs [2 width]; null: what
 *     reading nothing gives.
 * @property {Float32Array} kernel1 [q, h]
 * @property {Float32Array} bias1 [h]
 * @property {Float32Array} kernel2 [h, p]
 * @property {Float32Array} bias2 [p]
 */

/** x [i] times a kernel [i o], plus a bias [o]. */
function dense(x, kernel, bias) {
  const out = Float64Array.from(bias), width = bias.length;
  for (let i = 0; i < x.length; i++) addScaled(x[i], kernel, i * width, out, 0, width);
  return out;
}

const sigmoid = (value) => 1 / (1 + Math.exp(-value));

/**
 * The vector of a set, without counts.
 * @param {PoiWeights} weights
 * @param {Map<number, number>} mix Index of a category -> its POIs, 0 and more.
 * @returns {Float64Array} [2 width]
 */
export function setVector(weights, mix) {
  const { width, steps, vectors } = weights;
  const held = [...mix].filter(([, count]) => count > 0);
  if (!held.length && weights.empty) return Float64Array.from(weights.empty);
  let summary = new Float64Array(2 * width);
  let hidden = new Float64Array(width), cell = new Float64Array(width);
  for (let step = 0; step < steps; step++) {
    const gates = dense(summary, weights.kernelIh, weights.biasIh);
    const own = dense(hidden, weights.kernelHh, weights.biasHh);
    for (let j = 0; j < gates.length; j++) gates[j] += own[j];
    const [input, forget, update, output] = [0, 1, 2, 3].map((g) => g * width);
    cell = cell.map((value, j) => sigmoid(gates[forget + j]) * value
      + sigmoid(gates[input + j]) * Math.tanh(gates[update + j]));
    hidden = cell.map((value, j) => sigmoid(gates[output + j]) * Math.tanh(value));
    summary = new Float64Array(2 * width);
    summary.set(hidden);
    const scores = held.map(([category]) => dot(hidden, 0, vectors, category * width, width));
    const most = scores.reduce((a, b) => Math.max(a, b), -Infinity);
    const shares = held.map(([, count], i) => count * Math.exp(scores[i] - most));
    const total = shares.reduce((a, b) => a + b, 0);
    held.forEach(([category], i) => {
      addScaled(shares[i] / total, vectors, category * width, summary, width, width);
    });
  }
  return summary;
}

/**
 * log(1 + count) of each category, then of all POIs.
 * @param {number} c Categories.
 * @param {Map<number, number>} mix
 * @returns {Float64Array} [c + 1]
 */
export function mixLogs(c, mix) {
  const logs = new Float64Array(c + 1);
  for (const [category, count] of mix) {
    logs[category] = Math.log1p(count);
    logs[c] += count;
  }
  logs[c] = Math.log1p(logs[c]);
  return logs;
}

/**
 * Where a mix of POIs lies in the space that pictures share: exactly what the model says.
 * @param {PoiWeights} weights
 * @param {Map<number, number>} mix
 * @returns {Float64Array} Of length 1 [p].
 */
export function encodeMix(weights, mix) {
  const set = setVector(weights, mix);
  const pooled = weights.counts ? Float64Array.from([...set, ...mixLogs(weights.c, mix)]) : set;
  const hidden = dense(pooled, weights.kernel1, weights.bias1).map((value) => Math.max(value, 0));
  const vector = dense(hidden, weights.kernel2, weights.bias2);
  const length = Math.sqrt(dot(vector, 0, vector, 0, vector.length)) || 1;
  return vector.map((value) => value / length);
}

/**
 * The POIs of a region as a mix.
 * @param {Object} city
 * @param {number} region
 * @returns {Map<number, number>}
 */
export function mixOf(city, region) {
  const { start, category, count } = city.pois, mix = new Map();
  for (let at = start[region]; at < start[region + 1]; at++) mix.set(category[at], count[at]);
  return mix;
}
