// What computes with embeddings, beside the page: it holds them and answers calls.

import { scaledRows, unitRows } from "./arrays.js";
import { fitClasses, fitNumbers, predictClasses, predictNumbers } from "./heads.js";
import { fitCounts, picturesAt, picturesOfMix, poisOfPicture, regionsOfMix } from "./mixes.js";
import { heldNumbers, servedNumbers } from "./numbers.js";
import { encodeMix } from "./poi_encoder.js";
import { remoteOf } from "./remote.js";
import { MOST_LOOKED_AT, drawn, randomNumbers, suggest } from "./suggest.js";
import { numberKernel, whyClass, whyNumber, withoutCategories } from "./why.js";
import { inverseLengths, cosines, largest } from "./search.js";

const held = { city: null, counts: null, heads: new Map(), numbers: null, post: null };
const MOST_HEADS = 8;

const calls = {
  /** Takes the city's numbers; see page/README.md. */
  hold({ n, d, embeddings, scale, weights, blocks, poiWeights, ...rest }) {
    const rows = scaledRows(embeddings, scale, n, d);
    held.numbers = heldNumbers({ x: rows, n, d, weights, blocks });
    Object.assign(held, { n, d, weights });
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

  /** Takes what a server does not answer, and where the server is. */
  holdServed({ n, d, weights, blocks, poiWeights, address, inverse, mostAsked, mostVectors, spaceWidth, ...rest }) {
    const remote = remoteOf(address);
    const post = async (path, body) => new Float32Array(await remote.post(path, body));
    held.numbers = servedNumbers({ post, mostAsked, mostVectors, d, weights, blocks, inverse });
    held.post = spaceWidth ? post : null;
    const { groups, pois, categories, mean, deviation } = rest;
    const city = { n, d, groups, pois, categories, mean, deviation, blocks, projections: null };
    Object.assign(held, { n, d, weights, city, poiWeights });
    return { n, d };
  },

  /** The regions nearest to examples: `order`, and the `cosine` of every region. */
  async search({ positives, negatives, count, allowed }) {
    const { numbers } = held;
    const cosine = await numbers.cosines(await numbers.direction(positives, negatives));
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
  async twins({ positives, negatives, count }) {
    const { d, numbers, other } = held;
    const wanted = await numbers.direction(positives, negatives);
    const cosine = cosines(other.rows, other.inverse, other.n, d, wanted);
    return { order: largest(cosine, count, null, []), cosine };
  },

  /** A head from labels, and what it says of every region; see heads.js. */
  async label({ kind, rows, values, k }) {
    const { n, numbers } = held;
    const given = await numbers.part(rows);
    if (kind === "class") {
      const head = fitClasses({ ...given, classes: values, k });
      const { left, why, level, strength } = head;
      let right = 0;
      values.forEach((own, i) => {
        const row = left.subarray(i * k, (i + 1) * k);
        if (row[own] === Math.max(...row)) right++;
      });
      const seen = await numbers.seen(head);
      return { ...predictClasses(seen.head, seen.x, n), left, right, why, level, strength };
    }
    const head = fitNumbers({ ...given, values });
    const { left, why, level, strength } = head;
    const missed = Float64Array.from(left, (value, i) => Math.abs(value - values[i])).sort();
    const middle = missed[missed.length >> 1];
    const seen = await numbers.seen(head);
    return { ...predictNumbers(seen.head, seen.x, n), left, missed: middle, why, level, strength };
  },

  /** What a prediction of a head owes to which features; heads are kept by `key`. */
  async why({ key, kind, rows, values, k, region }) {
    const { d, numbers, city } = held;
    const { groups } = city;
    if (!held.heads.has(key)) {
      const given = await numbers.part(rows);
      const head =
        kind === "class" ? fitClasses({ ...given, classes: values, k }) : fitNumbers({ ...given, values });
      if (held.heads.size >= MOST_HEADS) held.heads.delete(held.heads.keys().next().value);
      held.heads.set(key, head);
    }
    const head = held.heads.get(key);
    const { x, rows: [at] } = await numbers.part([region]);
    const own = x.subarray(at * d, (at + 1) * d);
    const number = city.categories.length;
    if (kind === "class") {
      const best = predictClasses(head, own, 1).best[0];
      return { best, parts: whyClass(head, x, at, best, groups, number) };
    }
    const value = predictNumbers(head, own, 1).value[0];
    const exact = held.poiWeights && city.mean;
    const without = exact
      ? withoutCategories(city, held.poiWeights, numberKernel(head), region)
      : [];
    const parts = whyNumber(head, x, at, groups, number);
    return { value, log: head.scale.log, parts, without };
  },

  /** POIs that the picture of a region suggests; see mixes.js. */
  async poisOfPicture({ region }) {
    if (!held.post) return poisOfPicture(held.city, region);
    const picture = await held.post("rows/image", Uint32Array.of(region));
    return poisOfPicture(await inLine("poi", picture), region);
  },

  /** Pictures and regions that go with a mix: pairs [category, count]. */
  async mix({ mix, count, space }) {
    const wanted = new Map(mix);
    const regions = regionsOfMix(held.city, wanted, count);
    const asked = held.post !== null;
    if (!space || (asked && !held.poiWeights)) return { regions, pictures: null };
    if (held.poiWeights) {
      const place = encodeMix(held.poiWeights, wanted);
      if (asked) {
        const pictures = picturesAt(await inLine("image", place), [1], count);
        return { regions, exact: true, pictures };
      }
      return { regions, exact: true, pictures: picturesAt(held.city, place, count) };
    }
    held.counts ??= fitCounts(held.city);
    const { r2, cosine } = held.counts;
    const pictures = picturesOfMix(held.city, held.counts, wanted, count);
    return { regions, exact: false, r2, cosine, pictures };
  },

  /** Regions to label next; see suggest.js, whose draws are made here. */
  async suggest({ labelled, count }) {
    const { n, numbers } = held;
    const known = new Set(labelled);
    const free = Array.from({ length: n }, (_, i) => i).filter((i) => !known.has(i));
    const random = randomNumbers(0);
    const looked = drawn(free, MOST_LOOKED_AT, random);
    const predicted = drawn(free, MOST_LOOKED_AT, random);
    const all = [...looked, ...predicted, ...labelled];
    const { x, d, weights, rows } = await numbers.part(all);
    const [first, second] = [looked.length, looked.length + predicted.length];
    const own = {
      candidates: rows.slice(0, first), city: rows.slice(first, second), labelled: rows.slice(second),
    };
    const { regions, score } = suggest({ x, d, weights, ...own, count });
    const region = new Map(looked.map((i, place) => [rows[place], i]));
    return { regions: regions.map((row) => region.get(row)), score };
  },
};

/**
 * A city whose shared space is one line: the cosine of each row of a matrix with a vector,
 * which is all that nearest rows need of it.
 */
async function inLine(matrix, vector) {
  const cosine = await held.post(`products/${matrix}`, Float32Array.from(vector));
  const ones = new Float32Array(cosine.length).fill(1);
  const other = matrix === "poi" ? "image" : "poi";
  return { ...held.city, projections: { p: 1, [matrix]: cosine, [other]: ones } };
}

self.onmessage = async ({ data: { call, id, ...given } }) => {
  try {
    const started = performance.now();
    const result = await calls[call](given);
    self.postMessage({ id, result, takenMs: performance.now() - started });
  } catch (error) {
    self.postMessage({ id, error: String((error && error.message) || error) });
  }
};
