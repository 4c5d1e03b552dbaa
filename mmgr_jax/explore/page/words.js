// What the page says: sentences by name, and numbers as people read them.

let table = {};
const many = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** Takes the table of sentences, strings.json. */
export function useWords(strings) {
  table = strings;
}

/** A sentence by its name; `{key}` in it stands for a value. */
export function word(name, values = {}) {
  if (!(name in table)) throw new Error(`strings.json has no ${name}`);
  return table[name].replace(/\{(\w+)\}/g, (_, key) => String(values[key]));
}

/** A number to three digits; thousands apart. */
export function shown(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return word("unknown");
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const text = Math.abs(value) >= 1000 ? whole.format(value) : many.format(value);
  return text.replace("-", "−");
}

/** A number with its unit. */
export function withUnit(value, unit) {
  return unit && unit !== "1" ? `${shown(value)} ${unit}` : shown(value);
}

/** A name of a class, category or label without its underscores. */
export function named(name) {
  return String(name).replaceAll("_", " ");
}
