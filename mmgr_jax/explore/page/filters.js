// Which regions may be listed: those in sight, with POIs of a category, of a label.

import { byId, fill, node } from "./dom.js";
import { arraysOfTask } from "./fetching.js";
import { largestOf } from "./layers.js";
import { named, word } from "./words.js";

/** Fills the choices; `changed` is called when one is made. */
export function setUpFilters(city, changed) {
  const option = (value, text) => node("option", { value }, text);
  fill(
    byId("filter-category"),
    option("", word("filter.any")),
    [...city.categories.keys()]
      .sort((a, b) => named(city.categories[a]).localeCompare(named(city.categories[b]), "en"))
      .map((j) => option(String(j), named(city.categories[j]))),
  );
  const tasks = [];
  for (const [name, task] of Object.entries(city.tasks)) {
    for (const part of ["truth", "prediction"]) {
      if (task[part]) tasks.push(option(`${part}/${name}`, word(`filter.${part}Of`, { name: named(name) })));
    }
  }
  fill(byId("filter-task"), option("", word("filter.anyLabel")), tasks);
  byId("filter-task").onchange = () => {
    const { task } = chosen(city);
    const classes = task ? task.classes : [];
    byId("filter-range").hidden = !task || classes.length > 0;
    byId("filter-class-field").hidden = classes.length === 0;
    fill(byId("filter-class"), classes.map((name, j) => option(String(j), named(name))));
    changed();
  };
  for (const id of ["filter-sight", "filter-category", "filter-low", "filter-high", "filter-class"]) {
    byId(id).onchange = changed;
  }
}

/** 1 where a region passes all filters [n]; null where none is set. */
export function allowed(city, inSight) {
  const tests = [];
  if (byId("filter-sight").checked) {
    const sight = inSight();
    tests.push((i) => sight[i] === 1);
  }
  const category = byId("filter-category").value;
  if (category !== "") tests.push(hasCategory(city, Number(category)));
  const byLabel = labelTest(city);
  if (byLabel) tests.push(byLabel);
  fill(byId("filters-on"), tests.length ? word("filter.on") : "");
  if (!tests.length) return null;
  return Uint8Array.from({ length: city.n }, (_, i) => Number(tests.every((test) => test(i))));
}

/** Names of the arrays that the filters read. */
export function arraysAsked(city) {
  const { task, name } = chosen(city);
  return task ? arraysOfTask(city, name) : [];
}

function labelTest(city) {
  const { task, part } = chosen(city);
  if (!task) return null;
  const values = task[part];
  const k = task.classes.length;
  if (k) {
    const wanted = Number(byId("filter-class").value);
    if (task.kind === "class" && part === "truth") return (i) => values[i] === wanted;
    return (i) => largestOf(values, i * k, k) === wanted;
  }
  const [low, high] = ["filter-low", "filter-high"].map((id) => byId(id).value);
  return (i) =>
    !Number.isNaN(values[i]) &&
    (low === "" || values[i] >= Number(low)) &&
    (high === "" || values[i] <= Number(high));
}

function chosen(city) {
  const [part, ...name] = byId("filter-task").value.split("/");
  const whole = name.join("/");
  return { part, name: whole, task: part ? city.tasks[whole] : null };
}

function hasCategory(city, wanted) {
  const { start, category } = city.pois;
  return (i) => {
    for (let at = start[i]; at < start[i + 1]; at++) if (category[at] === wanted) return true;
    return false;
  };
}
