// How labelling begins: a name, classes or a number, or a table that was saved before.

import { fill, node } from "./dom.js";
import { LabelError, fromCsv, historyOf, noLabels } from "./labels.js";
import { word } from "./words.js";

/** What a fault of labels says. */
export function faultOf(error) {
  if (!(error instanceof LabelError)) throw error;
  const list = (value) => (Array.isArray(value) ? value.join(", ") : value);
  const given = Object.fromEntries(
    Object.entries(error.given).map(([name, value]) => [name, list(value)]),
  );
  return word(`label.fault.${error.key}`, given);
}

/** Shows the form; `begin(history, sentence)` is called with the first labels. */
export function showStart(element, city, begin) {
  const fault = node("p", { role: "alert", className: "fault" });
  const name = node("input", { type: "text", id: "label-name", value: word("label.nameGiven") });
  const classes = node("textarea", { id: "label-classes", rows: 4 });
  const unit = node("input", { type: "text", id: "label-unit" });
  const unitField = field("label.unit", unit);
  unitField.hidden = true;
  const classField = field("label.classes", classes);
  const kind = node(
    "select",
    {
      id: "label-kind",
      onchange: () => {
        unitField.hidden = kind.value !== "number";
        classField.hidden = kind.value !== "class";
      },
    },
    node("option", { value: "class" }, word("label.kindClass")),
    node("option", { value: "number" }, word("label.kindNumber")),
  );
  const guarded = (work) => {
    fill(fault);
    try {
      work();
    } catch (error) {
      fill(fault, faultOf(error));
    }
  };
  const start = () =>
    guarded(() => {
      const names = classes.value.split("\n").filter((line) => line.trim());
      if (kind.value === "class" && names.length < 2) throw new LabelError("few classes");
      const own = kind.value === "class" ? { classes: names } : { unit: unit.value };
      begin(historyOf(noLabels(name.value, kind.value, own)), "");
    });
  const file = node("input", {
    type: "file",
    id: "label-file",
    accept: ".csv,text/csv",
    onchange: async () => {
      const text = await file.files[0].text();
      guarded(() => {
        const { labels, unknown, empty } = fromCsv(text, city);
        const counts = { count: labels.values.size, unknown: unknown.length, empty };
        begin(historyOf(labels), word("label.read.done", counts));
      });
    },
  });
  fill(
    element,
    node("p", { className: "soft" }, word("label.intro")),
    field("label.name", name),
    field("label.kind", kind),
    classField,
    unitField,
    node(
      "div",
      { className: "buttons" },
      node("button", { type: "button", className: "main", id: "label-begin", onclick: start },
        word("label.begin")),
    ),
    field("label.read", file),
    fault,
  );
}

function field(name, input) {
  return node("label", { className: "field" }, node("span", {}, word(name)), input);
}
