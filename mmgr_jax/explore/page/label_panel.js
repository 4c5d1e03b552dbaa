// The panel "Label": examples by clicks, keys or drawing, and the map that follows.

import { byId, download, fill, node } from "./dom.js";
import { asCsv, asGeoJson } from "./exporting.js";
import { classColours, layersOfMap } from "./label_layers.js";
import { faultOf, showStart } from "./label_start.js";
import { asArrays, changed, redone, toCsv, undone, withLabels } from "./labels.js";
import { tileOf } from "./picture.js";
import { named, shown, withUnit, word } from "./words.js";

const SUGGESTED = 5;

/**
 * The panel. `app` is that of main.js.
 *
 * Gives {active(), pick(regions), act(key, region), made, mapped}; `mapped` is the promise
 * of the last map.
 */
export function setUpLabel(app) {
  const state = { history: null, value: 0, saved: true, made: null, next: [], said: "" };
  const panel = { state, mapped: Promise.resolve() };
  const element = byId("panel-label");
  panel.active = () => state.history !== null && !element.hidden;
  panel.brushing = () => panel.active() && Boolean(byId("label-brush").checked);
  panel.pick = (regions) => give(app, panel, regions, state.value);
  panel.act = (key, region) => {
    if (!panel.active()) return false;
    const number = "0123456789".indexOf(key);
    const { kind, classes } = state.history.now;
    if (key === "0") return give(app, panel, [region], null);
    if (kind !== "class" || number < 1 || number > classes.length) {
      return key === "Enter" || key === " " ? panel.pick([region]) : false;
    }
    choose(panel, number - 1);
    return panel.pick([region]);
  };
  panel.undo = () => move(app, panel, undone(state.history));
  panel.redo = () => move(app, panel, redone(state.history));
  panel.begin = (history, sentence) => {
    Object.assign(state, { history, value: 0, saved: true, made: null, next: [], said: sentence });
    if (history.now.kind === "number") state.value = 1;
    showWork(app, panel);
    panel.mapped = mapAnew(app, panel);
  };
  panel.end = () => {
    Object.assign(state, { history: null, made: null, next: [], saved: true });
    app.extra = [];
    app.map.examples([]);
    app.layersChanged();
    showStart(element, app.city, panel.begin);
  };
  app.label = panel;
  showStart(element, app.city, panel.begin);
  addEventListener("beforeunload", (event) => {
    if (!state.saved) event.preventDefault();
  });
  addEventListener("keydown", (event) => {
    if (!panel.active() || !(event.ctrlKey || event.metaKey)) return;
    if (/^(input|textarea)$/i.test(event.target.tagName) && event.target.type !== "radio") return;
    if (event.key === "z" && !event.shiftKey) panel.undo();
    else if (event.key === "y" || (event.key.toLowerCase() === "z" && event.shiftKey)) panel.redo();
    else return;
    event.preventDefault();
  });
  return panel;
}

/** Gives regions a label, or takes it away (null); true. */
function give(app, panel, regions, value) {
  const { state } = panel;
  try {
    const labels = withLabels(state.history.now, regions, value);
    move(app, panel, changed(state.history, labels));
    const id = app.city.ids[regions[0]];
    const shownValue = value === null ? "" : valueText(labels, value);
    state.said = word(value === null ? "label.taken" : "label.given", { id, value: shownValue });
  } catch (error) {
    state.said = faultOf(error);
  }
  app.tell(state.said);
  return true;
}

function valueText(labels, value) {
  return labels.kind === "class" ? named(labels.classes[value]) : withUnit(value, labels.unit);
}

function move(app, panel, history) {
  const { state } = panel;
  if (history === state.history) return;
  state.history = history;
  state.saved = history.now.values.size === 0;
  state.next = state.next.filter((region) => !history.now.values.has(region));
  refresh(app, panel);
  panel.mapped = mapAnew(app, panel);
}

/** Maps the labels as they are; of changes meanwhile the last one alone is mapped. */
function mapAnew(app, panel) {
  const { state } = panel;
  state.stale = true;
  state.running ??= (async () => {
    try {
      while (state.stale) {
        state.stale = false;
        if (state.history !== null) await mapOnce(app, panel);
      }
    } finally {
      state.running = null;
    }
  })();
  return state.running;
}

async function mapOnce(app, panel) {
  const { city, helper } = app;
  const { state } = panel;
  const labels = state.history.now;
  const { rows, values } = asArrays(labels);
  let made = null;
  if (new Set(values).size > 1) {
    const k = labels.classes.length;
    made = await helper.ask("label", { kind: labels.kind, rows, values, k });
  }
  if (state.history === null) return;
  const first = made !== null && state.made === null;
  state.made = made;
  app.extra = made ? layersOfMap(city, labels, made) : [];
  app.layersChanged(first ? "page/label" : null);
  refresh(app, panel);
}

function showWork(app, panel) {
  const { state } = panel;
  const labels = state.history.now;
  const button = (id, name, onclick, kind = "") =>
    node("button", { type: "button", id, className: kind, onclick }, word(name));
  const brush = node("input", { type: "checkbox", id: "label-brush" });
  fill(
    byId("panel-label"),
    node("h2", {}, named(labels.task)),
    labels.kind === "class" ? classChoice(app, panel) : numberChoice(panel),
    node("label", { className: "check" }, brush, node("span", {}, word("label.brush"))),
    node(
      "div",
      { className: "buttons" },
      button("label-undo", "label.undo", panel.undo),
      button("label-redo", "label.redo", panel.redo),
      button("label-next", "label.next", () => suggestNext(app, panel), "main"),
    ),
    node("div", { id: "label-next-list" }),
    node("p", { id: "label-quality", "aria-live": "polite" }),
    node(
      "div",
      { className: "buttons" },
      button("label-export", "label.export", () => saveLabels(app, panel)),
      button("label-export-map", app.city.remote ? "label.exportTable" : "label.exportMap", () =>
        saveMap(app, panel)),
      button("label-again", "label.again", () => {
        if (state.saved || confirm(word("label.sure"))) panel.end();
      }),
    ),
    node("p", { className: "soft" }, word("label.set")),
    node("p", { className: "soft" }, word("label.config", { name: labels.task })),
  );
  refresh(app, panel);
}

function classChoice(app, panel) {
  const { state } = panel;
  const { classes } = state.history.now;
  const colours = classColours(app.city, classes.length);
  const choice = (value, text, colour) => {
    const radio = node("input", {
      type: "radio",
      name: "label-class",
      value: String(value),
      checked: value === state.value,
      onchange: () => choose(panel, value),
    });
    const swatch = node("span", { className: "swatch" });
    if (colour) swatch.style.backgroundColor = colour;
    const span = node("span", { "data-class": String(value) }, text);
    return node("label", { className: "check" }, radio, swatch, span);
  };
  return node(
    "fieldset",
    {},
    node("legend", {}, word("label.classNow")),
    classes.map((name, j) => choice(j, named(name), colours[j % colours.length])),
    choice(null, word("label.erase"), ""),
  );
}

function numberChoice(panel) {
  const { state } = panel;
  const input = node("input", {
    type: "number",
    step: "any",
    id: "label-number",
    value: String(state.value),
    oninput: () => {
      state.value = input.value === "" ? null : Number(input.value);
    },
  });
  return node("label", { className: "field" }, node("span", {}, word("label.numberNow")), input);
}

function choose(panel, value) {
  panel.state.value = value;
  for (const radio of document.querySelectorAll('[name="label-class"]')) {
    radio.checked = radio.value === String(value);
  }
}

/** What changes with every label: counts, buttons, marks, and how good the map is. */
function refresh(app, panel) {
  const { state } = panel;
  const { now, past, future } = state.history;
  const counts = new Map();
  for (const value of now.values.values()) counts.set(value, (counts.get(value) || 0) + 1);
  now.classes.forEach((name, j) => {
    const text = word("label.classCount", { name: named(name), count: counts.get(j) || 0 });
    fill(document.querySelector(`[data-class="${j}"]`), text);
  });
  byId("label-undo").disabled = !past.length;
  byId("label-redo").disabled = !future.length;
  byId("label-export").disabled = !now.values.size;
  byId("label-export-map").disabled = !state.made;
  const colours = classColours(app.city, now.classes.length);
  const points = [...now.values].map(([region, value]) => ({
    region,
    colour: now.kind === "class" ? colours[value % colours.length] : "#0072b2",
  }));
  app.map.examples(points);
  showNext(app, panel);
  const count = word("label.counts", { count: now.values.size });
  fill(byId("label-quality"), [count, ...quality(state)].join(". ").replaceAll("..", "."));
}

function quality({ made, history: { now } }) {
  if (!made) return [word("label.waiting")];
  const said = [];
  const known = made.left !== null && made.left.length > 1;
  if (known && now.kind === "class") {
    said.push(word("label.right", { right: made.right, count: now.values.size }));
  } else if (known) {
    said.push(word("label.error", { error: withUnit(made.missed, now.unit) }));
  }
  said.push(
    made.why
      ? word(`label.why.${made.why}`)
      : word("label.promise", { level: Math.round(made.level * 100) }),
  );
  return said;
}

async function suggestNext(app, panel) {
  const { state } = panel;
  const labelled = [...state.history.now.values.keys()];
  const { regions } = await app.helper.ask("suggest", { labelled, count: SUGGESTED });
  if (state.history === null) return;
  state.next = regions;
  showNext(app, panel);
  if (regions.length) app.select(regions[0], { move: true });
}

function showNext(app, panel) {
  const { city, picture } = app;
  const items = panel.state.next.map((region) => {
    const id = city.ids[region];
    const go = { type: "button", onclick: () => app.select(region, { move: true }) };
    return node("li", {}, tileOf(city, picture, region, 32), node("button", go, id));
  });
  const list = node("ul", { className: "chips", "aria-label": word("label.nextList") }, items);
  fill(byId("label-next-list"), items.length ? list : "");
}

function saveLabels(app, panel) {
  const labels = panel.state.history.now;
  download(`${labels.task}.csv`, "text/csv", toCsv(labels, app.city));
  panel.state.saved = true;
}

function saveMap(app, panel) {
  const { city } = app;
  const { made, history } = panel.state;
  const { task, kind, classes, values } = history.now;
  const regions = [...city.ids.keys()];
  const label = (i) => {
    if (!values.has(i)) return null;
    return kind === "class" ? classes[values.get(i)] : values.get(i);
  };
  const columns =
    kind === "class"
      ? { prediction: (i) => classes[made.best[i]], probability: (i) => made.calibrated[i] }
      : { prediction: (i) => made.value[i], low: (i) => made.low[i], high: (i) => made.high[i] };
  const places = city.remote ? ["lon_deg", "lat_deg"] : []; // instead of outlines
  const names = ["region_id", task, ...places, ...Object.keys(columns).map((name) => `${task}_${name}`)];
  const finite = (value) => (typeof value === "number" && !Number.isFinite(value) ? null : value);
  const rows = regions.map((i) => [
    city.ids[i],
    label(i),
    ...places.map((_, j) => Number(city.centres[2 * i + j].toFixed(6))),
    ...Object.values(columns).map((column) => finite(column(i))),
  ]);
  const file = `${task}_map.${city.remote ? "csv" : "geojson"}`;
  if (city.remote) download(file, "text/csv", asCsv({ names, rows }));
  else download(file, "application/geo+json", asGeoJson(city, regions, { names, rows }));
  app.tell(word("status.exported", { count: shown(city.n), file }));
}
