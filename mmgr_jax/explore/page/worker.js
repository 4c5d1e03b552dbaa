// What computes with embeddings, beside the page: it holds them and answers calls.

import { scaledRows, unitRows } from "./arrays.js";
import { inverseLengths, direction, cosines, largest } from "./search.js";

const held = {};

const calls = {
  /** Takes the city's numbers; see page/README.md. */
  hold({ n, d, embeddings, scale, weights, ...rest }) {
    const rows = scaledRows(embeddings, scale, n, d);
    const inverse = inverseLengths(rows, n, d, weights);
    Object.assign(held, { n, d, embeddings: rows, weights, inverse });
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
