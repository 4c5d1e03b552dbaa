// Labels given on the page: changed, undone, written and read as the table that
// `config.labels` reads. Nothing here changes an object that it is given.

/**
 * @typedef {Object} Labels
 * @property {string} task Name of the label: a column of the table.
 * @property {"class"|"number"} kind
 * @property {string[]} classes Names; [] for numbers.
 * @property {string} unit "" for classes.
 * @property {Map<number, number>} values Region index -> index of a class, or a number.
 */

/** Steps that can be undone. */
export const MOST_STEPS = 500;

const ID = "region_id", LONGITUDE = "lon_deg", LATITUDE = "lat_deg";

/** Words, in small letters, that stand for no number in the table. */
const MISSING = new Set(["na", "n/a", "#n/a", "nan", "-nan", "null", "none", "<na>", "#na", "nil"]);

// As mmgr_jax/data/names.py has them: what nobody sees, joiners, every kind of space.
const UNSEEN = new RegExp("[\\u0000-\\u0008\\u000e-\\u001f\\u007f\\u00ad\\u200b\\u200e" +
  "\\u200f\\u202a-\\u202e\\u2060-\\u2069\\ufeff]", "g");
const SPACES = new RegExp("[\\t\\n\\v\\f\\r\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028" +
  "\\u2029\\u202f\\u205f\\u3000]", "g");
const JOINERS = new RegExp("^[\\u200c\\u200d]+|[\\u200c\\u200d]+$", "g");
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/**
 * What is wrong with labels or a table: `key` names a sentence, `given` fills it in.
 */
export class LabelError extends Error {
  constructor(key, given = {}) {
    super(`${key}: ${JSON.stringify(given)}`);
    this.name = "LabelError";
    this.key = key;
    this.given = given;
  }
}

/**
 * A name in the form in which Python compares names of regions and classes.
 * @param {string} name
 * @returns {string}
 */
export function oneForm(name) {
  const composed = name.replace(UNSEEN, "").normalize("NFC").replace(SPACES, " ");
  return spaceless(spaceless(composed).replace(JOINERS, ""));
}

function spaceless(text) {
  return text.replace(/^ +| +$/g, "");
}

/**
 * No labels yet.
 * @param {string} task
 * @param {"class"|"number"} kind
 * @param {Object} [about]
 * @param {string[]} [about.classes]
 * @param {string} [about.unit]
 * @returns {Labels}
 * @throws {LabelError} Where two classes, or the task and another column, have one name,
 *     or a name is empty.
 */
export function noLabels(task, kind, { classes = [], unit = "" } = {}) {
  const column = oneForm(task);
  if (!column || [ID, LONGITUDE, LATITUDE].includes(column)) {
    throw new LabelError("task name", { task });
  }
  const own = classes.map(oneForm);
  own.forEach((name, i) => {
    if (!name) throw new LabelError("class without a name", { number: i + 1 });
    if (own.indexOf(name) < i) throw new LabelError("class twice", { name });
  });
  return { task: column, kind, classes: own, unit, values: new Map() };
}

/**
 * Labels with one region's label changed.
 * @param {Labels} labels
 * @param {number} region
 * @param {?number} value null takes the label away.
 * @returns {Labels}
 * @throws {LabelError} Where the value is no class, or no finite number.
 */
export function withLabel(labels, region, value) {
  return withLabels(labels, [region], value);
}

/**
 * Labels with several regions' label changed, in one step.
 * @param {Labels} labels
 * @param {Iterable<number>} regions
 * @param {?number} value
 * @returns {Labels}
 */
export function withLabels(labels, regions, value) {
  const isClass = Number.isInteger(value) && value >= 0 && value < labels.classes.length;
  const allowed = labels.kind === "class" ? isClass : Number.isFinite(value);
  if (value !== null && !allowed) throw new LabelError("label", { value });
  const values = new Map(labels.values);
  for (const region of regions) {
    values.delete(region); // a label changed is the newest
    if (value !== null) values.set(region, value);
  }
  return { ...labels, values };
}

/**
 * Labels as arrays, as heads take them, in order of the regions.
 * @param {Labels} labels
 * @returns {{rows: Int32Array, values: Float64Array}}
 */
export function asArrays(labels) {
  const pairs = [...labels.values].sort((a, b) => a[0] - b[0]);
  return {
    rows: Int32Array.from(pairs, ([region]) => region),
    values: Float64Array.from(pairs, ([, value]) => value),
  };
}

/**
 * A history that begins with some labels.
 * @param {Labels} labels
 * @returns {{past: Labels[], now: Labels, future: Labels[]}}
 */
export function historyOf(labels) {
  return { past: [], now: labels, future: [] };
}

/** The history after a change: what was undone is forgotten. */
export function changed(history, labels) {
  if (labels === history.now) return history;
  return { past: [...history.past, history.now].slice(-MOST_STEPS), now: labels, future: [] };
}

/** One step back; the same history where there is none. */
export function undone(history) {
  const { past, now, future } = history;
  if (!past.length) return history;
  return { past: past.slice(0, -1), now: past[past.length - 1], future: [now, ...future] };
}

/** One step forward again; the same history where there is none. */
export function redone(history) {
  const { past, now, future } = history;
  if (!future.length) return history;
  return { past: [...past, now], now: future[0], future: future.slice(1) };
}

/**
 * Labels as a CSV table: region_id, the task, and where the region lies, to look at.
 *
 * Every name stands as it is, so that Python reads the same; a spreadsheet may take one
 * that begins with = + - or @ for a formula, and asks before it runs anything.
 * @param {Labels} labels
 * @param {{ids: string[], centres: Float64Array}} city centres: longitude, latitude.
 * @returns {string}
 */
export function toCsv(labels, city) {
  const rows = [[ID, labels.task, LONGITUDE, LATITUDE]];
  const { rows: regions, values } = asArrays(labels);
  regions.forEach((region, i) => {
    const label = labels.kind === "class" ? labels.classes[values[i]] : String(values[i]);
    const place = [0, 1].map((axis) => city.centres[2 * region + axis].toFixed(6));
    rows.push([city.ids[region], label, ...place]);
  });
  return rows.map((row) => row.map(csvCell).join(",") + "\r\n").join("");
}

function csvCell(text) {
  return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * Labels of a table: a column region_id, and the task's.
 * @param {string} text CSV, with commas, semicolons or tabs.
 * @param {{ids: string[]}} city
 * @param {Object} [wanted]
 * @param {string} [wanted.task] The column; otherwise the only one beside ids and places.
 * @param {"class"|"number"} [wanted.kind] Otherwise numbers where every cell is one.
 * @param {string} [wanted.unit]
 * @returns {{labels: Labels, unknown: string[], empty: number}} Ids of no region of the
 *     city, and rows without a label: both are left out.
 * @throws {LabelError} Where the table cannot be taken apart, a column is missing, a
 *     region has two rows, a cell is no number, or no id is one of the city's.
 */
export function fromCsv(text, city, wanted = {}) {
  const [header, ...rows] = parseCsv(text);
  const names = header.cells.map(oneForm);
  const idAt = names.indexOf(ID);
  if (idAt < 0) throw new LabelError("no id column", { columns: names });
  const valueAt = columnOf(names, wanted.task);
  const cells = rows.map(({ line, cells: row }) => {
    if (row.length !== names.length) {
      throw new LabelError("ragged row", { line, cells: row.length, columns: names.length });
    }
    return { line, id: oneForm(row[idAt]), value: oneForm(row[valueAt]) };
  });
  const filled = cells.filter(({ id, value }) => id && value);
  const kind = wanted.kind ?? (filled.every(({ value }) => isNumber(value)) ? "number" : "class");
  const classes = kind === "class" ? [...new Set(filled.map(({ value }) => value))] : [];
  const labels = noLabels(names[valueAt], kind, { classes, unit: wanted.unit ?? "" });
  return placed(labels, city, cells);
}

function columnOf(names, task) {
  if (task !== undefined) {
    const at = names.indexOf(oneForm(task));
    if (at < 0) throw new LabelError("no column", { task, columns: names });
    return at;
  }
  const others = names.filter((name) => name && ![ID, LONGITUDE, LATITUDE].includes(name));
  if (others.length !== 1) throw new LabelError("which column", { columns: others });
  return names.indexOf(others[0]);
}

function isNumber(text) {
  return NUMBER.test(text) || MISSING.has(text.toLowerCase());
}

function placed(labels, city, cells) {
  const regionOf = new Map(city.ids.map((id, region) => [oneForm(id), region]));
  const numberOf = new Map(labels.classes.map((name, i) => [name, i]));
  const values = new Map(), seen = new Map(), unknown = [];
  let empty = 0;
  for (const { line, id, value } of cells) {
    if (!id) {
      empty++;
      continue;
    }
    if (seen.has(id)) throw new LabelError("region twice", { id, line, before: seen.get(id) });
    seen.set(id, line);
    const missing = labels.kind === "number" && MISSING.has(value.toLowerCase());
    if (!regionOf.has(id)) unknown.push(id);
    else if (!value || missing) empty++;
    else if (labels.kind === "class") values.set(regionOf.get(id), numberOf.get(value));
    else if (NUMBER.test(value) && Number.isFinite(Number(value))) {
      values.set(regionOf.get(id), Number(value));
    } else throw new LabelError("no number", { line, id, value });
  }
  if (unknown.length && !values.size) throw new LabelError("other regions", { id: unknown[0] });
  return { labels: { ...labels, values }, unknown, empty };
}

/**
 * A CSV text as rows of cells, with the line that each begins in; blank lines are none.
 * @param {string} text
 * @returns {{line: number, cells: string[]}[]} The header and the rows.
 * @throws {LabelError} Where it is empty, or a quote is not closed.
 */
export function parseCsv(text) {
  const body = text.replace(/^\ufeff/, "");
  const head = body.split(/\r\n|\r|\n/, 1)[0];
  const separator = [",", ";", "\t"].find((sign) => head.includes(sign)) ?? ",";
  const rows = [];
  let cells = [], cell = "", quoted = false, line = 1, begins = 1;
  const endRow = () => {
    cells.push(cell);
    if (cells.length > 1 || cells[0].trim()) rows.push({ line: begins, cells });
    [cells, cell] = [[], ""];
  };
  for (let i = 0; i < body.length; i++) {
    const sign = body[i], isBreak = sign === "\n" || (sign === "\r" && body[i + 1] !== "\n");
    if (isBreak) line++;
    if (quoted) {
      if (sign !== '"') cell += sign;
      else if (body[i + 1] === '"') cell += body[i++];
      else if ([separator, "\r", "\n", undefined].includes(body[i + 1])) quoted = false;
      else throw new LabelError("quote", { line: begins });
    } else if (sign === '"' && cell === "") quoted = true;
    else if (sign === separator) [cell] = ["", cells.push(cell)];
    else if (isBreak) {
      endRow();
      begins = line;
    } else if (sign !== "\r") cell += sign;
  }
  if (quoted) throw new LabelError("quote", { line: begins });
  if (cell || cells.length) endRow();
  if (!rows.length) throw new LabelError("empty table");
  return rows;
}
