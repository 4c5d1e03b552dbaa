// The imagery of the city: one picture, from which the tile of a region is cut.

import { fromBase64 } from "./arrays.js";
import { node } from "./dom.js";
import { mercator } from "./vertices_layer.js";
import { word } from "./words.js";

/** A canvas with the picture of a WebP in base64. */
export async function loadPicture(text, size) {
  return drawnPicture(new Blob([fromBase64(text)], { type: "image/webp" }), size);
}

/** A canvas with a picture. */
export async function drawnPicture(blob, { width, height }) {
  const image = await createImageBitmap(blob);
  const canvas = node("canvas", { width, height });
  canvas.getContext("2d").drawImage(image, 0, 0);
  image.close();
  return canvas;
}

/** A canvas with the tile of a region; `size` in pixels of the screen. */
export function tileOf(city, picture, region, size) {
  const [west, south, east, north] = city.basemap.bounds;
  const [left, top] = mercator(west, north);
  const [right, bottom] = mercator(east, south);
  const box = city.boxes.box.subarray(4 * region, 4 * region + 4);
  const [x0, y0] = mercator(box[0], box[3]);
  const [x1, y1] = mercator(box[2], box[1]);
  const across = ((x) => (x * picture.width) / (right - left));
  const side = Math.max(across(x1 - x0), across(y1 - y0), 1);
  const x = across((x0 + x1) / 2 - left) - side / 2;
  const y = ((((y0 + y1) / 2 - top) / (bottom - top)) * picture.height) - side / 2;
  const ratio = Math.min(globalThis.devicePixelRatio || 1, 2);
  const canvas = node("canvas", {
    className: "tile",
    width: Math.round(size * ratio),
    height: Math.round(size * ratio),
    role: "img",
    "aria-label": word("card.picture", { id: city.ids[region] }),
  });
  const drawn = canvas.getContext("2d");
  drawn.imageSmoothingQuality = "high";
  drawn.drawImage(picture, x, y, side, side, 0, 0, canvas.width, canvas.height);
  if (city.remote) sharpen(city, region, canvas);
  return canvas;
}

/** Draws the tile itself over what was cut from the picture of a large city. */
async function sharpen(city, region, canvas) {
  try {
    const image = await createImageBitmap(await city.remote.blob(`picture/${region}.webp`));
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    image.close();
  } catch (error) {
    console.warn(error); // the coarse one stays
  }
}
