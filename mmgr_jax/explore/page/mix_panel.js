// The panel "POIs": what a picture suggests, and what a mix of POIs suggests.

import { poisOf } from "./city.js";
import { byId, fill, node } from "./dom.js";
import { tileOf } from "./picture.js";
import { wordsAsMix } from "./word_mix.js";
import { named, shown, word } from "./words.js";

const SUGGESTED = 12; // categories of a picture
const LISTED = 12; // regions of a mix
const MOST = 20; // POIs of one category in a mix

/** The panel. Gives {refresh(), setMix(category, count), mixed}. */
export function setUpMix(app) {
  const { city } = app;
  const state = { mix: new Map(), result: null };
  const panel = { state, mixed: Promise.resolve(), suggested: Promise.resolve() };
  const order = [...city.categories.keys()].sort((a, b) =>
    named(city.categories[a]).localeCompare(named(city.categories[b]), "en"),
  );
  const choice = node(
    "select",
    { id: "mix-category" },
    order.map((j) => node("option", { value: String(j) }, named(city.categories[j]))),
  );
  const add = () => panel.setMix(Number(choice.value), 1);
  fill(
    byId("panel-mix"),
    node("h2", {}, word("mix.picture")),
    node("div", { id: "mix-suggested" }),
    node("h2", {}, word("mix.mix")),
    node("p", { className: "soft" }, word("mix.intro")),
    city.words ? wordsField(app, panel) : "",
    node("label", { className: "field" }, node("span", {}, word("mix.category")), choice),
    node(
      "div",
      { className: "buttons" },
      node("button", { type: "button", id: "mix-add", className: "main", onclick: add }, word("mix.add")),
      node("button", { type: "button", id: "mix-here", onclick: () => takeHere(app, panel) }, word("mix.here")),
      node("button", { type: "button", id: "mix-clear", onclick: () => panel.clear() }, word("similar.clear")),
    ),
    node("div", { id: "mix-sliders" }),
    node("div", { id: "mix-results", "aria-live": "polite" }),
  );
  panel.setMix = (category, count) => {
    if (count > 0) state.mix.set(category, Math.min(count, MOST));
    else state.mix.delete(category);
    return changed(app, panel);
  };
  panel.clear = () => {
    state.mix.clear();
    return changed(app, panel);
  };
  panel.refresh = () => {
    const { result } = state;
    const hidden = byId("panel-mix").hidden;
    const own = result ? (result.pictures || result.regions).regions : [];
    app.map.mark("result", hidden ? app.similar.state.order : own);
    if (hidden) return;
    panel.suggested = showSuggested(app, state);
  };
  app.mix = panel;
  panel.refresh();
  changed(app, panel);
  return panel;
}

/** Where a text becomes a mix. */
function wordsField(app, panel) {
  const { city } = app;
  const input = node("input", { type: "text", id: "mix-words", autocomplete: "off", maxLength: 200 });
  const answer = node("p", { className: "soft", id: "mix-words-said", "aria-live": "polite" });
  const ask = (event) => {
    event.preventDefault();
    const { mix, unknown } = wordsAsMix(city.words, input.value);
    const names = mix.map(([category, count]) => `${named(city.categories[category])} ${count}`);
    const parts = [];
    if (mix.length) parts.push(word("mix.words.asked", { names: names.join(", ") }));
    if (unknown.length) parts.push(word("mix.words.unknown", { words: unknown.join(", ") }));
    if (!mix.length && !unknown.length) parts.push(word("mix.words.none"));
    fill(answer, parts.join(" "));
    if (!mix.length) return;
    panel.state.mix = new Map(mix);
    changed(app, panel);
  };
  return node(
    "form",
    { id: "mix-words-form", onsubmit: ask },
    node("label", { className: "field" }, node("span", {}, word("mix.words")), input),
    node("div", { className: "buttons" }, node("button", { type: "submit" }, word("mix.words.ask"))),
    answer,
  );
}

/** Takes the POIs of the chosen region as the mix. */
function takeHere(app, panel) {
  if (app.selected < 0) return null;
  panel.state.mix = new Map(
    poisOf(app.city, app.selected).map(({ category, count }) => [category, Math.min(count, MOST)]),
  );
  return changed(app, panel);
}

function changed(app, panel) {
  showSliders(app, panel);
  panel.mixed = showResults(app, panel.state);
  return panel.mixed;
}

/** POIs that the picture of the chosen region suggests, beside those that are there. */
async function showSuggested(app, state) {
  const { city, helper, selected } = app;
  const element = byId("mix-suggested");
  const say = (name) => fill(element, node("p", { className: "soft" }, word(name)));
  if (!city.projections) return say("mix.noSpace");
  if (selected < 0) return say("card.none");
  const { rows } = await helper.ask("poisOfPicture", { region: selected });
  if (app.selected !== selected) return null;
  const here = new Map(poisOf(city, selected).map(({ category, count }) => [category, count]));
  const percent = (share) => `${Math.round(share * 100)} %`;
  const cells = rows.slice(0, SUGGESTED).map(({ category, share, cityShare, lift }) =>
    node(
      "tr",
      {},
      node("th", { scope: "row" }, named(city.categories[category])),
      [percent(share), percent(cityShare), `×\u00a0${lift.toFixed(1)}`, String(here.get(category) || 0)].map(
        (text) => node("td", { className: "number" }, text),
      ),
    ),
  );
  const heads = ["card.category", "mix.fitting", "mix.city", "mix.lift", "mix.present"];
  state.suggested = rows;
  fill(
    element,
    node("p", { className: "soft" }, word("mix.pictureIntro", { id: city.ids[selected] })),
    node(
      "table",
      {},
      node("thead", {}, node("tr", {}, heads.map((name) => node("th", { scope: "col" }, word(name))))),
      node("tbody", {}, cells),
    ),
  );
  return null;
}

function showSliders(app, panel) {
  const { city } = app;
  const sliders = [...panel.state.mix].map(([category, count]) => {
    const output = node("output", {}, String(count));
    const input = node("input", {
      type: "range",
      min: "0",
      max: String(Math.max(MOST, count)),
      value: String(count),
      "data-category": String(category),
      oninput: () => fill(output, input.value),
      onchange: () => panel.setMix(category, Number(input.value)),
    });
    const name = node("span", {}, named(city.categories[category]), ": ", output);
    return node("label", { className: "field" }, name, input);
  });
  fill(byId("mix-sliders"), sliders);
  byId("mix-clear").disabled = !panel.state.mix.size;
}

async function showResults(app, state) {
  const { city, helper, map } = app;
  const element = byId("mix-results");
  const ticket = (state.ticket = {});
  if (!state.mix.size) {
    state.result = null;
    fill(element);
    return;
  }
  const given = { mix: [...state.mix], count: LISTED, space: Boolean(city.projections) };
  const result = await helper.ask("mix", given);
  if (state.ticket !== ticket) return;
  state.result = result;
  const parts = [];
  if (result.pictures) {
    const about = result.exact
      ? word("mix.exact")
      : word("mix.about", {
          share: Math.round(result.r2 * 100),
          cosine: result.cosine.toFixed(2),
        });
    parts.push(
      node("h3", {}, word("mix.pictures")),
      node("p", { className: "soft" }, about),
      list(app, result.pictures.regions),
    );
  }
  parts.push(node("h3", {}, word("mix.regions")), list(app, result.regions.regions));
  fill(element, parts);
  map.mark("result", (result.pictures || result.regions).regions);
}

function list(app, regions) {
  const { city, picture } = app;
  const items = regions.map((region) => {
    const go = { type: "button", onclick: () => app.select(region, { move: true }) };
    const id = city.ids[region];
    return node("li", { "data-region": id }, tileOf(city, picture, region, 48), node("button", go, id));
  });
  return node("ul", { className: "chips large" }, items.length ? items : node("li", {}, shown(NaN)));
}
