// Twins in another city: the page of a city that the same encoder read, opened beside.

import { loadCity, poisOf } from "./city.js";
import { byId, fill, node } from "./dom.js";
import { loadPicture, tileOf } from "./picture.js";
import { named, shown, word } from "./words.js";

const TOP_POIS = 3;

/** The part "Another city" of the panel "Similar". Gives {after(state), opened}. */
export function setUpTwins(app) {
  const twins = { city: null, picture: null, opened: Promise.resolve(), order: [] };
  byId("twins-file").onchange = ({ target }) => {
    twins.opened = open(app, twins, target.files[0]);
    return twins.opened;
  };
  twins.after = (state) => search(app, twins, state);
  app.twins = twins;
  return twins;
}

/** Reads another page: as text and numbers alone, nothing in it runs. */
async function open(app, twins, file) {
  const say = (name, values) => fill(byId("twins-said"), word(name, values));
  say("twins.reading");
  const [city, picture] = await read(file);
  if (city === null) return say("twins.noPage", { file: file.name });
  const same = city.encoder === app.city.encoder && city.d === app.city.d;
  if (!same || city.explained < 1 || app.city.explained < 1) {
    return say("twins.otherEncoder", { city: city.name });
  }
  const { n, d, whole, scale } = city;
  await app.helper.ask("holdOther", { n, d, embeddings: whole, scale });
  Object.assign(twins, { city, picture });
  say("twins.opened", { city: city.name, regions: shown(n) });
  return twins.after(app.similar.state);
}

/** The city of a page and its picture; null where the file is no such page. */
async function read(file) {
  try {
    const page = new DOMParser().parseFromString(await file.text(), "text/html");
    const text = (id) => page.getElementById(id).textContent;
    const about = JSON.parse(text("city"));
    const city = await loadCity(about, (name) => text(`array-${name}`));
    const whole = city.whole.length === city.n * city.d && city.scale.length === city.n;
    if (!whole || city.ids.length !== city.n) return [null, null];
    return [city, await loadPicture(text("basemap"), about.basemap)];
  } catch {
    return [null, null]; // whatever it is, it is none; a sentence says so
  }
}

async function search(app, twins, { positives, negatives }) {
  const { city } = twins;
  if (city === null) return;
  if (!positives.length && !negatives.length) {
    twins.order = [];
    fill(byId("twins"));
    return;
  }
  const count = Number(byId("count").value);
  const { order, cosine } = await app.helper.ask("twins", { positives, negatives, count });
  twins.order = order;
  fill(byId("twins"), order.map((region) => twin(twins, region, cosine[region])));
}

function twin({ city, picture }, region, cosine) {
  const pois = poisOf(city, region)
    .slice(0, TOP_POIS)
    .map(({ category, count }) =>
      word("similar.poi", { name: named(city.categories[category]), count: shown(count) }),
    );
  return node(
    "li",
    {},
    tileOf(city, picture, region, 72),
    node(
      "div",
      { className: "words" },
      node("div", {}, city.ids[region]),
      node("div", {}, word("similar.cosine", { cosine: cosine.toFixed(2) })),
      node("div", { className: "soft" }, pois.join(", ") || word("similar.noPois")),
    ),
  );
}
