// What changed since an earlier year: layers, a list, both pictures.

import { poisOf } from "./city.js";
import { byId, download, fill, node } from "./dom.js";
import { asCsv, asGeoJson, tableOf } from "./exporting.js";
import { classes, classified } from "./layers.js";
import { tileOf } from "./picture.js";
import { named, shown, word } from "./words.js";

const TOP_POIS = 3;
const COLOURS = ["#d9dde3", "#d55e00"];
const COUNTS = [10, 20, 50, 100];

/** The tab of a city that has an earlier year; to be called before tabs are set up. */
export function addChangeTab() {
  const tab = node(
    "button",
    { type: "button", role: "tab", id: "tab-change", "aria-controls": "panel-change",
      "aria-selected": "false", tabIndex: -1 },
    word("tab.change"),
  );
  byId("tab-label").before(tab);
  const panel = node("div", { role: "tabpanel", id: "panel-change",
    "aria-labelledby": "tab-change", tabIndex: 0, hidden: true });
  byId("panel-label").before(panel);
}

/** The layers and the panel "Change"; `picture` is that of the earlier year. */
export function setUpChange(app, picture) {
  const { city } = app;
  const { change } = city;
  const panel = { level: change.level, count: 20, picture, order: [] };
  panel.painters = {
    "change/factor": () => paintFactor(city),
    "change/found": () => paintFound(city, panel.level),
  };
  app.change = panel;
  const choice = (values, chosen, text) =>
    values.map((value) => node("option", { value: String(value), selected: value === chosen }, text(value)));
  const levels = choice(change.levels, panel.level, (level) => word("change.percent", { level: percent(level) }));
  const counts = choice(COUNTS, panel.count, String);
  const field = (name, id, options, then) => {
    const select = node("select", { id }, options);
    select.onchange = () => {
      then(Number(select.value));
      refresh(app);
    };
    return node("label", { className: "field" }, node("span", {}, word(name)), select);
  };
  const save = (kind, name) =>
    node("button", { type: "button", id: `change-${kind}`, onclick: () => exported(app, kind) }, word(name));
  fill(
    byId("panel-change"),
    node("p", { className: "soft" }, word("change.intro", { city: change.name })),
    field("change.level", "change-level", levels, (level) => { panel.level = level; }),
    node("p", { id: "change-said", "aria-live": "polite" }),
    field("change.count", "change-count", counts, (count) => { panel.count = count; }),
    node("div", { className: "buttons" }, save("csv", "similar.csv"), save("geojson", "similar.geojson")),
    node("h2", { id: "change-title" }, word("change.list")),
    node("ol", { id: "changes", className: "results", "aria-labelledby": "change-title" }),
    node("h2", {}, word("change.how")),
    facts(change).map((text) => node("p", { className: "soft" }, text)),
  );
  refresh(app);
  app.layersChanged("change/found");
}

/** The two pictures of a region, the earlier one first, and how much it changed. */
export function changeOf(app, region, size) {
  const { city, picture, change } = app;
  const factor = city.change.factor[region];
  if (Number.isNaN(factor)) return node("p", { className: "soft" }, word("change.alone"));
  const both = [
    [before(app, region, size), "change.before"],
    [tileOf(city, picture, region, size), "change.now"],
  ];
  return node(
    "div",
    { className: "two-years" },
    both.map(([tile, name]) => node("figure", {}, tile, node("figcaption", {}, word(name)))),
    node("p", {}, described(city, region, change.level)),
  );
}

function before({ city, change }, region, size) {
  const earlier = { ...city, basemap: city.change.basemap };
  const tile = tileOf(earlier, change.picture, region, size);
  tile.setAttribute("aria-label", word("change.pictureBefore", { id: city.ids[region] }));
  return tile;
}

function refresh(app) {
  const { city, change } = app;
  const { factor, p, q } = city.change;
  const known = [...city.ids.keys()].filter((i) => !Number.isNaN(factor[i]));
  const changed = known.filter((i) => q[i] <= change.level);
  // The surest first; of those that are as sure the most distant.
  const rank = (i) => (Number.isNaN(p[i]) ? 2 : p[i]);
  change.order = known.sort((a, b) => rank(a) - rank(b) || factor[b] - factor[a]).slice(0, change.count);
  const wrong = shown(Math.ceil(changed.length * change.level));
  const values = { changed: shown(changed.length), all: shown(known.length), wrong, level: percent(change.level) };
  fill(byId("change-said"), word(changed.length ? "change.found" : "change.nothing", values));
  fill(byId("changes"), change.order.map((region) => item(app, region)));
  app.layersChanged();
}

function item(app, region) {
  const { city, picture, change } = app;
  const go = { type: "button", className: "go", onclick: () => app.select(region, { move: true }) };
  const pois = poisOf(city, region)
    .slice(0, TOP_POIS)
    .map(({ category, count }) =>
      word("similar.poi", { name: named(city.categories[category]), count: shown(count) }),
    );
  return node(
    "li",
    { "data-region": city.ids[region] },
    before(app, region, 72),
    tileOf(city, picture, region, 72),
    node(
      "div",
      { className: "words" },
      node("button", go, city.ids[region]),
      node("div", {}, described(city, region, change.level)),
      node("div", { className: "soft" }, pois.join(", ") || word("similar.noPois")),
    ),
  );
}

function described(city, region, level) {
  const { factor, q } = city.change;
  const times = factor[region].toPrecision(2);
  if (Number.isNaN(q[region])) return word("change.isNamed", { times });
  const key = q[region] <= level ? "change.isChanged" : "change.isNot";
  return word(key, { times, q: percent(q[region]) });
}

function facts(change) {
  const { regions, pairs, byName, aloneBefore, aloneNow } = change;
  const counts = { regions, pairs, byName, aloneBefore, aloneNow };
  const texts = Object.entries(counts).map(([name, count]) => [name, shown(count)]);
  const origin = change.origins
    .filter(({ what }) => what === "imagery")
    .map(({ source, licence, year }) => [source, licence, year].filter(Boolean).join(", "))
    .join("; ");
  return [
    word("change.method"),
    word(change.null === "named" ? "change.nullNamed" : "change.nullHalf", { named: shown(change.named) }),
    word("change.matched", Object.fromEntries(texts)),
    word("change.origin", { city: change.name, origin: origin || word("origins.unknown") }),
  ];
}

function paintFactor(city) {
  const { factor, scale } = city.change;
  const painted = classified(city.n, (i) => factor[i], scale, word("change.factor"));
  painted.legend.note = word("change.factorNote");
  return painted;
}

function paintFound(city, level) {
  const { factor, q } = city.change;
  const title = word("change.foundAt", { level: percent(level) });
  const names = [word("change.no"), word("change.yes")];
  const index = (i) => (Number.isNaN(factor[i]) ? NaN : Number(q[i] <= level));
  return classes(city.n, index, names, COLOURS, title);
}

function exported(app, kind) {
  const { city, change } = app;
  const { factor, p, q } = city.change;
  const table = tableOf(city, change.order, new Float32Array(city.n).fill(NaN));
  const at = table.names.indexOf("cosine");
  const own = ["change_factor", "change_p_value", "change_q_value"];
  const values = (i) => [factor[i], p[i], q[i]].map((value) =>
    (Number.isNaN(value) ? null : Number(value.toPrecision(4))));
  const put = (cells, others) => [...cells.slice(0, at), ...others, ...cells.slice(at + 1)];
  const given = {
    names: put(table.names, own),
    rows: table.rows.map((row, place) => put(row, values(change.order[place]))),
  };
  const file = `change.${kind}`;
  if (kind === "csv") download(file, "text/csv", asCsv(given));
  else download(file, "application/geo+json", asGeoJson(city, change.order, given));
  app.tell(word("status.exported", { count: shown(change.order.length), file }));
}

function percent(share) {
  return (share * 100).toPrecision(share < 0.1 ? 1 : 2).replace(/\.?0+$/, (end) => (end.startsWith(".") ? "" : end));
}
