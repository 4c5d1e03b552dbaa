// The regions of a served city: squares by WebGL while a region is a few pixels, and its
// outlines from vector tiles when it is larger.
//
// Colours are the page's own, region by region: the tiles hold outlines and numbers of
// regions. They are set where the map looks.

import { mercator, verticesLayer } from "./vertices_layer.js";

const SOURCE = "region-tiles";
const LAYER = "regions"; // of the tiles; see mmgr_jax/geo/pmtiles.py
const HATCHES = { unlike: 1, unknown: 2 };
const MOST_SET = 60000; // regions whose colours the map keeps
const MARGIN = 0.25; // of the map's size, beyond its edge

/** The layers; the same calls as `regionsLayer`, and `addTo(map)`. */
export function tiledRegions(city) {
  const { n } = city;
  const shown = { colours: new Uint8Array(4 * n), hatch: new Uint8Array(n) };
  const squares = squaresLayer(city, shown);
  const layer = { id: "regions", map: null, set: new Set() };
  Object.defineProperty(layer, "opacity", {
    get: () => squares.opacity,
    set: (opacity) => {
      squares.opacity = opacity;
      if (layer.map) setOpacity(layer.map, opacity);
    },
  });
  layer.show = (colours, hatch) => {
    shown.colours.set(colours);
    shown.hatch.set(hatch);
    squares.stale = true;
    if (!layer.map) return;
    layer.set.clear();
    layer.map.removeFeatureState({ source: SOURCE, sourceLayer: LAYER });
    colourInSight(city, layer, shown);
  };
  layer.addTo = (map) => {
    layer.map = map;
    map.addLayer(squares);
    addTiles(map, city);
    setOpacity(map, squares.opacity);
    map.on("move", () => colourInSight(city, layer, shown));
    colourInSight(city, layer, shown);
  };
  return layer;
}

function addTiles(map, city) {
  const { regionZoom, maxZoom } = city.served;
  map.addSource(SOURCE, {
    type: "vector",
    tiles: [`${city.remote.address}tiles/{z}/{x}/{y}.mvt`],
    minzoom: regionZoom,
    maxzoom: maxZoom,
  });
  const add = (id, paint) =>
    map.addLayer({
      id,
      type: "fill",
      source: SOURCE,
      "source-layer": LAYER,
      minzoom: regionZoom,
      paint: { "fill-antialias": false, ...paint },
    });
  add("tiles-colour", {
    "fill-color": ["to-color", ["feature-state", "colour"], "rgba(0, 0, 0, 0)"],
  });
  for (const kind of Object.keys(HATCHES)) {
    map.addImage(`hatch-${kind}`, hatchImage(kind), { pixelRatio: 2 });
    add(`tiles-${kind}`, { "fill-pattern": `hatch-${kind}` });
  }
}

function setOpacity(map, opacity) {
  map.setPaintProperty("tiles-colour", "fill-opacity", opacity);
  for (const [kind, value] of Object.entries(HATCHES)) {
    const own = ["case", ["==", ["feature-state", "hatch"], value], opacity, 0];
    map.setPaintProperty(`tiles-${kind}`, "fill-opacity", own);
  }
}

/** Gives colours to the regions that the map shows and has not had yet. */
function colourInSight(city, layer, { colours, hatch }) {
  const { map, set } = layer;
  if (map.getZoom() < city.served.regionZoom) return;
  const sight = map.getBounds();
  const [wide, high] = [sight.getEast() - sight.getWest(), sight.getNorth() - sight.getSouth()];
  const west = sight.getWest() - MARGIN * wide;
  const east = sight.getEast() + MARGIN * wide;
  const south = sight.getSouth() - MARGIN * high;
  const north = sight.getNorth() + MARGIN * high;
  const { box } = city.boxes;
  const seen = [];
  for (let i = 0, at = 0; i < city.n; i++, at += 4) {
    if (box[at] > east || box[at + 2] < west || box[at + 1] > north || box[at + 3] < south) continue;
    if (!set.has(i)) seen.push(i);
  }
  if (set.size + seen.length > MOST_SET) {
    set.clear();
    map.removeFeatureState({ source: SOURCE, sourceLayer: LAYER });
    if (seen.length < MOST_SET) return colourInSight(city, layer, { colours, hatch });
  }
  for (const id of seen) {
    set.add(id);
    const [red, green, blue, alpha] = colours.subarray(4 * id, 4 * id + 4);
    const colour = `rgba(${red}, ${green}, ${blue}, ${alpha / 255})`;
    map.setFeatureState({ source: SOURCE, sourceLayer: LAYER, id }, { colour, hatch: hatch[id] });
  }
  return undefined;
}

/** Stripes as vertices_layer.js draws them, as a picture that repeats. */
function hatchImage(kind) {
  const size = 14;
  const data = new Uint8Array(4 * size * size);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const along = kind === "unlike" ? (x + size - y) % size : (x + y) % size;
      const line = along < 3;
      const own = kind === "unlike" ? [18, 23, 31, line ? 255 : 0] : line ? [107, 115, 128, 255] : [217, 222, 230, 115];
      data.set(own, 4 * (y * size + x));
    }
  }
  return { width: size, height: size, data };
}

/** All regions as squares, while the map is so far away that they are no more. */
function squaresLayer(city, { colours, hatch }) {
  const { n } = city;
  const { box } = city.boxes;
  const origin = mercator(box[0], box[1]);
  const places = new Float32Array(2 * n);
  const sizes = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    const [west, south] = mercator(box[4 * i], box[4 * i + 1]);
    const [east, north] = mercator(box[4 * i + 2], box[4 * i + 3]);
    places.set([(west + east) / 2 - origin[0], (south + north) / 2 - origin[1]], 2 * i);
    sizes[i] = Math.max(east - west, south - north);
  }
  const below = city.served.regionZoom;
  return verticesLayer("region-squares", { origin, places, sizes, colours, hatch, below });
}
