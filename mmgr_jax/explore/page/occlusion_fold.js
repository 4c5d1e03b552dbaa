// What a prediction loses without parts of the tile or POIs of a category, as computed
// beforehand: a grid of colours over the tile's picture, and a list.

import { fill, node } from "./dom.js";
import { tileOf } from "./picture.js";
import { named, shown, withUnit, word } from "./words.js";

const TILE_PX = 224;
const LESS = "230, 97, 1", MORE = "33, 102, 172"; // orange and blue
const STRONGEST = 0.75; // opacity of the cell that matters most

/** The fold for a region; "" where nothing was computed. */
export function occlusionFold(app, region, open) {
  const { occluded } = app.city;
  if (!occluded || !Object.keys(occluded.tasks).length) return "";
  const content = node("div", { "aria-live": "polite" });
  const names = Object.keys(occluded.tasks);
  const choice = node(
    "select",
    { id: "occlusion-task", "aria-label": word("why.task"), onchange: () => show() },
    names.map((name) => node("option", { value: name }, named(name))),
  );
  if (names.includes(app.occludedTask)) choice.value = app.occludedTask;
  const show = () => {
    app.occludedTask = choice.value;
    const place = occluded.place.get(region);
    if (place === undefined) {
      return fill(content, node("p", { className: "soft" }, word("occlusion.notHere")));
    }
    return fill(content, ...parts(app, region, choice.value, place));
  };
  show();
  return node(
    "details",
    { id: "card-occlusion", open },
    node("summary", {}, word("occlusion.name")),
    choice,
    content,
  );
}

/**
 * What the prediction of a region loses.
 * @param {Object} occluded city.occluded
 * @param {string} task
 * @param {number} place Of the region among those that were computed.
 * @returns {{cells: ?Float32Array, categories: ?{category: number, value: number}[]}}
 *     Row by row; the largest category first.
 */
export function losses(occluded, task, place) {
  const { byCell, byCategory } = occluded.tasks[task], count = occluded.cells ** 2;
  const cells = byCell ? byCell.subarray(place * count, (place + 1) * count) : null;
  if (!byCategory) return { cells, categories: null };
  const categories = [];
  for (let at = occluded.start[place]; at < occluded.start[place + 1]; at++) {
    categories.push({ category: occluded.category[at], value: byCategory[at] });
  }
  categories.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  return { cells, categories };
}

function parts(app, region, name, place) {
  const { city } = app, task = city.tasks[name];
  const { cells, categories } = losses(city.occluded, name, place);
  const classes = task.classes.length > 0;
  const amount = (value) =>
    classes ? word("occlusion.points", { value: shown(value * 100) }) : withUnit(value, task.unit);
  const change = (value) => (value < 0 ? `+${amount(-value)}` : amount(-value || 0));
  const what = classes
    ? word("occlusion.ofClass", { name: named(task.classes[city.occluded.tasks[name].shown[place]]) })
    : named(name);
  const lines = [node("p", {}, word("occlusion.what", { what }))];
  if (cells) lines.push(...heat(app, region, cells, change));
  else lines.push(node("p", { className: "soft" }, word("occlusion.noTile")));
  if (!categories) lines.push(node("p", { className: "soft" }, word("occlusion.noPois")));
  else if (categories.length) {
    const heads = ["why.without", "occlusion.changes"].map((key) => node("th", { scope: "col" }, word(key)));
    const rows = categories.map(({ category, value }) =>
      node(
        "tr",
        {},
        node("th", { scope: "row" }, named(city.categories[category])),
        node("td", { className: "number" }, change(value)),
      ),
    );
    lines.push(node("table", {}, node("thead", {}, node("tr", {}, heads)), node("tbody", {}, rows)));
  }
  lines.push(node("p", { className: "soft" }, word("occlusion.honest")));
  return lines;
}

/** The tile with a colour on each cell, and what the colours mean. */
function heat(app, region, cells, change) {
  const { city, picture } = app, side = city.occluded.cells;
  const canvas = tileOf(city, picture, region, TILE_PX);
  const most = cells.reduce((size, value) => Math.max(size, Math.abs(value)), 0);
  const drawn = canvas.getContext("2d"), step = canvas.width / side;
  cells.forEach((value, i) => {
    const strength = most > 0 ? (STRONGEST * Math.abs(value)) / most : 0;
    drawn.fillStyle = `rgba(${value > 0 ? LESS : MORE}, ${strength})`;
    drawn.fillRect((i % side) * step, Math.floor(i / side) * step, step, step);
  });
  const strongest = cells.findIndex((value) => Math.abs(value) === most);
  const place = { row: Math.floor(strongest / side) + 1, column: (strongest % side) + 1 };
  const said = word("occlusion.strongest", { ...place, change: change(cells[strongest]) });
  canvas.classList.add("heat");
  canvas.setAttribute("aria-label", `${word("card.picture", { id: city.ids[region] })}. ${said}`);
  return [canvas, node("p", {}, said), node("p", { className: "soft" }, word("occlusion.colours"))];
}
