// What a prediction owes to image, POIs and categories: exact parts of a linear head.

import { fill, node } from "./dom.js";
import { arraysOfTask, load } from "./fetching.js";
import { largestOf } from "./layers.js";
import { asArrays } from "./labels.js";
import { named, shown, withUnit, word } from "./words.js";

/** Labels that a head of this fold learns from: a second or two, not a minute. */
const MOST_LABELS = { number: 400, class: 120 };
const CATEGORIES = 6;

/** The fold for a region; it computes when it is opened. */
export function whyFold(app, region, open) {
  const tasks = tasksOf(app);
  if (!tasks.size) return "";
  const content = node("div", { "aria-live": "polite" });
  const choice = node(
    "select",
    { id: "why-task", "aria-label": word("why.task"), onchange: () => explain() },
    [...tasks].map(([key, { title }]) => node("option", { value: key }, title)),
  );
  if (app.whyTask && tasks.has(app.whyTask)) choice.value = app.whyTask;
  const explain = async () => {
    app.whyTask = choice.value;
    fill(content, node("p", { className: "soft" }, word("why.working")));
    const { labels, ...task } = tasks.get(choice.value);
    app.explained = Promise.resolve(labels()).then((known) =>
      explained(app, { ...task, ...known }, choice.value, region, content));
    await app.explained;
  };
  const fold = node(
    "details",
    { id: "card-why", open },
    node("summary", {}, word("why.name")),
    choice,
    content,
  );
  fold.addEventListener("toggle", () => {
    if (fold.open && !content.childNodes.length) explain();
  });
  return fold;
}

/** Labels that a head can be fitted to: those of the page, then those of the city. */
function tasksOf({ city, label }) {
  const tasks = new Map();
  const own = label && label.state.history && label.state.made ? label.state.history.now : null;
  if (own) {
    const { rows, values } = asArrays(own);
    const { kind, classes, unit } = own;
    const labels = () => ({ kind, classes, unit, rows, values });
    const known = { title: named(own.task), labels };
    tasks.set(`page/${own.task}/${label.state.history.past.length}`, known);
  }
  const numbersFirst = Object.entries(city.tasks).sort(
    ([, a], [, b]) => Number(a.classes.length > 0) - Number(b.classes.length > 0),
  );
  for (const [name, task] of numbersFirst) {
    const labels = async () => {
      await load(city, arraysOfTask(city, name));
      return labelsOf(city, task);
    };
    const known = { title: named(name), name };
    if (task.made) tasks.set(`shown/${name}`, { ...known, labels: () => ({}) });
    else if (task.truth) tasks.set(`city/${name}`, { ...known, labels });
  }
  return tasks;
}

/** Parts of the prediction that is shown, as Python counted them; null where it did not. */
export function partsShown(city, task, region) {
  if (!task.made || !task.prediction) return null;
  const { groups, baseline, byGroup, units, category, byCategory } = task.made;
  const g = groups.length, t = category.length / city.n;
  const own = groups.map((name, i) => ({ name, value: byGroup[region * g + i] }));
  const c = city.categories.length;
  const categories = Array.from({ length: t }, (_, i) => {
    const j = category[region * t + i];
    return { category: j < c ? j : -1, value: byCategory[region * t + i] };
  });
  const sum = own.reduce((total, { value }) => total + value, baseline[region]);
  return { groups: own, categories, sum, unit: units ? units[region] : null };
}

function labelsOf(city, task) {
  const k = task.classes.length;
  const value = (i) => {
    if (!k) return task.truth[i];
    return task.kind === "class" ? task.truth[i] : largestOf(task.truth, i * k, k);
  };
  const known = [...city.ids.keys()].filter((i) => Number.isFinite(value(i)));
  const kind = k ? "class" : "number";
  const step = Math.max(known.length / MOST_LABELS[kind], 1);
  const count = Math.min(known.length, MOST_LABELS[kind]);
  const rows = Int32Array.from({ length: count }, (_, i) => known[Math.floor(i * step)]);
  const { classes, unit } = task;
  return { kind, classes, unit, rows, values: Float64Array.from(rows, value) };
}

async function explained(app, task, key, region, content) {
  if (key.startsWith("shown/")) return explainShown(app, task.name, region, content);
  const { kind, classes, unit, rows, values } = task;
  const given = { key, kind, rows, values, k: classes.length, region };
  const { parts, without, value, best, log } = await app.helper.ask("why", given);
  if (app.selected !== region) return null;
  const what = kind === "class" ? named(classes[best]) : withUnit(value, unit);
  const scale = kind === "class" ? "why.logOdds" : log ? "why.factor" : "why.sum";
  const effect = effectOn(scale, unit);
  const intro = word("why.says", { what, count: rows.length });
  const lists = partTables(app.city, parts, scale, effect);
  const more = without && without.length ? withoutTable(app.city, without, scale, effect) : "";
  fill(content, node("p", {}, intro), lists, more, node("p", { className: "soft" }, word("why.honest")));
  return null;
}

function explainShown(app, name, region, content) {
  const { city } = app, task = city.tasks[name], k = task.classes.length;
  const parts = partsShown(city, task, region);
  const scale = k ? "why.logOdds" : parts.unit === null ? "why.sum" : "why.factor";
  const value = task.prediction[region];
  const what = k ? named(task.classes[largestOf(task.prediction, region * k, k)]) : withUnit(value, task.unit);
  const added = parts.unit === null ? parts.sum : parts.unit * Math.expm1(parts.sum);
  const clipped = !k && Math.abs(added - value) > 1e-3 * (Math.abs(value) + (parts.unit || 1e-9));
  const sum = word("why.clipped", { what: withUnit(added, task.unit) });
  fill(
    content,
    node("p", {}, word("why.shown", { what })),
    partTables(city, parts, scale, effectOn(scale, task.unit)),
    clipped ? node("p", {}, sum) : "",
    node("p", { className: "soft" }, word("why.honest")),
  );
  return null;
}

/** How a part is written. */
function effectOn(scale, unit) {
  if (scale === "why.factor") return (number) => `×\u00a0${shown(Math.exp(number))}`;
  const sign = (number) => (number > 0 ? "+" : "");
  if (scale === "why.sum") return (number) => `${sign(number)}${withUnit(number, unit)}`;
  return (number) => `${sign(number)}${number.toFixed(2)}`;
}

const largest = (items, count) =>
  [...items].sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, count);

function line(name, text) {
  return node("tr", {}, node("th", { scope: "row" }, name), node("td", { className: "number" }, text));
}

function table(names, rows) {
  const heads = names.map((name) => node("th", { scope: "col" }, word(name)));
  return node("table", {}, node("thead", {}, node("tr", {}, heads)), node("tbody", {}, rows));
}

function partTables(city, parts, scale, effect) {
  const categories = largest(parts.categories, CATEGORIES).map(({ category, value }) => {
    const name = category < 0 ? word("why.allPois") : named(city.categories[category]);
    return line(word("why.category", { name }), effect(value));
  });
  const groups = largest(parts.groups, 12).map(({ name, value }) => line(name, effect(value)));
  return table(["why.part", scale], [groups, categories].flat());
}

function withoutTable(city, without, scale, effect) {
  const rows = without.slice(0, CATEGORIES).map(({ category, value }) =>
    line(named(city.categories[category]), effect(value)));
  return [node("p", {}, word("why.withoutIntro")), table(["why.without", scale], rows)];
}
