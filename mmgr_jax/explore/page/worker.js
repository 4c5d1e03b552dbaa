// What computes with embeddings, beside the page: it holds them and answers calls.

import { scaledRows, unitRows } from "./arrays.js";
import { fitClasses, fitNumbers, predictClasses, predictNumbers } from "./heads.js";
import { suggest } from "./suggest.js";
import { inverseLengths, direction, cosines, largest } from "./search.js";

const held = {};

const calls = {
  /** Takes the city's numbers; see page/README.md. */
  hold({ n, d, embeddings, scale, weights, blocks, ...rest }) {
    const rows = scaledRows(embeddings, scale, n, d);
    const inverse = inverseLengths(rows, n, d, weights);
    Object.assign(held, { n, d, embeddings: rows, weights, blocks, inverse });
    for (const name of ["image", "poi"]) {
      if (!rest[name]) continue;
      const p = rest[name].length / n;
      held[name] = unitRows(scaledRows(rest[name], rest[`${name}Scale`], n, p), n, p);
      held.p = p;
    }
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
