// What computes with embeddings, beside the page: it holds them and answers calls.

import { scaledRows, unitRows } from "./arrays.js";
import { fitClasses, fitNumbers, predictClasses, predictNumbers } from "./heads.js";
import { fitCounts, picturesAt, picturesOfMix, poisOfPicture, regionsOfMix } from "./mixes.js";
import { encodeMix } from "./poi_encoder.js";
import { suggest } from "./suggest.js";
import { numberKernel, whyClass, whyNumber, withoutCategories } from "./why.js";
import { inverseLengths, direction, cosines, largest } from "./search.js";

const held = { city: null, counts: null, heads: new Map() };
const MOST_HEADS = 8;

const calls = {
  /** Takes the city's numbers; see page/README.md. */
  hold({ n, d, embeddings, scale, weights, blocks, poiWeights, ...rest }) {
    const rows = scaledRows(embeddings, scale, n, d);
    const inverse = inverseLengths(rows, n, d, weights);
    Object.assign(held, { n, d, embeddings: rows, weights, blocks, inverse });
    for (const name of ["image", "poi"]) {
      if (!rest[name]) continue;
      const p = rest[name].length / n;
      held[name] = unitRows(scaledRows(rest[name], rest[`${name}Scale`], n, p), n, p);
      held.p = p;
    }
    const { image, poi, p } = held;
    const { groups, pois, categories, mean, deviation } = rest;
    const projections = image ? { p, image, poi } : null;
    held.city = { n, d, embeddings: rows, groups, pois, categories, mean, deviation, blocks, projections };
    held.poiWeights = poiWeights;
    return { n, d };
  },

  /** The regions nearest to examples: `order`, and the `cosine` of every region. */
  search({ positives, negatives, count, allowed }) {
    const { n, d, embeddings, weights, inverse } = held;
    const wanted = direction(embeddings, inverse, d, weights, positives, negatives);
    const cosine = cosines(embeddings, inverse, n, d, wanted);
    const order = largest(cosine, count, allowed, [...positives, ...negatives]);
    return { order, cosine };
  },

  /** Takes the numbers of another city that the same encoder read. */
  holdOther({ n, d, embeddings, scale }) {
    const rows = scaledRows(embeddings, scale, n, d);
    held.other = { n, rows, inverse: inverseLengths(rows, n, d, held.weights) };
    return { n };
  },

  /** The regions of the other city that are nearest to examples of this one. */
  twins({ positives, negatives, count }) {
    const { d, embeddings, weights, inverse, other } = held;
    const wanted = direction(embeddings, inverse, d, weights, positives, negatives);
    const cosine = cosines(other.rows, other.inverse, other.n, d, wanted);
    return { order: largest(cosine, count, null, []), cosine };
  },

  /** A head from labels, and what it says of every region; see heads.js. */
  label({ kind, rows, values, k }) {
    const { n, d, embeddings: x, weights, blocks } = held;
    const given = { x, d, rows, blocks, weights };
    if (kind === "class") {
      const head = fitClasses({ ...given, classes: values, k });
      const { left, why, level, strength } = head;
      let right = 0;
      values.forEach((own, i) => {
        const row = left.subarray(i * k, (i + 1) * k);
        if (row[own] === Math.max(...row)) right++;
      });
      return { ...predictClasses(head, x, n), left, right, why, level, strength };
    }
    const head = fitNumbers({ ...given, values });
    const { left, why, level, strength } = head;
    const missed = Float64Array.from(left, (value, i) => Math.abs(value - values[i])).sort();
    const middle = missed[missed.length >> 1];
    return { ...predictNumbers(head, x, n), left, missed: middle, why, level, strength };
  },

  /** What a prediction of a head owes to which features; heads are kept by `key`. */
  why({ key, kind, rows, values, k, region }) {
    const { d, embeddings: x, weights, blocks, city } = held;
    const { groups } = city;
    if (!held.heads.has(key)) {
      const given = { x, d, rows, blocks, weights };
      const head =
        kind === "class" ? fitClasses({ ...given, classes: values, k }) : fitNumbers({ ...given, values });
      if (held.heads.size >= MOST_HEADS) held.heads.delete(held.heads.keys().next().value);
      held.heads.set(key, head);
    }
    const head = held.heads.get(key);
    const own = x.subarray(region * d, (region + 1) * d);
    const number = city.categories.length;
    if (kind === "class") {
      const best = predictClasses(head, own, 1).best[0];
      return { best, parts: whyClass(head, x, region, best, groups, number) };
    }
    const value = predictNumbers(head, own, 1).value[0];
    const exact = held.poiWeights && city.mean;
    const without = exact
      ? withoutCategories(city, held.poiWeights, numberKernel(head), region)
      : [];
    const parts = whyNumber(head, x, region, groups, number);
    return { value, log: head.scale.log, parts, without };
  },

  /** POIs that the picture of a region suggests; see mixes.js. */
  poisOfPicture({ region }) {
    return poisOfPicture(held.city, region);
  },

  /** Pictures and regions that go with a mix: pairs [category, count]. */
  mix({ mix, count, space }) {
    const wanted = new Map(mix);
    const regions = regionsOfMix(held.city, wanted, count);
    if (!space) return { regions, pictures: null };
    if (held.poiWeights) {
      const place = encodeMix(held.poiWeights, wanted);
      return { regions, exact: true, pictures: picturesAt(held.city, place, count) };
    }
    held.counts ??= fitCounts(held.city);
    const { r2, cosine } = held.counts;
    const pictures = picturesOfMix(held.city, held.counts, wanted, count);
    return { regions, exact: false, r2, cosine, pictures };
  },

  /** Regions to label next; see suggest.js. */
  suggest({ labelled, count }) {
    const { n, d, embeddings: x, weights } = held;
    const candidates = Array.from({ length: n }, (_, i) => i);
    return suggest({ x, d, weights, candidates, labelled, count });
  },
};

self.onmessage = ({ data: { call, id, ...given } }) => {
  try {
    const started = performance.now();
    const result = calls[call](given);
    self.postMessage({ id, result, takenMs: performance.now() - started });
  } catch (error) {
    self.postMessage({ id, error: String((error && error.message) || error) });
  }
};
