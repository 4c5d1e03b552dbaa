// Examples and counterexamples, and the regions that are most alike.

import { poisOf } from "./city.js";
import { byId, download, fill, node } from "./dom.js";
import { asCsv, asGeoJson, tableOf } from "./exporting.js";
import { load, need } from "./fetching.js";
import { allowed, arraysAsked, setUpFilters } from "./filters.js";
import { classified, valuesOf } from "./layers.js";
import { tileOf } from "./picture.js";
import { named, shown, word } from "./words.js";

const BREAKS = [-1, 0, 0.2, 0.4, 0.6, 0.7, 0.8, 1];
const TOP_POIS = 3;

/**
 * The panel "Similar". `app`: {city, picture, map, helper, select, tell, showLayer}.
 *
 * Gives {add(sign, regions), find(region), clear, layer, searched}; `searched` is the
 * promise of the last search.
 */
export function setUpSimilar(app) {
  const { city } = app;
  const state = { positives: [], negatives: [], order: [], cosine: null };
  const panel = { state, searched: Promise.resolve(), cosine: () => state.cosine };

  const search = () => {
    panel.searched = run(app, state);
    return panel.searched;
  };
  const lists = { "+": "positives", "-": "negatives" };
  panel.add = (sign, region) => {
    const [own, other] = sign === "+" ? ["positives", "negatives"] : ["negatives", "positives"];
    state[other] = state[other].filter((i) => i !== region);
    state[own] = state[own].includes(region)
      ? state[own].filter((i) => i !== region)
      : [...state[own], region];
    return search();
  };
  panel.find = (region) => {
    state.positives = [region];
    state.negatives = [];
    return search();
  };
  panel.remove = (sign, region) => {
    state[lists[sign]] = state[lists[sign]].filter((i) => i !== region);
    return search();
  };
  panel.clear = () => {
    state.positives = [];
    state.negatives = [];
    return search();
  };
  panel.paint = () => {
    const { cosine } = state;
    const scale = { breaks: BREAKS, colours: city.palettes.value, unit: "" };
    const value = (i) => (cosine ? cosine[i] : NaN);
    const painted = classified(city.n, value, scale, word("layers.similarity"));
    painted.legend.note = word("legend.similarity");
    return painted;
  };
  panel.again = search;
  app.similar = panel;
  setUpFilters(city, search);
  byId("count").onchange = search;
  byId("clear").onclick = panel.clear;
  byId("export-csv").onclick = () => exported(app, state, "csv");
  byId("export-geojson").onclick = () => exported(app, state, "geojson");
  showLists(app, state);
  return panel;
}

async function run(app, state) {
  const { city, map, helper } = app;
  const { positives, negatives } = state;
  const ticket = (state.ticket = {});
  if (!positives.length && !negatives.length) {
    state.order = [];
    state.cosine = null;
    app.tell("");
  } else {
    const count = Number(byId("count").value);
    const loading = load(city, arraysAsked(city));
    if (loading) await loading;
    const given = allowed(city, map.inSight);
    const { order, cosine } = await helper.ask("search", {
      positives,
      negatives,
      count,
      allowed: given,
    });
    const waits = need(city, [...positives, ...negatives, ...order]);
    if (waits) await waits;
    if (state.ticket !== ticket) return; // a later search has begun
    state.order = order;
    state.cosine = cosine;
    const key = order.length ? "status.found" : "status.nothing";
    app.tell(word(key, { count: shown(order.length) }));
  }
  map.mark("positive", positives);
  map.mark("negative", negatives);
  map.mark("result", state.order);
  showLists(app, state);
  app.layersChanged();
  await app.twins.after(state);
}

function showLists(app, state) {
  const chips = (id, regions, sign) => {
    const items = regions.map((region) => chip(app, region, sign));
    const none = node("li", { className: "soft" }, word("similar.noExamples"));
    fill(byId(id), items.length ? items : none);
  };
  chips("positives", state.positives, "+");
  chips("negatives", state.negatives, "-");
  const { order, cosine } = state;
  for (const id of ["export-csv", "export-geojson"]) byId(id).disabled = !order.length;
  byId("clear").disabled = !state.positives.length && !state.negatives.length;
  fill(byId("results"), order.map((region) => result(app, region, cosine[region])));
}

function chip(app, region, sign) {
  const { city, picture } = app;
  const id = city.ids[region];
  return node(
    "li",
    {},
    tileOf(city, picture, region, 32),
    node("span", {}, id),
    node(
      "button",
      {
        type: "button",
        "aria-label": word("similar.remove", { id }),
        onclick: () => app.similar.remove(sign, region),
      },
      "×",
    ),
  );
}

function result(app, region, cosine) {
  const { city, picture, similar } = app;
  const id = city.ids[region];
  const go = { type: "button", className: "go", onclick: () => app.select(region, { move: true }) };
  const mark = (sign, key) =>
    node(
      "button",
      {
        type: "button",
        className: "mark",
        "aria-label": word(`${key}Named`, { id }),
        onclick: () => similar.add(sign, region),
      },
      word(key),
    );
  return node(
    "li",
    { "data-region": id },
    tileOf(city, picture, region, 72),
    node(
      "div",
      { className: "words" },
      node("button", go, id),
      node("div", {}, word("similar.cosine", { cosine: cosine.toFixed(2) })),
      node("div", { className: "soft" }, commonest(city, region)),
      values(city, region).map((text) => node("div", {}, text)),
    ),
    node("div", {}, mark("+", "similar.plus"), " ", mark("-", "similar.minus")),
  );
}

function commonest(city, region) {
  const pois = poisOf(city, region).slice(0, TOP_POIS);
  if (!pois.length) return word("similar.noPois");
  return pois
    .map(({ category, count }) =>
      word("similar.poi", { name: named(city.categories[category]), count: shown(count) }),
    )
    .join(", ");
}

/** The truth of each label, or what is predicted where it is not known. */
function values(city, region) {
  return Object.entries(city.tasks).map(([name, task]) => {
    const { truth, prediction } = valuesOf(task, region, city.level);
    const known = truth !== undefined && truth !== word("unknown");
    const key = known || prediction === undefined ? "similar.value" : "similar.predicted";
    return word(key, { name: named(name), value: known ? truth : prediction || truth });
  });
}

function exported(app, state, kind) {
  const { city } = app;
  const waits = need(city, state.order);
  if (waits) {
    waits.then(() => exported(app, state, kind));
    return;
  }
  const table = tableOf(city, state.order, state.cosine);
  const file = `similar.${kind}`;
  if (kind === "csv") download(file, "text/csv", asCsv(table));
  else download(file, "application/geo+json", asGeoJson(city, state.order, table));
  app.tell(word("status.exported", { count: shown(state.order.length), file }));
}
