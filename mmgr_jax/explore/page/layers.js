// What the map can show: a value a region, its colours and its legend.

import { word, shown, named, withUnit } from "./words.js";

const NONE = [0, 0, 0, 0];

/** Titles of layers that are called otherwise for shares and classes. */
const TITLES = {
  share: {
    truth: "truthLargest",
    prediction: "predictionLargest",
    error: "errorShares",
    width: "widthLargest",
  },
  class: {
    prediction: "predictionProbable",
    error: "errorProbabilities",
    predictionShare: "predictionProbability",
  },
};

export const PLAIN = 0;
export const UNLIKE = 1; // hatched: a guess
export const UNKNOWN = 2; // hatched without colour: not known

/**
 * The layers of a city, in groups: [{title, layers: [{id, title}]}]. `extra` are layers
 * of what was done on the page.
 */
export function layersOf(city, extra) {
  const groups = [{ title: word("layers.city"), layers: cityLayers(city) }];
  if (city.change) {
    const layers = [
      { id: "change/factor", title: word("change.factor") },
      { id: "change/found", title: word("change.foundLayer") },
    ];
    groups.push({ title: word("change.layers", { city: city.change.name }), layers });
  }
  for (const [name, task] of Object.entries(city.tasks)) {
    const { scales } = task;
    const parts = [];
    if (task.truth) parts.push("truth");
    if (task.prediction) parts.push("prediction");
    if (scales.error) parts.push("error");
    if (scales.width) parts.push("width");
    if (task.unlike) parts.push("unlike");
    if (task.kind === "share" && task.truth) parts.push("truthShare");
    if (task.classes.length && task.prediction) parts.push("predictionShare");
    const layers = parts.map((part) => ({
      id: `task/${part}/${name}`,
      title: `${named(name)}: ${word(titleOf(part, task))}`,
    }));
    groups.push({ title: named(name), layers });
  }
  if (extra.length) groups.push({ title: word("layers.yours"), layers: extra });
  return groups;
}

/**
 * What a layer shows: `colours` [n 4], `hatch` [n] of PLAIN, UNLIKE and UNKNOWN, and
 * `legend`: {title, unit, entries: [{colour, text, hatch}], note}.
 *
 * `options`: `clusters`, the number of clusters; `classIndex`, of the class whose share is
 * shown; `extra`, layer id -> function that paints it.
 */
export function paint(city, id, options) {
  const [group, part, ...rest] = id.split("/");
  if (group === "task") return paintTask(city, part, rest.join("/"), options);
  if (options.extra && options.extra[id]) return options.extra[id]();
  if (part === "clusters") return paintClusters(city, options.clusters);
  if (part === "components") return paintComponents(city);
  if (part === "density") {
    const title = word("layers.density");
    return classified(city.n, (i) => city.poiDensity[i], city.density, title);
  }
  return { colours: new Uint8Array(4 * city.n), hatch: new Uint8Array(city.n), legend: null };
}

/** Whether a layer asks for the number of clusters, or for a class. */
export function asks(city, id) {
  const [group, part, ...rest] = id.split("/");
  if (part === "clusters") return { clusters: true };
  if (group === "task" && part.endsWith("Share")) return { classes: city.tasks[rest.join("/")].classes };
  return {};
}

/** Paints numbers by a scale: {breaks, colours, unit}; outer breaks may be null.
 * `value(i)` may be NaN. */
export function classified(n, value, scale, title, hatched = () => false) {
  const painted = empty(n, title);
  const palette = scale.colours.map(rgb);
  let unknown = false;
  let unlike = false;
  for (let i = 0; i < n; i++) {
    const own = value(i);
    if (Number.isNaN(own)) {
      painted.hatch[i] = UNKNOWN;
      unknown = true;
      continue;
    }
    painted.colours.set(palette[classOf(own, scale.breaks)], 4 * i);
    if (hatched(i)) [painted.hatch[i], unlike] = [UNLIKE, true];
  }
  const { breaks } = scale;
  painted.legend.unit = scale.unit === "1" ? "" : scale.unit;
  painted.legend.entries = scale.colours.map((colour, j) => ({
    colour,
    text: rangeText(breaks[j], breaks[j + 1]),
  }));
  return withHatches(painted, unknown, unlike);
}

/** What a class holds; null where it is open. */
function rangeText(low, high) {
  if (low === null) return word("legend.below", { high: shown(high) });
  if (high === null) return word("legend.above", { low: shown(low) });
  return word("legend.range", { low: shown(low), high: shown(high) });
}

/** A scale of quantiles, their breaks rounded, for numbers made on the page. */
export function quantileScale(values, colours, unit) {
  const sorted = Float64Array.from(values.filter(Number.isFinite)).sort();
  const count = colours.length;
  const at = (share) => sorted[Math.min(Math.floor(share * sorted.length), sorted.length - 1)];
  const breaks = [];
  for (let j = 0; j <= count; j++) {
    const step = (how) => roundedTo(j < count ? at(j / count) : at(1), how);
    const edge = j === 0 ? step(Math.floor) : j === count ? step(Math.ceil) : step(Math.round);
    if (!breaks.length || edge > breaks[breaks.length - 1]) breaks.push(edge);
  }
  if (breaks.length < 2) breaks.push(breaks[0] + (Math.abs(breaks[0]) || 1));
  const last = Math.max(breaks.length - 2, 1);
  const own = breaks.slice(1).map((_, j) => colours[Math.round((j * (count - 1)) / last)]);
  return { breaks, colours: own, unit };
}

/** A number to two digits. */
function roundedTo(value, how) {
  if (value === 0) return 0;
  const power = 10 ** (1 - Math.floor(Math.log10(Math.abs(value))));
  return Number((how(Number((value * power).toPrecision(12))) / power).toPrecision(12));
}

/** Paints classes: `index(i)` below the number of `names`, or NaN. */
export function classes(n, index, names, colours, title, hatched = () => false) {
  const painted = empty(n, title);
  const palette = names.map((_, j) => rgb(colours[j % colours.length]));
  const seen = new Set();
  let unknown = false;
  let unlike = false;
  for (let i = 0; i < n; i++) {
    const own = index(i);
    if (Number.isNaN(own) || own < 0) {
      painted.hatch[i] = UNKNOWN;
      unknown = true;
      continue;
    }
    seen.add(own);
    painted.colours.set(palette[own], 4 * i);
    if (hatched(i)) [painted.hatch[i], unlike] = [UNLIKE, true];
  }
  painted.legend.entries = names
    .map((name, j) => ({ colour: colours[j % colours.length], text: named(name), j }))
    .filter(({ j }) => seen.has(j));
  return withHatches(painted, unknown, unlike);
}

/** Index of the largest of k numbers from `at`; NaN where one is unknown. */
export function largestOf(values, at, k) {
  let best = 0;
  for (let j = 0; j < k; j++) {
    if (Number.isNaN(values[at + j])) return NaN;
    if (values[at + j] > values[at + best]) best = j;
  }
  return best;
}

/** Truth, prediction and interval of a region in words, and whether it is unlike. */
export function valuesOf(task, region, level) {
  const k = task.classes.length;
  const said = {};
  if (!k) {
    if (task.truth) said.truth = withUnit(task.truth[region], task.unit);
    if (task.prediction) {
      said.prediction = withUnit(task.prediction[region], task.unit);
      said.interval = word("interval", {
        low: shown(task.low[region]),
        high: shown(task.high[region]),
        level: Math.round(level * 100),
      });
    }
  } else {
    const most = (values, at) => {
      const j = largestOf(values, at, k);
      if (Number.isNaN(j)) return word("unknown");
      const share = Math.round(values[at + j] * 100);
      return word("share", { name: named(task.classes[j]), share });
    };
    if (task.truth && task.kind === "share") said.truth = most(task.truth, region * k);
    else if (task.truth) {
      const j = task.truth[region];
      said.truth = Number.isNaN(j) ? word("unknown") : named(task.classes[j]);
    }
    if (task.prediction) said.prediction = most(task.prediction, region * k);
  }
  said.unlike = Boolean(task.unlike && task.unlike[region]);
  return said;
}

function cityLayers(city) {
  const layers = [
    { id: "city/none", title: word("layers.none") },
    { id: "city/components", title: word("layers.components") },
    { id: "city/clusters", title: word("layers.clusters") },
  ];
  if (city.density) layers.push({ id: "city/density", title: word("layers.density") });
  return layers;
}

function titleOf(part, { kind }) {
  return `layers.${(TITLES[kind] || {})[part] || part}`;
}

function paintTask(city, part, name, options) {
  const task = city.tasks[name];
  const { truth, prediction, low, high, unlike, scales } = task;
  const { n } = city;
  const k = task.classes.length;
  const title = `${named(name)}: ${word(titleOf(part, task))}`;
  const guess = (i) => unlike !== null && unlike[i] === 1;
  const j = options.classIndex || 0;
  const byClass = (values) => (i) => largestOf(values, i * k, k);
  const trueClass = task.kind === "class" ? (i) => truth[i] : truth && byClass(truth);
  if (part === "unlike") return paintUnlike(n, guess, title);
  if (part === "truthShare" || part === "predictionShare") {
    const values = part === "truthShare" ? truth : prediction;
    const shownTitle = `${title} (${named(task.classes[j])})`;
    return classified(n, (i) => values[i * k + j], scales.share, shownTitle);
  }
  if (k) {
    const byName = (index, hatched) =>
      classes(n, index, task.classes, scales.colours, title, hatched);
    if (part === "truth") return byName(trueClass);
    if (part === "prediction") return byName(byClass(prediction), guess);
    if (part === "error") {
      return classified(n, (i) => distance(task, i, k), scales.error, title);
    }
    const width = (i) => {
      const at = i * k + largestOf(prediction, i * k, k);
      return high[at] - low[at];
    };
    return classified(n, width, scales.width, title, guess);
  }
  const numbers = {
    truth: [(i) => truth[i], scales.value],
    prediction: [(i) => prediction[i], scales.value, guess],
    error: [(i) => prediction[i] - truth[i], scales.error],
    width: [(i) => finite(high[i] - low[i]), scales.width, guess],
  };
  const [value, scale, hatched] = numbers[part];
  return classified(n, value, scale, title, hatched);
}

/** The L1 distance of predicted shares or probabilities to the true ones. */
function distance({ truth, prediction, kind }, i, k) {
  let sum = 0;
  for (let j = 0; j < k; j++) {
    const known = kind === "share" ? truth[i * k + j] : Number(truth[i] === j);
    sum += Math.abs(prediction[i * k + j] - (kind === "class" && Number.isNaN(truth[i]) ? NaN : known));
  }
  return sum;
}

function paintUnlike(n, guess, title) {
  const names = [word("layers.alike"), word("layers.unlike")];
  const index = (i) => Number(guess(i));
  return classes(n, index, names, ["#d9dde3", "#d55e00"], title, guess);
}

function paintClusters(city, number) {
  const member = city.clusters[number];
  const size = new Array(number).fill(0);
  for (const j of member) size[j]++;
  const names = size.map((count, j) => word("legend.cluster", { number: j + 1, count: shown(count) }));
  const title = word("layers.clusters");
  const painted = classes(city.n, (i) => member[i], names, city.palettes.clusters, title);
  painted.legend.note = word("legend.clusters");
  return painted;
}

function paintComponents(city) {
  const painted = empty(city.n, word("layers.components"));
  for (let i = 0; i < city.n; i++) {
    painted.colours.set(city.componentColours.subarray(3 * i, 3 * i + 3), 4 * i);
    painted.colours[4 * i + 3] = 255;
  }
  painted.legend.note = word("legend.components");
  return painted;
}

function empty(n, title) {
  const legend = { title, unit: "", entries: [], note: "" };
  return { colours: new Uint8Array(4 * n), hatch: new Uint8Array(n), legend };
}

function withHatches(painted, unknown, unlike) {
  const { entries } = painted.legend;
  if (unlike) entries.push({ colour: "", hatch: UNLIKE, text: word("legend.unlike") });
  if (unknown) entries.push({ colour: "", hatch: UNKNOWN, text: word("legend.unknown") });
  return painted;
}

/** The class of a value; what lies outside the breaks belongs to the outer classes. */
function classOf(value, breaks) {
  let low = 0;
  let high = breaks.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (value >= breaks[middle]) low = middle;
    else high = middle - 1;
  }
  return low;
}

function finite(value) {
  return Number.isFinite(value) ? value : NaN;
}

function rgb(colour) {
  if (!colour) return NONE;
  const value = parseInt(colour.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255, 255];
}
