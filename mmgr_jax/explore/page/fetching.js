// What a served page asks for before it shows it: whole arrays, or values of some regions.
//
// Arrays of a served city are as long as they will be, and empty until they are asked for.
// `load` and `need` give null where everything is there, as on a page without a server, so
// that nothing waits; else a promise.

const MOST_KNOWN = 50000; // regions whose outlines are kept

/** Calls `then` at once, or when a promise has come true; gives its value or promise. */
export function after(promise, then) {
  return promise ? promise.then(then) : then();
}

/** Fills whole arrays of a served city by their names. */
export function load(city, names) {
  if (!city.remote) return null;
  const missing = names.filter((name) => city.lazy.has(name) && !city.lazy.get(name).whole);
  if (!missing.length) return null;
  return Promise.all(missing.map((name) => (city.lazy.get(name).asked ??= filled(city, name))));
}

async function filled(city, name) {
  const own = city.lazy.get(name);
  const bytes = await city.remote.bytes(`array/${name}`);
  own.array.set(new own.array.constructor(bytes));
  own.whole = true;
}

/** Names of the arrays of a layer, or of a task's values. */
export function arraysOf(city, id, clusters) {
  const [group, part, ...rest] = id.split("/");
  if (group === "task") return arraysOfTask(city, rest.join("/"));
  if (part === "clusters") return [`clusters${clusters}`];
  return { components: ["componentColours"], density: ["poiDensity"] }[part] || [];
}

/** Names of all arrays of a task. */
export function arraysOfTask(city, name) {
  const parts = ["Truth", "Prediction", "Low", "High", "Unlike"];
  return parts.map((part) => city.tasks[name].array + part);
}

/** Values and outlines of some regions. */
export function need(city, regions) {
  if (!city.remote) return null;
  const missing = [...new Set(regions)].filter((region) => !city.shapes.has(region));
  if (!missing.length) return null;
  if (city.shapes.size + missing.length > MOST_KNOWN) city.shapes.clear();
  const waits = [];
  for (let first = 0; first < missing.length; first += city.served.mostAsked) {
    waits.push(partOf(city, missing.slice(first, first + city.served.mostAsked)));
  }
  return Promise.all(waits);
}

async function partOf(city, regions) {
  const asked = Uint32Array.from(regions);
  const [values, outlines] = await Promise.all([
    city.remote.post("values", asked),
    city.remote.post("outlines", asked),
  ]);
  let at = 0;
  for (const name of city.served.valued) {
    const { array, whole } = city.lazy.get(name);
    const width = array.length / city.n;
    const size = regions.length * width * array.BYTES_PER_ELEMENT;
    const own = new array.constructor(values.slice(at, at + size));
    at += size;
    if (whole) continue;
    regions.forEach((region, i) => {
      array.set(own.subarray(i * width, (i + 1) * width), region * width);
    });
  }
  takeOutlines(city, regions, outlines);
}

/** Polygons of regions from what ServedCity.outlines of served.py packs. */
function takeOutlines(city, regions, bytes) {
  const [q, p] = new Uint32Array(bytes, 0, 2);
  const owner = new Uint32Array(bytes, 8, q);
  const starts = new Uint32Array(bytes, 8 + 4 * q, q + 1);
  const points = new Int32Array(bytes, 12 + 8 * q, 2 * p);
  const hole = new Uint8Array(bytes, 12 + 8 * q + 8 * p, q);
  for (const region of regions) city.shapes.set(region, []);
  for (let ring = 0; ring < q; ring++) {
    const corners = [];
    for (let at = starts[ring]; at < starts[ring + 1]; at++) {
      corners.push([points[2 * at] / city.unitsPerDeg, points[2 * at + 1] / city.unitsPerDeg]);
    }
    corners.push(corners[0]);
    const polygons = city.shapes.get(regions[owner[ring]]);
    if (hole[ring]) polygons[polygons.length - 1].push(corners);
    else polygons.push([corners]);
  }
}
