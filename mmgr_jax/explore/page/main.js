// The page: unpacks the city, then joins map, layers, search and panels.

import { showAbout, showOrigins } from "./about.js";
import { announced, showCard } from "./card.js";
import { addChangeTab, setUpChange } from "./change.js";
import { byId, fill, node } from "./dom.js";
import { after, arraysOf, load, need } from "./fetching.js";
import { startHelper } from "./helper.js";
import { asks, layersOf, paint } from "./layers.js";
import { showLegend } from "./legend.js";
import { setUpLabel } from "./label_panel.js";
import { makeMap } from "./map.js";
import { setUpMix } from "./mix_panel.js";
import { loadPicture } from "./picture.js";
import { NO_ANSWER } from "./remote.js";
import { setUpSimilar } from "./similar.js";
import { loadAll, taken } from "./source.js";
import { setUpTabs } from "./tabs.js";
import { setUpTwins } from "./twins.js";
import { named, shown, word } from "./words.js";

async function start() {
  const helper = startHelper(taken("worker"));
  const [city, picture] = await loadAll();
  const app = { city, picture, helper, extra: [], painters: {} };
  if (city.change) addChangeTab();
  globalThis.explored = app; // for tests, and for who opens the console
  await holdCity(app);
  app.tell = (text) => fill(byId("status"), text);
  app.showTab = setUpTabs(byId("tabs"), () => app.mix && app.mix.refresh());
  if (city.remote) sayWhenServerEnds(app);
  app.map = tryMap(app);
  await app.map.ready;
  app.select = (region, options = {}) => select(app, region, options);
  app.act = (key, region) => act(app, key, region);
  app.layersChanged = (show = null) => fillLayers(app, show);
  setUpTwins(app);
  setUpSimilar(app);
  setUpLabel(app);
  setUpMix(app);
  setUpLayers(app);
  if (city.change) {
    setUpChange(app, await loadPicture(taken("basemap-before"), city.change.basemap));
  }
  showOrigins(byId("origins"), city);
  showAbout(byId("panel-about"), city);
  select(app, -1, {});
  const pois = city.pois.count.reduce((sum, count) => sum + count, 0);
  const [regions, categories] = [city.n, city.categories.length].map(shown);
  fill(byId("facts"), word("page.facts", { regions, pois: shown(pois), categories }));
  app.tell("");
  document.documentElement.dataset.ready = "yes";
}

/** Gives the embeddings to the helper, which alone computes with them. */
async function holdCity({ city, helper }) {
  const { n, d, whole, scale, weights, blocks, projections } = city;
  const { groups, pois, categories, mean, deviation, poiWeights } = city;
  const own = { n, d, weights, blocks, groups, pois, categories, mean, deviation, poiWeights };
  if (city.remote) {
    const { served, inverse, remote: { address } } = city;
    return helper.ask("holdServed", { ...own, ...served, address, inverse });
  }
  const given = { ...own, embeddings: whole, scale, ...projections };
  const views = [whole, scale, ...Object.values(projections || {})];
  await helper.ask("hold", given, views.map((view) => view.buffer));
  delete city.whole;
  delete city.scale;
  return null;
}

/** Whatever was asked of a server that is no more, its user hears of it. */
function sayWhenServerEnds(app) {
  addEventListener("unhandledrejection", (event) => {
    if (!String(event.reason && event.reason.message).startsWith(NO_ANSWER)) return;
    app.tell(word("status.noAnswer"));
    event.preventDefault();
  });
}

/** The map; where WebGL is missing, something that takes the same calls. */
function tryMap(app) {
  const on = {
    select: (region, options) => app.select(region, options),
    click: (region) => {
      if (app.label.active()) app.label.pick([region]);
    },
    brushing: () => app.label.brushing(),
    brush: (regions) => app.label.pick(regions),
    act: (key, region) => app.act(key, region),
  };
  const { city, picture } = app;
  try {
    return makeMap(globalThis.maplibregl, byId("map"), city, picture, on);
  } catch (error) {
    console.error(error);
    fill(byId("map"), node("p", { className: "trouble", role: "alert" }, word("map.without")));
    const nothing = () => {};
    const inSight = () => new Uint8Array(city.n).fill(1);
    return { ready: null, show: nothing, setOpacity: nothing, mark: nothing, inSight,
      examples: nothing, select: nothing, whole: nothing };
  }
}

function select(app, region, options) {
  app.selected = region;
  app.map.select(region, options);
  after(need(app.city, region < 0 ? [] : [region]), () => {
    if (app.selected !== region) return; // another meanwhile
    showCard(byId("card"), app, region, (key) => app.act(key, region));
    if (app.mix) app.mix.refresh();
    fill(byId("said"), region < 0 ? "" : announced(app.city, region));
  });
}

/** What a key or a button does with a region; whether it does anything. */
function act(app, key, region) {
  if (app.label.act(key, region)) return true;
  if (key === "Enter" || key === " ") app.similar.find(region);
  else if (key === "+" || key === "-") app.similar.add(key, region);
  else return false;
  app.showTab("tab-similar");
  return true;
}

function setUpLayers(app) {
  const { city } = app;
  for (const id of ["layer", "class", "clusters"]) byId(id).oninput = () => show(app);
  byId("opacity").oninput = () => {
    const opacity = Number(byId("opacity").value);
    fill(byId("opacity-shown"), `${opacity} %`);
    app.map.setOpacity(opacity / 100);
  };
  byId("opacity").oninput();
  const numbers = Object.keys(city.clusters).map(Number);
  byId("clusters").min = Math.min(...numbers);
  byId("clusters").max = Math.max(...numbers);
  fillLayers(app);
  const first = Object.keys(city.tasks).find((name) => city.tasks[name].prediction);
  if (first) byId("layer").value = `task/prediction/${first}`;
  else byId("layer").value = "city/clusters";
  show(app);
}

/** The choices of layers; the chosen one stays where it is there, or `wanted` is shown. */
function fillLayers(app, wanted = null) {
  const { city } = app;
  const before = wanted ?? byId("layer").value;
  const extra = [...app.extra];
  const own = Object.fromEntries(extra.map(({ id, paint }) => [id, paint]));
  app.painters = { ...own, ...(app.change ? app.change.painters : {}) };
  if (app.similar.cosine()) {
    extra.unshift({ id: "page/similarity", title: word("layers.similarity") });
    app.painters["page/similarity"] = app.similar.paint;
  }
  const groups = layersOf(city, extra).map(({ title, layers }) => {
    const options = layers.map(({ id, title }) => node("option", { value: id }, title));
    return node("optgroup", { label: title }, options);
  });
  fill(byId("layer"), groups);
  byId("layer").value = before;
  if (byId("layer").selectedIndex < 0) byId("layer").value = "city/none";
  show(app);
}

function show(app) {
  const { city } = app;
  const id = byId("layer").value;
  const { clusters, classes } = asks(city, id);
  byId("clusters-field").hidden = !clusters;
  byId("class-field").hidden = !classes;
  if (classes && byId("class").dataset.layer !== id) {
    fill(byId("class"), classes.map((name, j) => node("option", { value: String(j) }, named(name))));
    byId("class").dataset.layer = id;
  }
  const number = Number(byId("clusters").value);
  fill(byId("clusters-shown"), String(number));
  const folds = id.startsWith("task/") && !id.startsWith("task/truth");
  fill(byId("layer-note"), folds ? word("layers.outOfFold") : "");
  const ticket = (app.showing = {});
  app.shown = after(load(city, arraysOf(city, id, number)), () => {
    if (app.showing === ticket) paintLayer(app, id, number);
  });
}

function paintLayer(app, id, number) {
  const { city } = app;
  const classIndex = Number(byId("class").value);
  const painted = paint(city, id, { clusters: number, classIndex, extra: app.painters });
  app.painted = painted;
  app.map.show(painted);
  showLegend(byId("legend"), painted.legend);
}

start().catch((error) => {
  console.error(error);
  const text = `${error.message || error}`;
  byId("status").textContent = `The page could not be opened: ${text}`;
  document.documentElement.dataset.ready = "failed";
});
