// Numbers out of text: base64, gzip, and whole numbers with a scale a row.

export const TYPES = {
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  float32: Float32Array,
};

/** The bytes of a text in base64. */
export function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** The array that `document.packed` wrote; `type` is a key of TYPES. */
export async function unpacked(text, type) {
  const stream = new Blob([fromBase64(text)])
    .stream()
    .pipeThrough(new DecompressionStream("gzip"));
  return new TYPES[type](await new Response(stream).arrayBuffer());
}

/** Rows [n d] from whole numbers and what each row is multiplied by [n]. */
export function scaledRows(whole, scale, n, d) {
  const rows = new Float32Array(n * d);
  for (let i = 0, at = 0; i < n; i++) {
    const factor = scale[i];
    for (let j = 0; j < d; j++, at++) rows[at] = whole[at] * factor;
  }
  return rows;
}

/** Rows of length 1, in place; rows of zeros stay. */
export function unitRows(rows, n, d) {
  for (let i = 0; i < n; i++) {
    const row = rows.subarray(i * d, (i + 1) * d);
    let square = 0;
    for (let j = 0; j < d; j++) square += row[j] * row[j];
    const factor = square > 0 ? 1 / Math.sqrt(square) : 0;
    for (let j = 0; j < d; j++) row[j] *= factor;
  }
  return rows;
}
