// Pictures and POI sets that suggest each other, by the space that both share.
//
// A picture suggests POIs by the real POI sets that fit it best. A mix that no region has
// is encoded by the POI encoder itself (poi_encoder.js). Encoders that read where POIs lie
// cannot do that for a mix; a linear map from counts to that space stands in for them, and
// says how good it is on blocks that it was not fitted to.

import { coordinates, standardisedRows, tridiagonalSolver } from "./linalg.js";
import { dot } from "./products.js";
import { partsByBlock } from "./doubt.js";
import { mixLogs } from "./poi_encoder.js";
import { largest } from "./search.js";
import { drawn, randomNumbers } from "./suggest.js";

/** Regions that a linear map is fitted to at most. */
export const MOST_FITTED = 3000;

/** Share of a category among the sets that fit counts as if so many sets of the city's
 * average had been among them: lifts of rare categories stay small. */
export const PRIOR_SETS = 5;

const STRENGTHS = [1, 10, 100, 1000];
const HELD_OUT_PARTS = 4;

/**
 * Regions by cosine to a vector, the nearest first.
 * @param {Float32Array} rows Rows of length 1 [n p].
 * @param {number} p
 * @param {ArrayLike<number>} vector Of length 1 [p].
 * @param {number} count
 * @param {function(number): boolean} [allowed]
 * @returns {{regions: number[], cosine: number[]}}
 */
export function nearestRows(rows, p, vector, count, allowed = () => true) {
  const point = Float64Array.from(vector), cosine = new Float64Array(rows.length / p);
  for (let i = 0; i < cosine.length; i++) {
    cosine[i] = allowed(i) ? dot(point, 0, rows, i * p, p) : NaN;
  }
  const regions = largest(cosine, count, null, []);
  return { regions, cosine: regions.map((i) => cosine[i]) };
}

/**
 * POIs that a region's picture suggests: what the POI sets hold that fit it best.
 * @param {Object} city See README.md: projections, pois, categories.
 * @param {number} region
 * @param {number} [count] POI sets that are looked at, those of other regions.
 * @returns {{regions: number[], cosine: number[], rows: {category: number, sets: number,
 *     share: number, cityShare: number, lift: number, mean: number}[]}} The regions whose
 *     sets fit; of each category that occurs in them: in how many sets, their share, the
 *     share of the city's regions with POIs, how many times as often (see PRIOR_SETS), and
 *     the mean number of POIs; the largest lift first.
 * @throws {RangeError} Where the city has no shared space.
 */
export function poisOfPicture(city, region, count = 50) {
  const { p, image, poi } = sharedSpace(city);
  const holds = (i) => city.pois.start[i + 1] > city.pois.start[i];
  const picture = image.subarray(region * p, (region + 1) * p);
  const near = nearestRows(poi, p, picture, count, (i) => i !== region && holds(i));
  const all = [...Array(city.n).keys()].filter(holds);
  const here = tally(city, near.regions), everywhere = tally(city, all);
  const rows = [];
  here.sets.forEach((sets, category) => {
    if (!sets) return;
    const share = sets / near.regions.length, cityShare = everywhere.sets[category] / all.length;
    const shrunk = (sets + PRIOR_SETS * cityShare) / (near.regions.length + PRIOR_SETS);
    const mean = here.pois[category] / near.regions.length;
    rows.push({ category, sets, share, cityShare, lift: shrunk / cityShare, mean });
  });
  rows.sort((a, b) => b.lift - a.lift || a.category - b.category);
  return { ...near, rows };
}

function sharedSpace(city) {
  if (!city.projections) throw new RangeError("pictures and POIs have no space that they share");
  return city.projections;
}

/** In how many sets each category occurs, and its POIs in all. */
function tally(city, regions) {
  const { start, category, count } = city.pois;
  const sets = new Float64Array(city.categories.length), pois = new Float64Array(sets.length);
  for (const i of regions) {
    for (let at = start[i]; at < start[i + 1]; at++) {
      sets[category[at]] += 1;
      pois[category[at]] += count[at];
    }
  }
  return { sets, pois };
}

/** log(1 + count) of each category, then of all: [m c + 1]. */
function logCounts(city, regions) {
  const { start, category, count } = city.pois, width = city.categories.length + 1;
  const logs = new Float64Array(regions.length * width);
  regions.forEach((i, row) => {
    let total = 0;
    for (let at = start[i]; at < start[i + 1]; at++) {
      logs[row * width + category[at]] = Math.log1p(count[at]);
      total += count[at];
    }
    logs[row * width + width - 1] = Math.log1p(total);
  });
  return logs;
}

/**
 * A linear map from a region's POI counts to what is known of regions, such as their POI
 * rows in the shared space: an approximation, as good as `r2` says.
 * @param {Object} city
 * @param {Object} [target] By default the POI rows of city.projections.
 * @param {Float32Array} target.values [n stride]
 * @param {number} target.stride
 * @param {number} target.start First column.
 * @param {number} target.width Columns.
 * @returns {{lines: Float64Array, bias: Float64Array, width: number, r2: number,
 *     cosine: number, strength: number, regions: number}} lines [width c + 1] on log(1 +
 *     count) of each category and of all; bias [width]; on regions of blocks that were
 *     held out: the share of the variance that the map explains, and the mean cosine of
 *     what it says to what is true; how many regions it was fitted to.
 */
export function fitCounts(city, target = null) {
  const { values, stride, start, width } = target ?? poiRows(city);
  const holds = (i) => city.pois.start[i + 1] > city.pois.start[i];
  const all = [...Array(city.n).keys()].filter(holds);
  if (all.length < 2) throw new RangeError("fewer than two regions have POIs");
  const regions = drawn(all, MOST_FITTED, randomNumbers(0));
  const logs = logCounts(city, regions);
  const truth = new Float64Array(regions.length * width);
  regions.forEach((region, i) => {
    for (let j = 0; j < width; j++) truth[i * width + j] = values[region * stride + start + j];
  });
  const part = partsByBlock(regions.map((region) => city.blocks[region]), HELD_OUT_PARTS);
  const rows = [...regions.keys()];
  const taught = rows.filter((i) => part[i] !== 0), held = rows.filter((i) => part[i] === 0);
  const c = city.categories.length + 1;
  const tried = linesAt(logs, c, taught, truth, width, STRENGTHS);
  const scored = tried.map((map) => ({ ...map, ...scores(map, logs, c, held, truth, width) }));
  const best = scored.reduce((a, b) => (b.r2 > a.r2 ? b : a));
  const [whole] = linesAt(logs, c, rows, truth, width, [best.strength]);
  return { ...whole, width, r2: best.r2, cosine: best.cosine, regions: regions.length };
}

function poiRows(city) {
  const { p, poi } = sharedSpace(city);
  return { values: poi, stride: p, start: 0, width: p };
}

/** Ridge regressions of several columns at once, one for each strength. */
function linesAt(logs, c, rows, truth, width, strengths) {
  const { z, mean, inverse } = standardisedRows(logs, c, rows);
  const { u, s, diagonal, off, back } = coordinates(z, rows.length, c);
  const centre = new Float64Array(width), products = new Float64Array(width * s);
  for (const i of rows) {
    for (let j = 0; j < width; j++) centre[j] += truth[i * width + j] / rows.length;
  }
  rows.forEach((i, row) => {
    for (let j = 0; j < width; j++) {
      const value = truth[i * width + j] - centre[j];
      for (let t = 0; t < s; t++) products[j * s + t] += value * u[row * s + t];
    }
  });
  return strengths.map((strength) => {
    const solve = tridiagonalSolver(diagonal, off, strength);
    const solved = products.slice(), lines = new Float64Array(width * c), bias = centre.slice();
    for (let j = 0; j < width; j++) {
      solve(solved, j * s);
      const line = back(solved.subarray(j * s, (j + 1) * s));
      for (let t = 0; t < c; t++) lines[j * c + t] = line[t] * inverse[t];
      bias[j] -= dot(lines, j * c, mean, 0, c);
    }
    return { lines, bias, strength };
  });
}

/** Share of the variance explained, and mean cosine, on some rows. */
function scores({ lines, bias }, logs, c, rows, truth, width) {
  const mean = new Float64Array(width);
  for (const i of rows) {
    for (let j = 0; j < width; j++) mean[j] += truth[i * width + j] / rows.length;
  }
  let error = 0, spread = 0, cosine = 0;
  for (const i of rows) {
    let product = 0, own = 0, other = 0;
    for (let j = 0; j < width; j++) {
      const value = bias[j] + dot(lines, j * c, logs, i * c, c), wanted = truth[i * width + j];
      error += (value - wanted) ** 2;
      spread += (wanted - mean[j]) ** 2;
      product += value * wanted;
      own += value * value;
      other += wanted * wanted;
    }
    cosine += own > 0 && other > 0 ? product / Math.sqrt(own * other) : 0;
  }
  return { r2: spread > 0 ? 1 - error / spread : 0, cosine: cosine / rows.length };
}

/**
 * Where a mix of POIs lies in the shared space, about.
 * @param {Object} map By `fitCounts`.
 * @param {Map<number, number>} mix Index of a category -> its POIs.
 * @returns {Float64Array} Of length 1 [p].
 */
export function mixVector(map, mix) {
  const c = map.lines.length / map.width, logs = mixLogs(c - 1, mix);
  const vector = map.bias.map((value, j) => value + dot(map.lines, j * c, logs, 0, c));
  const length = Math.sqrt(dot(vector, 0, vector, 0, vector.length)) || 1;
  return vector.map((value) => value / length);
}

/**
 * Pictures nearest to a place in the shared space.
 * @param {Object} city
 * @param {ArrayLike<number>} vector Of length 1 [p]: where a mix lies by
 *     poi_encoder.encodeMix, exactly, or by `mixVector`, about.
 * @param {number} [count]
 * @returns {{regions: number[], cosine: number[]}} The nearest first.
 */
export function picturesAt(city, vector, count = 20) {
  const { p, image } = sharedSpace(city);
  return nearestRows(image, p, vector, count);
}

/**
 * Pictures that a mix of POIs suggests, about: by a linear map.
 * @param {Object} city
 * @param {Object} map By `fitCounts`.
 * @param {Map<number, number>} mix
 * @param {number} [count]
 * @returns {{regions: number[], cosine: number[]}} The nearest first.
 */
export function picturesOfMix(city, map, mix, count = 20) {
  return picturesAt(city, mixVector(map, mix), count);
}

/**
 * Real regions whose POIs are most like a mix: nothing is approximated.
 * @param {Object} city
 * @param {Map<number, number>} mix
 * @param {number} [count]
 * @returns {{regions: number[], likeness: number[]}} By the cosine of log(1 + count).
 */
export function regionsOfMix(city, mix, count = 20) {
  const { start, category, count: number } = city.pois, found = [];
  let own = 0;
  for (const wanted of mix.values()) own += Math.log1p(wanted) ** 2;
  for (let i = 0; i < city.n; i++) {
    let product = 0, square = 0;
    for (let at = start[i]; at < start[i + 1]; at++) {
      const log = Math.log1p(number[at]);
      square += log * log;
      product += log * Math.log1p(mix.get(category[at]) ?? 0);
    }
    if (product > 0) found.push([product / Math.sqrt(own * square), i]);
  }
  found.sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  const best = found.slice(0, count);
  return { regions: best.map(([, i]) => i), likeness: best.map(([value]) => value) };
}
