// Elements and words: whatever a city says becomes text, never markup.

// As mmgr_jax/terminal.py: characters that act instead of being seen.
const ACTING =
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]/gu;

/** A text whose unseen characters are shown by their numbers. */
export function visible(text) {
  return String(text).replace(ACTING, (character) => {
    const code = character.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
  });
}

/**
 * An element. `given` holds properties (`onclick`, `className`, `value`), and
 * attributes where a name has a dash or is one of ATTRIBUTES; children are elements or
 * texts.
 */
export function node(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    if (name.includes("-") || ATTRIBUTES.has(name)) made.setAttribute(name, value);
    else made[name] = value;
  }
  fill(made, ...children);
  return made;
}

const ATTRIBUTES = new Set(["role", "for", "scope"]);

/** Replaces what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(
    ...children
      .flat()
      .filter((child) => child !== null && child !== undefined && child !== "")
      .map((child) => (child instanceof Node ? child : visible(child))),
  );
  return element;
}

/** The element of an id; it must be there. */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no element #${id}`);
  return element;
}

/** Gives a file to whoever uses the page. */
export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = node("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
