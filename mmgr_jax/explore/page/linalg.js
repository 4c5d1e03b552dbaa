// Dense linear algebra for few labelled regions: m rows, hundreds at most.
//
// A matrix Z [m d] is turned to coordinates U [m s], s = min(m, d), with U U' = Z Z' and
// U' U tridiagonal. A rotation changes neither a ridge nor a penalised softmax, and in
// these coordinates every penalty costs one pass over a tridiagonal matrix: no eigenvalues
// are needed, nor a new factorisation for each penalty.

/**
 * Dot product of two stretches.
 * @param {Float64Array} a
 * @param {number} i First place in a.
 * @param {Float64Array|Float32Array} b
 * @param {number} j First place in b.
 * @param {number} n Length.
 * @returns {number}
 */
export function dot(a, i, b, j, n) {
  let s0 = 0, s1 = 0, s2 = 0, s3 = 0, t = 0;
  for (; t + 3 < n; t += 4) {
    s0 += a[i + t] * b[j + t];
    s1 += a[i + t + 1] * b[j + t + 1];
    s2 += a[i + t + 2] * b[j + t + 2];
    s3 += a[i + t + 3] * b[j + t + 3];
  }
  for (; t < n; t++) s0 += a[i + t] * b[j + t];
  return s0 + s1 + s2 + s3;
}

/**
 * b[j + t] += c * a[i + t].
 * @param {number} c
 * @param {Float64Array} a
 * @param {number} i
 * @param {Float64Array} b
 * @param {number} j
 * @param {number} n
 */
export function addScaled(c, a, i, b, j, n) {
  for (let t = 0; t < n; t++) b[j + t] += c * a[i + t];
}

/**
 * Products of one row with k lines, four at a time: a row is read once for four of them.
 * @param {Float64Array|Float32Array} x
 * @param {number} i First place of the row in x.
 * @param {Float64Array|Float32Array} lines [k stride]
 * @param {number} stride
 * @param {number} k
 * @param {number} n Length of the row.
 * @param {Float64Array|Float32Array} out Gets the k products.
 * @param {number} at From this place.
 */
export function dots(x, i, lines, stride, k, n, out, at) {
  let c = 0;
  for (; c + 3 < k; c += 4) {
    const a = c * stride, b = a + stride, e = b + stride, f = e + stride;
    let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (let t = 0; t < n; t++) {
      const value = x[i + t];
      s0 += value * lines[a + t];
      s1 += value * lines[b + t];
      s2 += value * lines[e + t];
      s3 += value * lines[f + t];
    }
    out[at + c] = s0, out[at + c + 1] = s1, out[at + c + 2] = s2, out[at + c + 3] = s3;
  }
  for (; c < k; c++) out[at + c] = dot(lines, c * stride, x, i, n);
}

/**
 * b[j + t] += c[0] * a[i[0] + t] + ... + c[3] * a[i[3] + t].
 * @param {ArrayLike<number>} c Four factors.
 * @param {Float64Array} a
 * @param {ArrayLike<number>} i Four places.
 * @param {Float64Array} b
 * @param {number} j
 * @param {number} n
 */
export function addFour(c, a, i, b, j, n) {
  const [c0, c1, c2, c3] = c, [i0, i1, i2, i3] = i;
  for (let t = 0; t < n; t++) {
    b[j + t] += c0 * a[i0 + t] + c1 * a[i1 + t] + c2 * a[i2 + t] + c3 * a[i3 + t];
  }
}

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

/** Z Z' [m m] of Z [m d]. */
function rowGram(z, m, d) {
  const gram = new Float64Array(m * m);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j <= i; j++) {
      gram[i * m + j] = gram[j * m + i] = dot(z, i * d, z, j * d, d);
    }
  }
  return gram;
}

/** Z' Z [d d] of Z [m d]. */
function columnGram(z, m, d) {
  const gram = new Float64Array(d * d);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < d; j++) {
      const value = z[i * d + j];
      if (value !== 0) addScaled(value, z, i * d, gram, j * d, j + 1);
    }
  }
  for (let j = 0; j < d; j++) {
    for (let t = 0; t < j; t++) gram[t * d + j] = gram[j * d + t];
  }
  return gram;
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
  const w = new Float64Array(n);
  for (let k = 0; k + 1 < n; k++) {
    const at = k * n;
    let square = 0;
    for (let i = k + 1; i < n; i++) {
      v[at + i] = a[i * n + k];
      square += v[at + i] * v[at + i];
    }
    const size = Math.sqrt(square), head = v[at + k + 1];
    const end = head > 0 ? -size : size;
    off[k] = end;
    if (size === 0) continue;
    v[at + k + 1] = head - end;
    tau[k] = 1 / (size * (size + Math.abs(head)));
    reflect(a, n, k + 1, v, at, tau[k], w);
  }
  for (let i = 0; i < n; i++) diagonal[i] = a[i * n + i];
  return { q: reflections(v, tau, n), diagonal, off };
}

/** A -> H A H in the lower triangle of rows and columns from `first`, H = 1 - tau v v'. */
function reflect(a, n, first, v, at, tau, w) {
  w.fill(0);
  for (let i = first; i < n; i++) {
    const row = i * n, vi = v[at + i];
    let sum = a[row + i] * vi;
    for (let j = first; j < i; j++) {
      sum += a[row + j] * v[at + j];
      w[j] += a[row + j] * vi;
    }
    w[i] += sum;
  }
  let along = 0;
  for (let i = first; i < n; i++) along += (w[i] *= tau) * v[at + i];
  for (let i = first; i < n; i++) w[i] -= 0.5 * tau * along * v[at + i];
  for (let i = first; i < n; i++) {
    const row = i * n, vi = v[at + i], wi = w[i];
    for (let j = first; j <= i; j++) a[row + j] -= vi * w[j] + wi * v[at + j];
  }
}

/** The product of all reflections, [n n]. */
function reflections(v, tau, n) {
  const q = new Float64Array(n * n), s = new Float64Array(n);
  for (let i = 0; i < n; i++) q[i * n + i] = 1;
  for (let k = n - 2; k >= 0; k--) {
    if (tau[k] === 0) continue;
    const first = k + 1, count = n - first;
    s.fill(0);
    let i = first;
    for (; i + 3 < n; i += 4) {
      const at = i * n + first, four = [at, at + n, at + 2 * n, at + 3 * n];
      addFour(v.subarray(k * n + i, k * n + i + 4), q, four, s, first, count);
    }
    for (; i < n; i++) addScaled(v[k * n + i], q, i * n + first, s, first, count);
    for (i = first; i < n; i++) {
      addScaled(-tau[k] * v[k * n + i], s, first, q, i * n + first, count);
    }
  }
  return q;
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
    const { q, diagonal, off } = tridiagonal(columnGram(z, m, d), d);
    const u = new Float64Array(m * d);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < d; j++) addScaled(z[i * d + j], q, j * d, u, i * d, d);
    }
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
