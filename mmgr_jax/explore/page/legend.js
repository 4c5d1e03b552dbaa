// What the colours of the map mean.

import { fill, node } from "./dom.js";
import { UNLIKE } from "./layers.js";

/** Shows a legend of `layers.paint`; null empties it. */
export function showLegend(element, legend) {
  if (!legend) {
    fill(element);
    return;
  }
  const { title, unit, entries, note } = legend;
  const items = entries.map(({ colour, hatch, text }) => {
    const kind = hatch ? (hatch === UNLIKE ? "unlike" : "unknown") : "";
    const swatch = node("span", { className: `swatch ${kind}` });
    if (colour) swatch.style.backgroundColor = colour;
    return node("li", {}, swatch, node("span", {}, text));
  });
  const open = !element.querySelector("details") || element.querySelector("details").open;
  fill(
    element,
    node(
      "details",
      { open },
      node("summary", {}, unit ? `${title} (${unit})` : title),
      note ? node("div", { className: "soft" }, note) : "",
      items.length ? node("ul", {}, items) : "",
    ),
  );
}
