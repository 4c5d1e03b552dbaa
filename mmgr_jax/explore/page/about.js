// Where everything comes from: the panel "About", and the line beneath the map.

import { fill, node } from "./dom.js";
import { named, shown, word } from "./words.js";

/** The line that is always in sight. */
export function showOrigins(element, city) {
  const parts = new Map(); // an origin -> what comes from it
  for (const { what, source, licence, year } of city.origins) {
    const more = [licence, year].filter(Boolean).join(", ");
    const name = source || word("origins.unknown");
    const whole = more ? word("origins.more", { source: name, more }) : name;
    parts.set(whole, [...(parts.get(whole) || []), named(what)]);
  }
  const lines = [...parts].map(([source, what]) =>
    word("origins.one", { what: what.join(", "), source }),
  );
  fill(element, lines.join(" · "));
}

/** The panel "About". */
export function showAbout(element, city) {
  const paragraph = (name, values) => node("p", {}, word(name, values));
  const percent = (share) => (share * 100).toFixed(1);
  const { recall, served } = city;
  fill(
    element,
    node("h2", {}, word("about.what")),
    paragraph(served ? "about.pageServed" : "about.page", {
      city: city.name,
      regions: shown(city.n),
      features: city.features,
      numbers: shown(city.d),
      software: city.software,
    }),
    paragraph("about.trust"),
    served && city.explained === 1
      ? paragraph("about.similarServed")
      : paragraph("about.similar", { depth: recall.depth, recall: percent(recall.value) }),
    city.explained < 1
      ? paragraph("about.components", {
          numbers: shown(city.d),
          all: shown(city.numFeatures),
          explained: percent(city.explained),
        })
      : "",
    served
      ? [paragraph("about.picturesServed", { gsd: shown(city.basemap.gsdM) }), ...otherwise(city)]
      : paragraph("about.pictures", { gsd: shown(city.basemap.gsdM) }),
    node("h2", {}, word("about.keys")),
    paragraph("map.keys"),
    node("h2", {}, word("about.sources")),
    sources(city),
    paragraph("about.library", { library: city.library }),
  );
}

/** What a served page does otherwise than one in a file, or not at all. */
function otherwise(city) {
  const lines = ["about.servedSquares", "about.servedMap", "about.servedYears"];
  if (city.served.spaceWidth && !city.poiWeights) lines.push("about.servedMixes");
  return [
    node("h2", {}, word("about.served")),
    node("ul", {}, lines.map((name) => node("li", {}, word(name)))),
  ];
}

function sources(city) {
  const heads = ["about.data", "about.source", "about.licence", "about.year"];
  const rows = city.origins.map(({ what, source, licence, year }) =>
    node(
      "tr",
      {},
      node("th", { scope: "row" }, named(what)),
      [source || word("origins.unknown"), licence, year].map((text) => node("td", {}, text)),
    ),
  );
  const cells = heads.map((name) => node("th", { scope: "col" }, word(name)));
  return node("table", {}, node("thead", {}, node("tr", {}, cells)), node("tbody", {}, rows));
}
