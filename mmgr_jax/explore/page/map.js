// The map: imagery, regions over it, outlines of those that are chosen, and its keys.

import { neighbour, polygonsOf, regionAt } from "./city.js";
import { after, need } from "./fetching.js";
import { regionsLayer } from "./regions_layer.js";
import { tiledRegions } from "./tiles_layer.js";
import { word } from "./words.js";

const ARROWS = {
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
};

const PAN_PX = 120;

/** Outlines by their meaning; dashes tell them apart where colours do not. */
const MARKS = {
  result: { colour: "#ffffff", under: "#1c2430", width: 1.5, dash: [1, 0] },
  positive: { colour: "#56b4e9", under: "#ffffff", width: 3, dash: [1, 0] },
  negative: { colour: "#d55e00", under: "#ffffff", width: 3, dash: [1.5, 1] },
  selected: { colour: "#ffffff", under: "#000000", width: 3, dash: [1, 0] },
};

/**
 * The map of a city in an element.
 *
 * `picture` is a canvas with the imagery. `on`: {select(region), called where a region is
 * clicked or reached by keys; click(region), where it is clicked without a key;
 * act(key, region), where a key is pressed on one; brushing(), whether moving over the map
 * draws; brush(regions), what was drawn over}.
 */
export function makeMap(maplibregl, container, city, picture, on) {
  const [west, south, east, north] = city.basemap.bounds;
  const bounds = [[west, south], [east, north]];
  const map = createMap(maplibregl, container, bounds);
  const layer = city.remote ? tiledRegions(city) : regionsLayer(city);
  const state = { selected: -1, marks: {}, examples: [] };
  const made = { map, layer, state };

  made.ready = new Promise((resolve) => {
    map.on("load", () => {
      addLayers(map, layer, picture, city.basemap.bounds);
      resolve();
    });
  });
  made.show = ({ colours, hatch }) => {
    layer.show(colours, hatch);
    map.triggerRepaint();
  };
  made.setOpacity = (opacity) => {
    layer.opacity = opacity;
    map.triggerRepaint();
  };
  made.mark = (kind, regions) => {
    state.marks[kind] = regions;
    after(need(city, regions), () => {
      if (state.marks[kind] !== regions) return; // others meanwhile
      map.getSource(`mark-${kind}`).setData(asLines(city, regions));
    });
  };
  made.examples = (points) => {
    map.getSource("examples").setData({
      type: "FeatureCollection",
      features: points.map(({ region, colour }) => ({
        type: "Feature",
        properties: { colour },
        geometry: { type: "Point", coordinates: centreOf(city, region) },
      })),
    });
  };
  made.select = (region, { move = false } = {}) => {
    state.selected = region;
    made.mark("selected", region < 0 ? [] : [region]);
    if (move && region >= 0) bringIntoSight(map, centreOf(city, region));
  };
  made.inSight = () => {
    const sight = map.getBounds();
    const [west, south, east, north] = [sight.getWest(), sight.getSouth(), sight.getEast(), sight.getNorth()];
    const allowed = new Uint8Array(city.n);
    for (let i = 0; i < city.n; i++) {
      const [lon, lat] = [city.centres[2 * i], city.centres[2 * i + 1]];
      allowed[i] = lon >= west && lon <= east && lat >= south && lat <= north ? 1 : 0;
    }
    return allowed;
  };
  made.whole = () => map.fitBounds(bounds, { padding: 12, animate: false });

  map.on("click", async ({ lngLat, originalEvent }) => {
    const clicked = regionAt(city, lngLat.lng, lngLat.lat);
    const region = city.remote ? await clicked : clicked;
    if (region < 0) return;
    on.select(region);
    if (on.brushing()) return; // it was drawn over
    if (originalEvent.shiftKey) on.act("+", region);
    else if (originalEvent.altKey) on.act("-", region);
    else on.click(region);
  });
  addKeys(map, city, made, on);
  addBrush(map, city, made, on);
  return made;
}

/** An empty map that shows some bounds, without keys of its own. */
function createMap(maplibregl, container, bounds) {
  const map = new maplibregl.Map({
    container,
    style: { version: 8, sources: {}, layers: [] },
    bounds,
    fitBoundsOptions: { padding: 12 },
    attributionControl: false,
    keyboard: false,
    dragRotate: false,
    boxZoom: false, // shift and a click add an example
    pitchWithRotate: false,
    touchPitch: false,
    renderWorldCopies: false,
    maxZoom: 21,
    fadeDuration: 0,
    trackResize: true,
    canvasContextAttributes: { preserveDrawingBuffer: true, antialias: false },
    locale: {
      "NavigationControl.ZoomIn": word("map.zoomIn"),
      "NavigationControl.ZoomOut": word("map.zoomOut"),
      "Map.Title": word("map.name"),
    },
  });
  map.touchZoomRotate.disableRotation();
  map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-right");
  map.addControl(new maplibregl.ScaleControl({ unit: "metric" }), "bottom-left");
  return map;
}

function addKeys(map, city, made, on) {
  const canvas = map.getCanvas();
  canvas.setAttribute("aria-label", word("map.name"));
  canvas.setAttribute("aria-describedby", "map-keys");
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey) return;
    const { selected } = made.state;
    const arrow = ARROWS[event.key];
    if (arrow && event.shiftKey) {
      map.panBy([arrow[0] * PAN_PX, -arrow[1] * PAN_PX], { animate: false });
    } else if (arrow) {
      const next = selected < 0 ? middleRegion(map, city) : neighbour(city, selected, arrow);
      if (next >= 0) on.select(next, { move: true });
    } else if (event.key === "PageUp" || event.key === "PageDown") {
      map.zoomTo(map.getZoom() + (event.key === "PageUp" ? 1 : -1), { animate: false });
    } else if (event.key === "Home") {
      made.whole();
    } else if (selected >= 0 && /^(Enter| |[a-zA-Z0-9+-])$/.test(event.key)) {
      if (!on.act(event.key, selected)) return;
    } else {
      return;
    }
    event.preventDefault();
  });
}

/** Regions that the pointer is moved over while it is held, where `on.brushing()`. */
function addBrush(map, city, made, on) {
  const canvas = map.getCanvas();
  let over = null;
  let waits = [];
  const add = (event) => {
    const box = canvas.getBoundingClientRect();
    const { lng, lat } = map.unproject([event.clientX - box.left, event.clientY - box.top]);
    const own = over;
    const take = (region) => {
      if (region < 0 || own.has(region)) return;
      own.add(region);
      if (own === over) made.mark("result", [...own]);
    };
    const region = regionAt(city, lng, lat);
    if (city.remote) waits.push(Promise.resolve(region).then(take));
    else take(region);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!on.brushing() || event.button !== 0) return;
    map.dragPan.disable();
    map.touchZoomRotate.disable();
    canvas.setPointerCapture(event.pointerId);
    over = new Set();
    add(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (over) add(event);
  });
  const end = () => {
    if (!over) return;
    const [own, waited] = [over, waits];
    [over, waits] = [null, []];
    map.dragPan.enable();
    map.touchZoomRotate.enable();
    map.touchZoomRotate.disableRotation();
    after(waited.length ? Promise.all(waited) : null, () => {
      made.mark("result", []);
      if (own.size) on.brush([...own]);
    });
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
}

function addLayers(map, layer, picture, [west, south, east, north]) {
  map.addSource("imagery", {
    type: "canvas",
    canvas: picture,
    animate: false,
    coordinates: [[west, north], [east, north], [east, south], [west, south]],
  });
  map.addLayer({
    id: "imagery",
    type: "raster",
    source: "imagery",
    paint: { "raster-fade-duration": 0 },
  });
  if (layer.addTo) layer.addTo(map);
  else map.addLayer(layer);
  for (const [kind, { colour, under, width, dash }] of Object.entries(MARKS)) {
    map.addSource(`mark-${kind}`, { type: "geojson", data: asLines(null, []) });
    const add = (id, paint) =>
      map.addLayer({ id, type: "line", source: `mark-${kind}`, paint });
    add(`mark-${kind}-under`, { "line-color": under, "line-width": width + 2.5 });
    add(`mark-${kind}`, { "line-color": colour, "line-width": width, "line-dasharray": dash });
  }
  map.addSource("examples", {
    type: "geojson",
    data: { type: "FeatureCollection", features: [] },
  });
  map.addLayer({
    id: "examples",
    type: "circle",
    source: "examples",
    paint: {
      "circle-radius": 6,
      "circle-color": ["get", "colour"],
      "circle-stroke-color": "#ffffff",
      "circle-stroke-width": 2,
    },
  });
}

function asLines(city, regions) {
  return {
    type: "FeatureCollection",
    features: regions.map((region) => ({
      type: "Feature",
      properties: {},
      geometry: { type: "MultiLineString", coordinates: polygonsOf(city, region).flat() },
    })),
  };
}

function centreOf(city, region) {
  return [city.centres[2 * region], city.centres[2 * region + 1]];
}

/** The region nearest to the middle of the map. */
function middleRegion(map, city) {
  const { lng, lat } = map.getCenter();
  const narrow = Math.cos((lat * Math.PI) / 180);
  let best = -1;
  let least = Infinity;
  for (let i = 0; i < city.n; i++) {
    const [lon, north] = centreOf(city, i);
    const apart = ((lon - lng) * narrow) ** 2 + (north - lat) ** 2;
    if (apart < least) [best, least] = [i, apart];
  }
  return best;
}

/** Moves the map where a place is not well in sight. */
function bringIntoSight(map, place) {
  const { x, y } = map.project(place);
  const { clientWidth, clientHeight } = map.getCanvas();
  const edge = 40;
  if (x > edge && y > edge && x < clientWidth - edge && y < clientHeight - edge) return;
  map.jumpTo({ center: place });
}
