// The regions as a layer of the map: their outlines as triangles.

import { mercator, verticesLayer } from "./vertices_layer.js";

/** A layer of the map; `show(colours, hatch)` changes what it shows. */
export function regionsLayer(city) {
  const { points, triangles } = city.outlines;
  const origin = mercator(city.centres[0], city.centres[1]);
  const places = new Float32Array(2 * triangles.length);
  const region = regionOfTriangles(city);
  for (let i = 0; i < triangles.length; i++) {
    const point = triangles[i];
    const [x, y] = mercator(points[2 * point], points[2 * point + 1]);
    places.set([x - origin[0], y - origin[1]], 2 * i);
  }
  const colours = new Uint8Array(4 * triangles.length);
  const hatch = new Uint8Array(triangles.length);
  const layer = verticesLayer("regions", { origin, places, colours, hatch });
  layer.show = (own, hatched) => {
    for (let i = 0; i < triangles.length; i++) {
      const at = 4 * region[i];
      colours[4 * i] = own[at];
      colours[4 * i + 1] = own[at + 1];
      colours[4 * i + 2] = own[at + 2];
      colours[4 * i + 3] = own[at + 3];
      hatch[i] = hatched[region[i]];
    }
    layer.stale = true;
  };
  return layer;
}

/** The region of each corner of each triangle. */
function regionOfTriangles({ outlines: { points, rings, region, triangles } }) {
  const ofPoint = new Uint32Array(points.length / 2);
  for (let ring = 0; ring < region.length; ring++) {
    ofPoint.fill(region[ring], rings[ring], rings[ring + 1]);
  }
  return Uint32Array.from(triangles, (point) => ofPoint[point]);
}
