// Where the page's city comes from: out of the page itself, or from the server of it.

import { cityOf, loadCity } from "./city.js";
import { byId } from "./dom.js";
import { drawnPicture, loadPicture } from "./picture.js";
import { remoteOf } from "./remote.js";
import { useWords } from "./words.js";

/** The text of a data element, which is let go of. */
export function taken(id) {
  const element = byId(id);
  const text = element.textContent;
  element.remove();
  return text;
}

/** The city and its picture; strings are known from then on. */
export async function loadAll() {
  return document.getElementById("city") ? inlined() : served();
}

async function inlined() {
  const about = JSON.parse(taken("city"));
  useWords(about.strings);
  return Promise.all([
    loadCity(about, (name) => taken(`array-${name}`)),
    loadPicture(taken("basemap"), about.basemap),
  ]);
}

async function served() {
  taken("served");
  const remote = remoteOf(new URL(".", document.baseURI).href);
  const about = await remote.json("city.json");
  useWords(about.strings);
  const [city, picture] = await Promise.all([
    cityOf(about, (name) => remote.bytes(`array/${name}`), remote),
    remote.blob("basemap.webp").then((blob) => drawnPicture(blob, about.basemap)),
  ]);
  return [city, picture];
}
