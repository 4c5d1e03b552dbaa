// The city as page/README.md has it, from the JSON and the arrays of the page.

import { TYPES, unpacked } from "./arrays.js";
import { after, need } from "./fetching.js";

/**
 * The city. `about` is the JSON; `text(name)` gives the text of an array, which is not
 * needed a second time.
 */
export async function loadCity(about, text) {
  return assembled(about, await arraysBy(about, (name, { type }) => unpacked(text(name), type)));
}

/**
 * The city that a server holds. `bytes(name)` gives the bytes of an array; large ones that
 * are not always shown stay empty until `fetching.load` and `need` fill them.
 */
export async function cityOf(about, bytes, remote) {
  const lazy = new Map();
  const array = await arraysBy(about, async (name, { type, shape }) => {
    if (!about.served.lazy.includes(name)) return new TYPES[type](await bytes(name));
    const own = new TYPES[type](shape.reduce((size, length) => size * length, 1));
    lazy.set(name, { array: own, whole: false, asked: null });
    return own;
  });
  const city = assembled(about, array);
  const projections = about.served.spaceWidth ? {} : null; // the server has them
  const own = { remote, lazy, shapes: new Map(), inverse: array.inverse, projections };
  return Object.assign(city, own);
}

async function arraysBy(about, read) {
  const names = Object.keys(about.arrays);
  const values = await Promise.all(names.map((name) => read(name, about.arrays[name])));
  return Object.fromEntries(names.map((name, i) => [name, values[i]]));
}

function assembled(about, array) {
  const [n, d] = about.shape || about.arrays.embeddings.shape; // of older pages
  const city = {
    ...about,
    n,
    d,
    whole: array.embeddings,
    scale: array.embeddingScale,
    weights: array.weights,
    mean: array.mean || null,
    deviation: array.deviation || null,
    componentColours: array.componentColours,
    centres: inDegrees(array.centresDeg, about.unitsPerDeg),
    centresM: array.centresM,
    areasM2: array.areasM2,
    blocks: array.blocks,
    outlines: about.served ? null : {
      points: inDegrees(array.points, about.unitsPerDeg),
      rings: array.rings,
      region: array.ringRegion,
      hole: array.ringHole,
      triangles: array.triangles,
    },
    pois: {
      start: array.poiStart,
      category: array.poiCategory,
      count: array.poiCount,
    },
    poiDensity: array.poiDensity,
    clusters: Object.fromEntries(about.clusters.map((k) => [k, array[`clusters${k}`]])),
    projections: null,
    poiWeights: null,
    change: null,
    tasks: {},
  };
  if (about.poiEncoder) {
    const own = about.poiEncoder.arrays.map((name) => [name, array[`poiEncoder-${name}`]]);
    city.poiWeights = { ...about.poiEncoder, ...Object.fromEntries(own) };
  }
  if (about.change) {
    const [factor, p, q] = [array.changeFactor, array.changeP, array.changeQ];
    city.change = { ...about.change, factor, p, q };
  }
  if (array.projectionImage) {
    city.projections = {
      image: array.projectionImage,
      imageScale: array.projectionImageScale,
      poi: array.projectionPoi,
      poiScale: array.projectionPoiScale,
    };
  }
  for (const [name, task] of Object.entries(about.tasks)) {
    const part = (kind) => array[task.array + kind] || null;
    city.tasks[name] = {
      ...task,
      width: task.kind === "share" ? task.classes.length : 1,
      truth: part("Truth"),
      prediction: part("Prediction"),
      low: part("Low"),
      high: part("High"),
      unlike: part("Unlike"),
      made: task.parts ? partsOf(task.parts, part) : null,
    };
  }
  city.words = about.words ? wordsOf(about.words, array) : null;
  city.occluded = about.occlusion ? occludedOf(about, array) : null;
  city.boxes = about.served
    ? { box: inDegrees(array.boxes, about.unitsPerDeg), firstRing: null }
    : boxesOf(city);
  return city;
}

/** The vocabulary that mixes are named by; see word_mix.js. */
function wordsOf({ list, ...about }, array) {
  const place = new Map(list.map((word, row) => [word, row]));
  const [numbers, scale] = [array.wordNumbers, array.wordScale];
  const [mean, components, table] = [array.wordMean, array.wordComponents, array.wordTable];
  return { ...about, place, numbers, scale, mean, components, table };
}

/** What the predictions of a task are the sum of; see README.md. */
function partsOf(groups, part) {
  return {
    groups,
    baseline: part("Baseline"),
    byGroup: part("Parts"),
    units: part("Units"),
    category: part("PartCategory"),
    byCategory: part("PartCategories"),
  };
}

/** What predictions of some regions lose without parts of them; see README.md. */
function occludedOf({ occlusion, tasks }, array) {
  const own = Object.entries(occlusion.tasks).map(([name, parts]) => {
    const part = (kind) => array[`${tasks[name].array}Occluded${kind}`] || null;
    const values = { shown: part("Class"), byCell: part("Cells"), byCategory: part("Pois") };
    return [name, { ...parts, ...values }];
  });
  return {
    cells: occlusion.cells,
    place: new Map([...array.occludedRegion].map((region, place) => [region, place])),
    start: array.occludedStart,
    category: array.occludedCategory,
    tasks: Object.fromEntries(own),
  };
}

/** POIs of a region by category, the commonest first: [{category, count}]. */
export function poisOf(city, region) {
  const { start, category, count } = city.pois;
  const pairs = [];
  for (let at = start[region]; at < start[region + 1]; at++) {
    pairs.push({ category: category[at], count: count[at] });
  }
  return pairs.sort((a, b) => b.count - a.count || a.category - b.category);
}

/**
 * Rings of a region: polygons, each a shell and its holes, of [lon, lat]. A served page
 * asks for them first (fetching.need).
 */
export function polygonsOf(city, region) {
  if (city.shapes) return city.shapes.get(region) || [];
  const { rings, hole, points } = city.outlines;
  const polygons = [];
  for (let ring = city.boxes.firstRing[region]; ring < city.boxes.firstRing[region + 1]; ring++) {
    const corners = [];
    for (let at = rings[ring]; at < rings[ring + 1]; at++) {
      corners.push([points[2 * at], points[2 * at + 1]]);
    }
    corners.push(corners[0]);
    if (hole[ring]) polygons[polygons.length - 1].push(corners);
    else polygons.push([corners]);
  }
  return polygons;
}

/**
 * The region at a place, the last one where several lie; -1 where none does. A promise of
 * it where outlines are asked for.
 */
export function regionAt(city, lon, lat) {
  const { box } = city.boxes;
  const boxed = [];
  for (let i = city.n - 1; i >= 0; i--) {
    if (lon < box[4 * i] || lat < box[4 * i + 1]) continue;
    if (lon > box[4 * i + 2] || lat > box[4 * i + 3]) continue;
    boxed.push(i);
  }
  const holds = (i) => polygonsOf(city, i).some((rings) => inside(rings, lon, lat));
  return after(need(city, boxed), () => boxed.find(holds) ?? -1);
}

/**
 * The nearest region in a direction [east, north], within 45 degrees of it; -1 where
 * there is none.
 */
export function neighbour(city, region, [east, north]) {
  const { centresM } = city;
  let best = -1;
  let least = Infinity;
  for (let i = 0; i < city.n; i++) {
    const x = centresM[2 * i] - centresM[2 * region];
    const y = centresM[2 * i + 1] - centresM[2 * region + 1];
    const along = x * east + y * north;
    const beside = Math.abs(x * north - y * east);
    if (along <= 0 || beside > along) continue;
    if (along + 2 * beside < least) [best, least] = [i, along + 2 * beside];
  }
  return best;
}

function inDegrees(whole, unitsPerDeg) {
  return Float64Array.from(whole, (value) => value / unitsPerDeg);
}

/** West, south, east and north of each region, and its first ring [n + 1]. */
function boxesOf({ n, outlines: { points, rings, region } }) {
  const box = new Float64Array(4 * n);
  const firstRing = new Uint32Array(n + 1).fill(region.length);
  for (let i = 0; i < n; i++) box.set([Infinity, Infinity, -Infinity, -Infinity], 4 * i);
  for (let ring = region.length - 1; ring >= 0; ring--) {
    const i = region[ring];
    firstRing[i] = ring;
    for (let at = rings[ring]; at < rings[ring + 1]; at++) {
      const lon = points[2 * at];
      const lat = points[2 * at + 1];
      if (lon < box[4 * i]) box[4 * i] = lon;
      if (lat < box[4 * i + 1]) box[4 * i + 1] = lat;
      if (lon > box[4 * i + 2]) box[4 * i + 2] = lon;
      if (lat > box[4 * i + 3]) box[4 * i + 3] = lat;
    }
  }
  return { box, firstRing };
}

/** Whether a place is in a shell and in none of its holes (even-odd rule). */
function inside(rings, lon, lat) {
  let odd = false;
  for (const ring of rings) {
    for (let i = 1; i < ring.length; i++) {
      const [x0, y0] = ring[i - 1];
      const [x1, y1] = ring[i];
      if (y0 > lat === y1 > lat) continue;
      if (lon < x0 + ((lat - y0) / (y1 - y0)) * (x1 - x0)) odd = !odd;
    }
  }
  return odd;
}
