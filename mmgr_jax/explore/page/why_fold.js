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
    if (task.truth) tasks.set(`city/${name}`, { title: named(name), labels });
  }
  return tasks;
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
  const { kind, classes, unit, rows, values } = task;
  const given = { key, kind, rows, values, k: classes.length, region };
  const { parts, without, value, best, log } = await app.helper.ask("why", given);
  if (app.selected !== region) return;
  const what = kind === "class" ? named(classes[best]) : withUnit(value, unit);
  const effect = (number) => {
    if (kind === "number" && log) return `×\u00a0${shown(Math.exp(number))}`;
    const sign = number > 0 ? "+" : "";
    return kind === "number" ? `${sign}${withUnit(number, unit)}` : `${sign}${number.toFixed(2)}`;
  };
  const line = (name, number) =>
    node("tr", {}, node("th", { scope: "row" }, name), node("td", { className: "number" }, effect(number)));
  const largest = (items, count) =>
    [...items].sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, count);
  const categories = largest(parts.categories, CATEGORIES).map((part) => {
    const name = part.category < 0 ? word("why.allPois") : named(app.city.categories[part.category]);
    return line(word("why.category", { name }), part.value);
  });
  const scale = kind === "class" ? "why.logOdds" : log ? "why.factor" : "why.sum";
  const heads = ["why.part", scale].map((name) => node("th", { scope: "col" }, word(name)));
  fill(
    content,
    node("p", {}, word("why.says", { what, count: rows.length })),
    node(
      "table",
      {},
      node("thead", {}, node("tr", {}, heads)),
      node("tbody", {}, largest(parts.groups, 12).map((part) => line(part.name, part.value)), categories),
    ),
    without && without.length
      ? [
          node("p", {}, word("why.withoutIntro")),
          node(
            "table",
            {},
            node("thead", {}, node("tr", {}, ["why.without", scale].map((name) =>
              node("th", { scope: "col" }, word(name))))),
            node("tbody", {}, without.slice(0, CATEGORIES).map(({ category, value: part }) =>
              line(named(app.city.categories[category]), part))),
          ),
        ]
      : "",
    node("p", { className: "soft" }, word("why.honest")),
  );
}
