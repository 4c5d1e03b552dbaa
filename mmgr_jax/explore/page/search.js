// Nearest regions by cosine, from several examples and counterexamples.

const AWAY = 0.5; // what counterexamples weigh beside examples (Rocchio 1971)

/** 1 over the length of each row [n], columns weighted; 0 for rows of zeros. */
export function inverseLengths(rows, n, d, weights) {
  const inverse = new Float32Array(n);
  const square = Float64Array.from(weights, (weight) => weight * weight);
  for (let i = 0, at = 0; i < n; i++) {
    let sum = 0;
    for (let j = 0; j < d; j++, at++) sum += rows[at] * rows[at] * square[j];
    inverse[i] = sum > 0 ? 1 / Math.sqrt(sum) : 0;
  }
  return inverse;
}

/**
 * What is looked for [d]: the mean direction of the examples, less half of that of the
 * counterexamples. Of one example alone it is that example's direction. It is what rows
 * are multiplied by: of length 1, and its columns weighted twice.
 */
export function direction(rows, inverse, d, weights, positives, negatives) {
  const wanted = new Float64Array(d);
  const add = (chosen, share) => {
    for (const i of chosen) {
      const factor = (share * inverse[i]) / chosen.length;
      for (let j = 0; j < d; j++) wanted[j] += rows[i * d + j] * weights[j] * factor;
    }
  };
  add(positives, 1);
  add(negatives, positives.length ? -AWAY : -1);
  let sum = 0;
  for (let j = 0; j < d; j++) sum += wanted[j] * wanted[j];
  const factor = sum > 0 ? 1 / Math.sqrt(sum) : 0;
  return Float32Array.from(wanted, (value, j) => value * weights[j] * factor);
}

/** Cosine of each row with what `direction` gave [n]. */
export function cosines(rows, inverse, n, d, wanted) {
  const cosine = new Float32Array(n);
  const tail = d - (d % 4);
  for (let i = 0, at = 0; i < n; i++) {
    let a = 0, b = 0, c = 0, e = 0;
    let j = 0;
    for (; j < tail; j += 4, at += 4) {
      a += rows[at] * wanted[j];
      b += rows[at + 1] * wanted[j + 1];
      c += rows[at + 2] * wanted[j + 2];
      e += rows[at + 3] * wanted[j + 3];
    }
    for (; j < d; j++, at++) a += rows[at] * wanted[j];
    cosine[i] = (a + b + c + e) * inverse[i];
  }
  return cosine;
}

/**
 * Indices of the largest scores, the largest first; of equal ones the lower index.
 *
 * `allowed` [n] is 1 where a region may be listed, or null; `without` is a list of
 * indices that are left out.
 */
export function largest(scores, count, allowed, without) {
  const left = new Set(without);
  const heap = []; // the least of those kept is at the top
  const below = (i, j) => scores[i] < scores[j] || (scores[i] === scores[j] && i > j);
  const sink = (at) => {
    for (;;) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < heap.length && below(heap[child], heap[least])) least = child;
      }
      if (least === at) return;
      [heap[at], heap[least]] = [heap[least], heap[at]];
      at = least;
    }
  };
  for (let i = 0; i < scores.length; i++) {
    if ((allowed && !allowed[i]) || Number.isNaN(scores[i])) continue;
    if (heap.length >= count && !below(heap[0], i)) continue;
    if (left.has(i)) continue;
    if (heap.length < count) {
      heap.push(i);
      for (let at = heap.length - 1; at > 0; ) {
        const parent = (at - 1) >> 1;
        if (!below(heap[at], heap[parent])) break;
        [heap[at], heap[parent]] = [heap[parent], heap[at]];
        at = parent;
      }
    } else if (count > 0) {
      heap[0] = i;
      sink(0);
    }
  }
  return heap.sort((i, j) => (below(i, j) ? 1 : -1));
}
