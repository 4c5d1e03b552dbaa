// How far a prediction may be off: conformal radii by spatial blocks, as
// mmgr_jax/evaluation/certainty/conformal.py has them, and sets of classes.

/** Intervals and sets hold the truth with this probability, where not said otherwise. */
export const LEVEL = 0.9;

/** With fewer labels nothing is told of doubt. */
export const FEWEST_LABELS = 5;

/**
 * The members of each group, in the order in which groups first occur.
 * @param {ArrayLike<number>} groups Group of each item [m].
 * @returns {number[][]} Places of the items.
 */
export function members(groups) {
  const places = new Map();
  for (let i = 0; i < groups.length; i++) {
    if (!places.has(groups[i])) places.set(groups[i], []);
    places.get(groups[i]).push(i);
  }
  return [...places.values()];
}

/** Ranks from 1, the mean rank where values are alike. */
function averageRanks(values) {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b]);
  const ranks = new Float64Array(values.length);
  for (let first = 0; first < order.length; ) {
    let end = first + 1;
    while (end < order.length && values[order[end]] === values[order[first]]) end++;
    for (let i = first; i < end; i++) ranks[order[i]] = (first + 1 + end) / 2;
    first = end;
  }
  return ranks;
}

/**
 * How many independent regions have a mean as certain as these have.
 * @param {Float64Array} values A number for each region [m].
 * @param {number[][]} blocks Places of the regions of each block.
 * @returns {number} Between about the number of blocks and m; 1 for one block.
 */
export function effectiveNumber(values, blocks) {
  const m = values.length, count = blocks.length;
  if (count < 2) return 1;
  const overall = values.reduce((sum, value) => sum + value, 0) / m;
  let between = 0, within = 0, squares = 0;
  for (const block of blocks) {
    const mean = block.reduce((sum, i) => sum + values[i], 0) / block.length;
    between += block.length * (mean - overall) ** 2;
    for (const i of block) within += (values[i] - mean) ** 2;
    squares += block.length ** 2;
  }
  between /= count - 1;
  within /= Math.max(m - count, 1);
  const size = (m - squares / m) / (count - 1);
  const total = between + (size - 1) * within;
  const alike = total > 0 ? Math.min(Math.max((between - within) / total, 0), 1) : 0;
  return m / (1 + (squares / m - 1) * alike);
}

/**
 * The score that a region of another block stays within, with a probability.
 *
 * Scores come from heads that had not seen the region's block. Each block weighs the
 * same. Reference: see conformal.py of the evaluation.
 * @param {Float64Array} scores [m]
 * @param {ArrayLike<number>} groups Block of each region [m].
 * @param {number} level Probability, between 0 and 1.
 * @returns {number} Infinity where nothing can be promised: fewer than
 *     level / (1 - level) independent regions, 9 for 0.9.
 */
export function radius(scores, groups, level = LEVEL) {
  if (!scores.length) return Infinity;
  const blocks = members(groups);
  const wanted = level * (1 + 1 / effectiveNumber(averageRanks(scores), blocks));
  const weight = new Float64Array(scores.length);
  for (const block of blocks) {
    for (const i of block) weight[i] = 1 / (block.length * blocks.length);
  }
  const order = [...scores.keys()].sort((a, b) => scores[a] - scores[b]);
  let reached = 0;
  for (const i of order) {
    reached += weight[i];
    if (reached >= wanted - 1e-12) return scores[i];
  }
  return Infinity;
}

/**
 * What can be promised of a head, in words of a table of strings.
 * @param {number} m Labels.
 * @param {number} numBlocks Blocks that they lie in.
 * @param {number} limit The radius.
 * @returns {string} "" where intervals hold; else the key of the reason: "few labels",
 *     "one block", "few blocks".
 */
export function whyNoInterval(m, numBlocks, limit) {
  if (m < FEWEST_LABELS) return "few labels";
  if (numBlocks < 2) return "one block";
  return Number.isFinite(limit) ? "" : "few blocks";
}

/**
 * Parts of labels for cross-validation: whole blocks, dealt to the smallest part.
 * @param {ArrayLike<number>} groups Block of each label [m].
 * @param {number} most Parts at most.
 * @returns {Int32Array} The part of each label [m]; single labels are dealt where all
 *     lie in one block.
 */
export function partsByBlock(groups, most = 5) {
  let blocks = members(groups);
  if (blocks.length < 2) blocks = [...groups].map((_, i) => [i]);
  const sizes = new Array(Math.min(most, blocks.length)).fill(0);
  const part = new Int32Array(groups.length);
  for (const block of [...blocks].sort((a, b) => b.length - a.length)) {
    const smallest = sizes.indexOf(Math.min(...sizes));
    sizes[smallest] += block.length;
    for (const i of block) part[i] = smallest;
  }
  return part;
}
