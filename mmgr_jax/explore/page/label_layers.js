// The layers of what was labelled: the map, and how sure it is.

import { classes, classified, quantileScale } from "./layers.js";
import { named, word } from "./words.js";

const SURE = [0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1];

/** Colours of the classes of some labels. */
export function classColours(city, count) {
  const { classes: few, clusters: many } = city.palettes;
  return count <= few.length ? few : many;
}

/** The layers of a map that the helper made: [{id, title, paint}]. */
export function layersOfMap(city, labels, made) {
  const name = named(labels.task);
  const layer = (part, title, paint) => {
    const text = word(title, { name });
    return { id: `page/${part}`, title: text, paint: () => paint(text) };
  };
  if (labels.kind === "class") {
    const colours = classColours(city, labels.classes.length);
    const sure = { breaks: SURE, colours: city.palettes.value, unit: "" };
    return [
      layer("label", "label.map", (title) =>
        classes(city.n, (i) => made.best[i], labels.classes, colours, title)),
      layer("doubt", "label.doubt", (title) => {
        const painted = classified(city.n, (i) => made.calibrated[i], sure, title);
        painted.legend.note = word("label.probability");
        return painted;
      }),
    ];
  }
  const layers = [
    layer("label", "label.map", (title) => {
      const scale = quantileScale(made.value, city.palettes.value, labels.unit);
      return classified(city.n, (i) => made.value[i], scale, title);
    }),
  ];
  if (!made.why) {
    const width = made.high.map((high, i) => high - made.low[i]);
    layers.push(
      layer("doubt", "label.width", (title) => {
        const scale = quantileScale(width, city.palettes.doubt, labels.unit);
        return classified(city.n, (i) => width[i], scale, title);
      }),
    );
  }
  return layers;
}
