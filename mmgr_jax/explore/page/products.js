// Products and sums of many numbers: the loops in which heads spend their time.
//
// What is read from an array costs more than a multiplication, so several rows and lines
// are taken together, and a number that is read serves several products.

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
 * Products of rows with k lines: out[i * k + c] = row i . line c. Two rows and four lines
 * at a time, so that a number that is read serves several products.
 * @param {Float64Array|Float32Array} x Rows of s numbers.
 * @param {ArrayLike<number>|number} rows Which rows [m], or how many from the first.
 * @param {number} s Numbers that are multiplied.
 * @param {Float64Array|Float32Array} lines [k stride]
 * @param {number} stride
 * @param {number} k
 * @param {Float64Array|Float32Array} out Gets the products [m k].
 */
export function products(x, rows, s, lines, stride, k, out) {
  const all = typeof rows === "number", m = all ? rows : rows.length;
  for (let i = 0; i < m; i += 2) {
    const a = s * (all ? i : rows[i]), next = Math.min(i + 1, m - 1);
    const b = s * (all ? next : rows[next]);
    let c = 0;
    for (; c + 3 < k; c += 4) twoByFour(x, a, b, s, lines, c * stride, stride, out, i * k + c, next * k + c);
    for (; c < k; c++) twoByOne(x, a, b, s, lines, c * stride, out, i * k + c, next * k + c);
  }
}

function twoByFour(x, a, b, s, lines, e, stride, out, toA, toB) {
  const f = e + stride, g = f + stride, h = g + stride;
  let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
  for (let t = 0; t < s; t++) {
    const p = x[a + t], q = x[b + t];
    const l0 = lines[e + t], l1 = lines[f + t], l2 = lines[g + t], l3 = lines[h + t];
    a0 += p * l0, a1 += p * l1, a2 += p * l2, a3 += p * l3;
    b0 += q * l0, b1 += q * l1, b2 += q * l2, b3 += q * l3;
  }
  out[toA] = a0, out[toA + 1] = a1, out[toA + 2] = a2, out[toA + 3] = a3;
  out[toB] = b0, out[toB + 1] = b1, out[toB + 2] = b2, out[toB + 3] = b3;
}

function twoByOne(x, a, b, s, lines, e, out, toA, toB) {
  let a0 = 0, a1 = 0, b0 = 0, b1 = 0, t = 0;
  for (; t + 1 < s; t += 2) {
    const l0 = lines[e + t], l1 = lines[e + t + 1];
    a0 += x[a + t] * l0, a1 += x[a + t + 1] * l1;
    b0 += x[b + t] * l0, b1 += x[b + t + 1] * l1;
  }
  if (t < s) a0 += x[a + t] * lines[e + t], b0 += x[b + t] * lines[e + t];
  out[toA] = a0 + a1, out[toB] = b0 + b1;
}

/**
 * line c += sum over i of factors[i * k + c] * row i, of all k lines: four rows and two
 * lines at a time.
 * @param {Float64Array} factors [m k]
 * @param {Float64Array} x Rows of s numbers.
 * @param {ArrayLike<number>} rows Which rows [m].
 * @param {number} s
 * @param {Float64Array} lines [k stride]
 * @param {number} stride
 * @param {number} k
 */
export function addProducts(factors, x, rows, s, lines, stride, k) {
  const m = rows.length, four = [0, 0, 0, 0];
  let i = 0;
  for (; i + 3 < m; i += 4) {
    for (let r = 0; r < 4; r++) four[r] = rows[i + r] * s;
    let c = 0;
    for (; c + 1 < k; c += 2) {
      const at = i * k + c, e = c * stride, f = e + stride, [a, b, g, h] = four;
      const a0 = factors[at], b0 = factors[at + k], g0 = factors[at + 2 * k], h0 = factors[at + 3 * k];
      const a1 = factors[at + 1], b1 = factors[at + k + 1];
      const g1 = factors[at + 2 * k + 1], h1 = factors[at + 3 * k + 1];
      for (let t = 0; t < s; t++) {
        const p = x[a + t], q = x[b + t], r = x[g + t], u = x[h + t];
        lines[e + t] += a0 * p + b0 * q + g0 * r + h0 * u;
        lines[f + t] += a1 * p + b1 * q + g1 * r + h1 * u;
      }
    }
    for (; c < k; c++) {
      const own = [0, 1, 2, 3].map((r) => factors[(i + r) * k + c]);
      addFour(own, x, four, lines, c * stride, s);
    }
  }
  for (; i < m; i++) {
    for (let c = 0; c < k; c++) addScaled(factors[i * k + c], x, rows[i] * s, lines, c * stride, s);
  }
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
