// Where a worker's numbers come from: rows that it holds, or a server that holds them.
//
// Both answer the same questions, so that searching and heads are written once:
//   part(regions): {x, d, rows, blocks}, features in which the regions are `rows`
//   cosines(x, rows, ...): see below; seen(head): what predictions are made from

import { direction, cosines, inverseLengths } from "./search.js";

/** Numbers of all regions, in memory: `rows` is Float32Array [n d]. */
export function heldNumbers({ x, n, d, weights, blocks }) {
  const inverse = inverseLengths(x, n, d, weights);
  const part = async (regions) => ({ x, d, weights, rows: regions, blocks });
  return {
    part,
    inverse,
    direction: async (positives, negatives) => direction(x, inverse, d, weights, positives, negatives),
    cosines: async (wanted) => cosines(x, inverse, n, d, wanted),
    seen: async (head) => ({ head, x }),
  };
}

/**
 * Numbers that a server holds. `post(path, numbers)` gives a Float32Array; `inverse` is
 * what each row's cosine is multiplied by [n].
 */
export function servedNumbers({ post, mostAsked, mostVectors, d, weights, blocks, inverse }) {
  const rowsOf = async (regions) => {
    const x = new Float32Array(regions.length * d);
    for (let first = 0; first < regions.length; first += mostAsked) {
      const asked = Uint32Array.from(regions.slice(first, first + mostAsked));
      x.set(await post("rows/embeddings", asked), first * d);
    }
    return x;
  };
  const part = async (regions) => ({
    x: await rowsOf(regions),
    d,
    weights,
    rows: Int32Array.from(regions, (_, i) => i),
    blocks: Int32Array.from(regions, (region) => blocks[region]),
  });
  return {
    part,
    inverse,
    direction: async (positives, negatives) => {
      const all = [...positives, ...negatives];
      const x = await rowsOf(all);
      const own = inverseLengths(x, all.length, d, weights);
      const places = [...all.keys()];
      const count = positives.length;
      return direction(x, own, d, weights, places.slice(0, count), places.slice(count));
    },
    cosines: async (wanted) => {
      const cosine = await post("products/embeddings", Float32Array.from(wanted));
      for (let i = 0; i < cosine.length; i++) cosine[i] *= inverse[i];
      return cosine;
    },
    seen: async (head) => projected(head, await products(post, head.kernel, d, mostVectors)),
  };
}

/** Products of all regions with k vectors [k d], as features of k columns. */
async function products(post, kernel, d, most) {
  const k = kernel.length / d;
  if (k <= most) return post("products/embeddings", Float32Array.from(kernel));
  let whole = null;
  for (let first = 0; first < k; first += most) {
    const some = kernel.subarray(first * d, Math.min(first + most, k) * d);
    const own = await post("products/embeddings", Float32Array.from(some));
    const width = some.length / d;
    const n = own.length / width;
    whole ??= new Float32Array(n * k);
    for (let i = 0; i < n; i++) whole.set(own.subarray(i * width, (i + 1) * width), i * k + first);
  }
  return whole;
}

/** A head that reads its own products with the features instead of the features. */
function projected(head, x) {
  const k = head.kernel.length / head.d;
  const kernel = new Float64Array(k * k);
  for (let c = 0; c < k; c++) kernel[c * k + c] = 1;
  return { head: { ...head, d: k, kernel }, x };
}
