// The chosen region: its picture, its labels and predictions, its POIs.

import { changeOf } from "./change.js";
import { poisOf } from "./city.js";
import { fill, node } from "./dom.js";
import { valuesOf } from "./layers.js";
import { tileOf } from "./picture.js";
import { whyFold } from "./why_fold.js";
import { named, shown, word } from "./words.js";

const TILE_PX = 96;

/** Shows a region in the card; `act(key)` is called by its buttons. */
export function showCard(element, app, region, act) {
  const { city, picture } = app;
  if (region < 0) {
    fill(element, node("p", { className: "soft" }, word("card.none")));
    return;
  }
  const pois = poisOf(city, region);
  const total = pois.reduce((sum, { count }) => sum + count, 0);
  const area = shown(city.areasM2[region] / 1e4);
  const button = (key, name, kind = "") =>
    node("button", { type: "button", className: kind, onclick: () => act(key) }, word(name));
  const words = node(
    "div",
    {},
    node("h2", {}, city.ids[region]),
    node("p", { className: "soft" }, word("card.area", { area, pois: shown(total) })),
    node(
      "div",
      { className: "buttons" },
      button("Enter", "card.find", "main"),
      button("+", "card.plus"),
      button("-", "card.minus"),
    ),
  );
  // Folds stay as they were left; at first they are open where there is room.
  const folded = (id, name, content) => {
    const before = document.getElementById(id);
    const first = id === "card-change" || (id === "card-values" && innerWidth > 760);
    const open = before ? before.open : first;
    return node("details", { id, open }, node("summary", {}, word(name)), content);
  };
  fill(
    element,
    node("div", { className: "top" }, tileOf(city, picture, region, TILE_PX), words),
    app.change ? folded("card-change", "change.card", changeOf(app, region, TILE_PX)) : "",
    Object.keys(city.tasks).length
      ? folded("card-values", "card.values", valueTable(city, region))
      : "",
    pois.length ? folded("card-pois", "card.pois", poiTable(city, pois)) : "",
    whyFold(app, region, Boolean(document.querySelector("#card-why[open]"))),
  );
}

/** What a screen reader says of a region. */
export function announced(city, region) {
  const values = Object.entries(city.tasks).map(([name, task]) => {
    const { truth, prediction } = valuesOf(task, region, city.level);
    return word("similar.value", { name: named(name), value: prediction || truth });
  });
  return word("card.announced", { id: city.ids[region], values: values.join(", ") });
}

function valueTable(city, region) {
  const rows = Object.entries(city.tasks).map(([name, task]) => {
    const { truth, prediction, interval, unlike } = valuesOf(task, region, city.level);
    const small = (text) => (text ? node("small", {}, text) : "");
    return node(
      "tr",
      {},
      node("th", { scope: "row" }, named(name)),
      node("td", {}, truth || ""),
      node("td", {}, prediction || "", small(interval), small(unlike ? word("card.unlike") : "")),
    );
  });
  return table(["card.label", "card.truth", "card.prediction"], rows);
}

function poiTable(city, pois) {
  const rows = pois.map(({ category, count }) =>
    node(
      "tr",
      {},
      node("th", { scope: "row" }, named(city.categories[category])),
      node("td", {}, shown(count)),
    ),
  );
  return table(["card.category", "card.number"], rows);
}

function table(heads, rows) {
  const cells = heads.map((name) => node("th", { scope: "col" }, word(name)));
  return node("table", {}, node("thead", {}, node("tr", {}, cells)), node("tbody", {}, rows));
}
