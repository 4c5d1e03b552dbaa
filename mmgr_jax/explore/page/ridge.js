// Ridge regression of few labels, its penalty chosen by leaving out blocks.
//
// The penalty is over the sum of squared errors and the intercept is free, as in Python's
// heads and scikit-learn. What a head without a block would predict of the block follows
// from the head with it, in closed form and exactly, as long as features are standardised
// once, by all labelled regions.

import { coordinates, solvePositive, standardisedRows, tridiagonalSolver } from "./linalg.js";
import { dot } from "./products.js";
import { members } from "./doubt.js";

/**
 * @typedef {Object} RidgeFit
 * @property {Float64Array} kernel On features as they are [d].
 * @property {number} bias
 * @property {number} strength The penalty that was chosen.
 * @property {Float64Array} losses Mean squared error of left-out blocks by each strength
 *     [a]; NaN where there is one label alone.
 * @property {Float64Array} left Of each label, what the head without its block predicts
 *     [m]; NaN for one label.
 * @property {Float64Array} mean Of the labelled features [d].
 * @property {Float64Array} inverse Weight over their deviation [d].
 */

/**
 * @param {Float32Array|Float64Array} x Features of all regions [n d].
 * @param {number} d
 * @param {ArrayLike<number>} rows Labelled regions [m], one or more.
 * @param {Float64Array} y What is regressed [m].
 * @param {ArrayLike<number>} blocks Block of each labelled region [m]. Where all lie in
 *     one, single labels are left out.
 * @param {number[]} strengths Penalties to choose from, above 0.
 * @param {?ArrayLike<number>} weights Factors of standardised columns [d]; null: 1.
 * @returns {RidgeFit}
 */
export function ridge(x, d, rows, y, blocks, strengths, weights = null) {
  const m = rows.length;
  const { z, mean, inverse } = standardisedRows(x, d, rows, weights);
  const own = coordinates(z, m, d);
  const centre = y.reduce((sum, value) => sum + value, 0) / m;
  const centred = y.map((value) => value - centre);
  let groups = members(blocks);
  if (groups.length < 2) groups = [...y.keys()].map((i) => [i]);
  let best = null;
  const losses = new Float64Array(strengths.length).fill(NaN);
  strengths.forEach((strength, index) => {
    const fit = atStrength(own, m, centred, groups, strength);
    losses[index] = fit.loss;
    if (best === null || fit.loss < best.loss) best = { ...fit, strength };
  });
  const kernel = own.back(best.w);
  for (let j = 0; j < d; j++) kernel[j] *= inverse[j];
  return {
    kernel,
    bias: centre - dot(kernel, 0, mean, 0, d),
    strength: best.strength,
    losses,
    left: best.errors.map((error, i) => y[i] - error),
    mean,
    inverse,
  };
}

/** Weights [s] at one penalty, and errors [m] of heads that leave out each block. */
function atStrength(own, m, centred, groups, strength) {
  const { u, s, diagonal, off, lift } = own;
  const solve = tridiagonalSolver(diagonal, off, strength);
  const w = new Float64Array(s);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < s; j++) w[j] += u[i * s + j] * centred[i];
  }
  solve(w, 0);
  const errors = new Float64Array(m).fill(NaN);
  if (m < 2) return { w, errors, loss: NaN };
  const turned = u.slice();
  for (let i = 0; i < m; i++) solve(turned, i * s);
  const constant = strength / (lift + strength) / m; // the intercept, but for what u has
  let loss = 0;
  for (const group of groups) {
    const size = group.length, rest = new Float64Array(size * size);
    const error = Float64Array.from(group, (i) => centred[i] - dot(w, 0, u, i * s, s));
    for (let a = 0; a < size; a++) {
      for (let b = 0; b <= a; b++) {
        const hat = dot(u, group[a] * s, turned, group[b] * s, s) + constant;
        rest[a * size + b] = (a === b ? 1 : 0) - hat;
      }
    }
    if (!solvePositive(rest, error, size)) error.fill(Infinity);
    group.forEach((i, a) => {
      errors[i] = error[a];
      loss += error[a] ** 2;
    });
  }
  return { w, errors, loss: loss / m };
}
