// Lists of regions as files: CSV for tables, GeoJSON for maps.

import { poisOf, polygonsOf } from "./city.js";
import { largestOf } from "./layers.js";

/** Names of the columns and a row a region, for `regions` with their `cosine`. */
export function tableOf(city, regions, cosine) {
  const names = ["rank", "region_id", "cosine", "lon_deg", "lat_deg", "pois"];
  const columns = [];
  for (const [task, held] of Object.entries(city.tasks)) {
    const add = (part, values) => {
      if (!values) return;
      names.push(`${task}_${part}`);
      columns.push((i) => value(held, part, values, i));
    };
    add("truth", held.truth);
    add("prediction", held.prediction);
    if (!held.classes.length) {
      add("low", held.low);
      add("high", held.high);
    }
    if (held.unlike) {
      names.push(`${task}_unlike`);
      columns.push((i) => held.unlike[i] === 1);
    }
  }
  const rows = regions.map((i, place) => [
    place + 1,
    city.ids[i],
    rounded(cosine[i], 4),
    rounded(city.centres[2 * i], 6),
    rounded(city.centres[2 * i + 1], 6),
    poisOf(city, i).map(({ category, count }) => `${city.categories[category]} ${count}`).join("; "),
    ...columns.map((column) => column(i)),
  ]);
  return { names, rows };
}

/** A table as CSV, which a spreadsheet may open: no cell becomes a formula. */
export function asCsv({ names, rows }) {
  const line = (cells) => cells.map(cell).join(",");
  return [names, ...rows].map(line).join("\r\n") + "\r\n";
}

/** A table as GeoJSON, with the outlines of its regions in longitude and latitude. */
export function asGeoJson(city, regions, { names, rows }) {
  return JSON.stringify({
    type: "FeatureCollection",
    features: regions.map((region, at) => ({
      type: "Feature",
      properties: Object.fromEntries(names.map((name, j) => [name, rows[at][j]])),
      geometry: { type: "MultiPolygon", coordinates: polygonsOf(city, region) },
    })),
  });
}

function value({ classes, kind }, part, values, i) {
  const k = classes.length;
  if (!k) return rounded(values[i], 6);
  const j = kind === "class" && part === "truth" ? values[i] : largestOf(values, i * k, k);
  return Number.isNaN(j) ? null : classes[j];
}

function rounded(number, digits) {
  return Number.isFinite(number) ? Number(number.toFixed(digits)) : null;
}

function cell(content) {
  if (content === null || content === undefined) return "";
  if (typeof content !== "string") return String(content);
  // As mmgr_jax/disk/files.py: "-12_34" and "+7" are names and stay.
  const formula = /^[=@\t\r]/.test(content) || (/^[+-]/.test(content) && !/^[+-][\w.]*$/.test(content));
  const safe = formula ? `'${content}` : content;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
