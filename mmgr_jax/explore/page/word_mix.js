// A text as a mix of POIs, as `python -m mmgr_jax.query` makes one: by words whose
// vectors add up, and the categories nearest to their sum.

import { dot } from "./products.js";

/**
 * The words of a text, in small letters.
 * @param {string} text
 * @returns {string[]}
 */
export function wordsIn(text) {
  return text.toLowerCase().match(/\p{L}+/gu) ?? [];
}

/**
 * A text as POIs of a few categories.
 * @param {Object} vocabulary
 * @param {Map<string, number>} vocabulary.place Word -> its row.
 * @param {Int16Array} vocabulary.numbers [w m]
 * @param {Float32Array} vocabulary.scale [w]
 * @param {Float32Array} vocabulary.mean [m]
 * @param {Float32Array} vocabulary.components [d m]
 * @param {Float32Array} vocabulary.table Vectors of categories, of length 1 [k d].
 * @param {number} vocabulary.number POIs in all.
 * @param {number} vocabulary.nearest Categories at most.
 * @param {number} vocabulary.temperature Of the softmax over cosines.
 * @param {string} text
 * @returns {{mix: number[][], unknown: string[]}} Pairs of category and number of POIs,
 *     the nearest category first, [] where no word is known; words that are not known.
 */
export function wordsAsMix(vocabulary, text) {
  const { place, numbers, scale, mean, components, table } = vocabulary;
  const m = mean.length, d = components.length / m, sum = new Float64Array(m);
  const words = wordsIn(text), known = words.filter((word) => place.has(word));
  const unknown = [...new Set(words.filter((word) => !place.has(word)))];
  for (const word of known) {
    const at = place.get(word), factor = scale[at];
    for (let j = 0; j < m; j++) sum[j] += factor * numbers[at * m + j];
  }
  const size = Math.sqrt(dot(sum, 0, sum, 0, m));
  if (!(size > 0)) return { mix: [], unknown };
  for (let j = 0; j < m; j++) sum[j] = sum[j] / size - mean[j];
  const vector = Float64Array.from({ length: d }, (_, c) => dot(sum, 0, components, c * m, m));
  const length = Math.sqrt(dot(vector, 0, vector, 0, d)) || 1;
  const cosine = Float64Array.from({ length: table.length / d }, (_, k) =>
    dot(vector, 0, table, k * d, d) / length);
  return { mix: shared(cosine, vocabulary), unknown };
}

/** Categories nearest by cosine share a number of POIs, by largest remainders. */
function shared(cosine, { number, nearest, temperature }) {
  const order = [...cosine.keys()].sort((a, b) => cosine[b] - cosine[a] || a - b).slice(0, nearest);
  const weights = order.map((k) => Math.exp((cosine[k] - cosine[order[0]]) / temperature));
  const total = weights.reduce((a, b) => a + b, 0);
  const wanted = weights.map((weight) => (number * weight) / total);
  const counts = wanted.map(Math.floor);
  const rest = [...counts.keys()].sort((a, b) => counts[a] - wanted[a] - (counts[b] - wanted[b]) || a - b);
  const missing = number - counts.reduce((a, b) => a + b, 0);
  for (const i of rest.slice(0, missing)) counts[i]++;
  return order.map((category, i) => [category, counts[i]]).filter(([, count]) => count > 0);
}
