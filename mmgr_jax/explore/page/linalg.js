// Dense linear algebra for few labelled regions: m rows, hundreds at most.
//
// A matrix Z [m d] is turned to coordinates U [m s], s = min(m, d), with U U' = Z Z' and
// U' U tridiagonal. A rotation changes neither a ridge nor a penalised softmax, and in
// these coordinates every penalty costs one pass over a tridiagonal matrix: no eigenvalues
// are needed, nor a new factorisation for each penalty.

import { addScaled, dot, products } from "./products.js";

/** A column whose deviation is below this part of its size counts as constant. */
export const CONSTANT = 1e-6;

/**
 * Rows of features, standardised by themselves, as Python's heads do it.
 * @param {Float32Array|Float64Array} x Features [n d].
 * @param {number} d Columns.
 * @param {ArrayLike<number>} rows Which rows [m].
 * @param {?ArrayLike<number>} weights Factor of each standardised column [d]; null: 1.
 * @returns {{z: Float64Array, mean: Float64Array, inverse: Float64Array}} z [m d]; inverse
 *     [d]: weight over deviation, 0 for columns that are constant in these rows.
 */
export function standardisedRows(x, d, rows, weights = null) {
  const m = rows.length, z = new Float64Array(m * d);
  const mean = new Float64Array(d), inverse = new Float64Array(d);
  for (let i = 0; i < m; i++) {
    const from = rows[i] * d;
    for (let j = 0; j < d; j++) mean[j] += z[i * d + j] = x[from + j];
  }
  for (let j = 0; j < d; j++) mean[j] /= m;
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < d; j++) {
      const value = (z[i * d + j] -= mean[j]);
      inverse[j] += value * value;
    }
  }
  for (let j = 0; j < d; j++) {
    const deviation = Math.sqrt(inverse[j] / m);
    const varies = deviation > CONSTANT * Math.abs(mean[j]);
    inverse[j] = varies ? (weights ? weights[j] : 1) / deviation : 0;
  }
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < d; j++) z[i * d + j] *= inverse[j];
  }
  return { z, mean, inverse };
}

/** Z Z' [m m] of Z [m d]: four columns of its lower triangle at a time. */
function rowGram(z, m, d) {
  const gram = new Float64Array(m * m), part = new Float64Array(4 * m);
  for (let j = 0; j < m; j += 4) {
    const width = Math.min(4, m - j);
    products(z.subarray(j * d), m - j, d, z.subarray(j * d), d, width, part);
    for (let i = j; i < m; i++) {
      for (let c = 0; c < width; c++) {
        gram[i * m + j + c] = gram[(j + c) * m + i] = part[(i - j) * width + c];
      }
    }
  }
  return gram;
}

/** The transpose [d m] of Z [m d]. */
function transposed(z, m, d) {
  const turned = new Float64Array(d * m);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < d; j++) turned[j * m + i] = z[i * d + j];
  }
  return turned;
}

/**
 * A symmetric matrix as Q T Q' with a tridiagonal T, by Householder reflections.
 * @param {Float64Array} a The matrix [n n]; its lower triangle is overwritten.
 * @param {number} n
 * @returns {{q: Float64Array, diagonal: Float64Array, off: Float64Array}} Q [n n], T's
 *     diagonal [n] and the numbers beside it [n - 1].
 */
export function tridiagonal(a, n) {
  const diagonal = new Float64Array(n), off = new Float64Array(Math.max(n - 1, 0));
  const v = new Float64Array(n * n), tau = new Float64Array(n);
  const none = new Float64Array(n), w = new Float64Array(n), p = new Float64Array(n);
  let before = none; // the reflection that the matrix still lacks, with w
  for (let k = 0; k < n; k++) {
    for (let i = k; i < n; i++) a[i * n + k] -= before[i] * w[k] + w[i] * before[k];
    diagonal[k] = a[k * n + k];
    if (k + 1 === n) break;
    const own = v.subarray(k * n, (k + 1) * n);
    let square = 0;
    for (let i = k + 1; i < n; i++) {
      own[i] = a[i * n + k];
      square += own[i] * own[i];
    }
    const size = Math.sqrt(square), head = own[k + 1];
    const end = head > 0 ? -size : size;
    off[k] = end;
    if (size > 0) {
      own[k + 1] = head - end;
      tau[k] = 1 / (size * (size + Math.abs(head)));
    }
    reflectAndMultiply(a, n, k + 1, before, w, own, p);
    let along = 0;
    for (let i = k + 1; i < n; i++) along += (p[i] *= tau[k]) * own[i];
    for (let i = k + 1; i < n; i++) w[i] = p[i] - 0.5 * tau[k] * along * own[i];
    before = own;
  }
  return { q: reflections(v, tau, n), diagonal, off };
}

/**
 * In one pass over the lower triangle of rows and columns from `first`, two rows at a
 * time: A -= before w' + w before', then p = A v.
 */
function reflectAndMultiply(a, n, first, before, w, v, p) {
  p.fill(0, first);
  let i = first;
  if ((n - first) % 2) {
    const at = i * n + i, value = (a[at] -= 2 * before[i] * w[i]);
    p[i] = value * v[i];
    i++;
  }
  for (; i < n; i += 2) {
    const one = i * n, two = one + n;
    const b1 = before[i], w1 = w[i], v1 = v[i], b2 = before[i + 1], w2 = w[i + 1], v2 = v[i + 1];
    let s1 = 0, s2 = 0;
    for (let j = first; j < i; j++) {
      const wj = w[j], bj = before[j], vj = v[j];
      const x = a[one + j] - b1 * wj - w1 * bj, y = a[two + j] - b2 * wj - w2 * bj;
      a[one + j] = x, a[two + j] = y;
      s1 += x * vj, s2 += y * vj;
      p[j] += x * v1 + y * v2;
    }
    const x = (a[one + i] -= 2 * b1 * w1), y = (a[two + i] -= b2 * w1 + w2 * b1);
    const z = (a[two + i + 1] -= 2 * b2 * w2);
    p[i] += s1 + x * v1 + y * v2;
    p[i + 1] += s2 + y * v1 + z * v2;
  }
}

/** The product of all reflections, [n n]; two of them at a time. */
function reflections(v, tau, n) {
  const q = new Float64Array(n * n), s = new Float64Array(2 * n);
  for (let i = 0; i < n; i++) q[i * n + i] = 1;
  let k = n - 2;
  for (; k >= 0; k -= 2) {
    const lower = Math.max(k - 1, 0), one = k * n, two = lower * n;
    const [t1, t2] = [tau[k], lower < k ? tau[lower] : 0];
    const first = lower + 1;
    let both = 0;
    for (let i = first; i < n; i++) both += v[one + i] * v[two + i];
    sumsOfRows(q, v, one, two, first, n, s);
    for (let j = first; j < n; j++) {
      s[j] *= t1;
      s[n + j] = t2 * (s[n + j] - both * s[j]);
    }
    for (let i = first; i < n; i++) {
      const a = v[one + i], b = v[two + i], at = i * n;
      for (let j = first; j < n; j++) q[at + j] -= a * s[j] + b * s[n + j];
    }
  }
  return q;
}

/** Sums of rows of Q from `first`, weighted by two vectors: s [2 n], four rows at a time. */
function sumsOfRows(q, v, one, two, first, n, s) {
  s.fill(0);
  let i = first;
  for (; i + 3 < n; i += 4) {
    const at = i * n, b = at + n, c = b + n, d = c + n;
    const v0 = v[one + i], v1 = v[one + i + 1], v2 = v[one + i + 2], v3 = v[one + i + 3];
    const u0 = v[two + i], u1 = v[two + i + 1], u2 = v[two + i + 2], u3 = v[two + i + 3];
    for (let j = first; j < n; j++) {
      const w = q[at + j], x = q[b + j], y = q[c + j], z = q[d + j];
      s[j] += v0 * w + v1 * x + v2 * y + v3 * z;
      s[n + j] += u0 * w + u1 * x + u2 * y + u3 * z;
    }
  }
  for (; i < n; i++) {
    for (let j = first; j < n; j++) {
      s[j] += v[one + i] * q[i * n + j];
      s[n + j] += v[two + i] * q[i * n + j];
    }
  }
}

/**
 * Standardised rows in coordinates whose Gram matrix is tridiagonal.
 * @param {Float64Array} z [m d], the mean of its rows 0.
 * @param {number} m
 * @param {number} d
 * @returns {{u: Float64Array, s: number, diagonal: Float64Array, off: Float64Array,
 *     back: function(Float64Array): Float64Array, lift: number}} u [m s]; U'U; back(w [s])
 *     -> the weights [d] of Z with Z back(w) = U w, but for a constant. Centred rows leave
 *     Z Z' singular; so U U' = Z Z' + lift 1 1' / m, whose constant a free intercept makes
 *     superfluous. lift is 0 where m >= d.
 */
export function coordinates(z, m, d) {
  if (d <= m) {
    const gram = rowGram(transposed(z, m, d), d, m);
    const { q, diagonal, off } = tridiagonal(gram, d);
    const u = new Float64Array(m * d);
    products(z, m, d, transposed(q, d, d), d, d, u);
    const back = (w) => Float64Array.from({ length: d }, (_, j) => dot(q, j * d, w, 0, d));
    return { u, s: d, diagonal, off, back, lift: 0 };
  }
  return ofRows(z, m, d);
}

/** Part of the mean of a Gram matrix's diagonal that is added to it: rows that occur twice
 * leave it singular, and rounding would make it indefinite. As much as a penalty of 5e-9
 * with 512 columns. */
const FIRM = 1e-11;

/** `coordinates` where there are fewer rows than columns: Z Z' = Q L L' Q', U = Q L. */
function ofRows(z, m, d) {
  const gram = rowGram(z, m, d);
  let trace = 0;
  for (let i = 0; i < m; i++) trace += gram[i * m + i];
  const lift = trace / m;
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < m; j++) gram[i * m + j] += lift / m;
    gram[i * m + i] += FIRM * lift;
  }
  const { q, diagonal, off } = tridiagonal(gram, m);
  const pivot = new Float64Array(m), below = new Float64Array(m);
  for (let i = 0; i < m; i++) {
    const left = diagonal[i] - (i ? below[i - 1] * below[i - 1] : 0);
    pivot[i] = left > 0 ? Math.sqrt(left) : 0;
    below[i] = pivot[i] > 0 && i + 1 < m ? off[i] / pivot[i] : 0;
  }
  const u = new Float64Array(m * m);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < m; j++) {
      const next = j + 1 < m ? q[i * m + j + 1] * below[j] : 0;
      u[i * m + j] = q[i * m + j] * pivot[j] + next;
    }
  }
  const gramDiagonal = new Float64Array(m), gramOff = new Float64Array(Math.max(m - 1, 0));
  for (let i = 0; i < m; i++) {
    gramDiagonal[i] = pivot[i] * pivot[i] + below[i] * below[i];
    if (i + 1 < m) gramOff[i] = below[i] * pivot[i + 1];
  }
  const back = (w) => {
    const a = new Float64Array(m), weights = new Float64Array(d);
    for (let i = m - 1; i >= 0; i--) {
      const rest = i + 1 < m ? below[i] * a[i + 1] : 0;
      a[i] = pivot[i] > 0 ? (w[i] - rest) / pivot[i] : 0;
    }
    for (let i = 0; i < m; i++) addScaled(dot(q, i * m, a, 0, m), z, i * d, weights, 0, d);
    return weights;
  };
  return { u, s: m, diagonal: gramDiagonal, off: gramOff, back, lift: lift * (1 + FIRM) };
}

/**
 * A solver of (scale T + penalty) x = b for a tridiagonal, positive T.
 * @param {Float64Array} diagonal [s]
 * @param {Float64Array} off [s - 1]
 * @param {number} penalty Above 0.
 * @param {number} scale
 * @returns {function(Float64Array, number): void} Solves b [s] from a place, in place.
 */
export function tridiagonalSolver(diagonal, off, penalty, scale = 1) {
  const s = diagonal.length, inverse = new Float64Array(s), ratio = new Float64Array(s);
  for (let i = 0, carried = 0; i < s; i++) {
    inverse[i] = 1 / (scale * diagonal[i] + penalty - carried);
    ratio[i] = i + 1 < s ? scale * off[i] * inverse[i] : 0;
    carried = i + 1 < s ? ratio[i] * scale * off[i] : 0;
  }
  return (b, at) => {
    for (let i = 1; i < s; i++) b[at + i] -= ratio[i - 1] * b[at + i - 1];
    if (s) b[at + s - 1] *= inverse[s - 1];
    for (let i = s - 2; i >= 0; i--) {
      b[at + i] = b[at + i] * inverse[i] - ratio[i] * b[at + i + 1];
    }
  };
}

/**
 * Solves A x = b for a symmetric, positive definite A, both overwritten.
 * @param {Float64Array} a [n n]
 * @param {Float64Array} b [n]
 * @param {number} n
 * @returns {boolean} False where A is not positive definite; b then holds nothing.
 */
export function solvePositive(a, b, n) {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      const value = a[i * n + j] - dot(a, i * n, a, j * n, j);
      if (i === j && !(value > 0)) return false;
      a[i * n + j] = i === j ? Math.sqrt(value) : value / a[j * n + j];
    }
  }
  for (let i = 0; i < n; i++) b[i] = (b[i] - dot(a, i * n, b, 0, i)) / a[i * n + i];
  for (let i = n - 1; i >= 0; i--) {
    b[i] /= a[i * n + i];
    addScaled(-b[i], a, i * n, b, 0, i);
  }
  return true;
}
