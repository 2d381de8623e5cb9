/**
 * Where the faces are: a square in the middle, or BlazeFace where its network is part of the page.
 *
 * The arithmetic is that of `fer_keras/runtime/faces/blazeface.py` and `detect.py`, which name its sources.
 */

import { Network } from "./classifier.js";
import { resize, roundHalfEven } from "./pixels.js";

const SIDE = 128;
// Stride of a feature map in pixels, and how many anchors lie on each of its cells.
const LAYERS = [
  [8, 2],
  [16, 6],
];
const MIN_SCORE = 0.5;
const SAME_FACE_OVERLAP = 0.3;
// Tiles of a larger picture are this many times as wide as the smallest face.
const TILE_PER_FACE = 4;
// Tiles show a hundred times as much that is no face.
const TILE_SCORE = 0.75;
// Faces cut by the border are found in the corners of the picture with the border's pixels repeated
// about it: the side of a corner and their width, shares of the picture's longer side.
const BORDER_TILE = 0.82;
const REPEATED = 0.1;
// Faces of several tiles that overlap by more are one.
const DOUBLE_OVERLAP = 0.4;
// The boxes end above the brows; raised by this share of their height they hold the forehead.
const RAISE = 0.2;

/** The square in the middle of a picture with a share of its shorter side. */
export function centreBox({ width, height }, share) {
  const side = Math.max(1, Math.round(Math.min(width, height) * share));
  return {
    left: Math.floor((width - side) / 2),
    top: Math.floor((height - side) / 2),
    width: side,
    height: side,
  };
}

/** Intersection over union of two boxes. */
export function overlap(a, b) {
  const side = (start, length) =>
    Math.max(Math.min(a[start] + a[length], b[start] + b[length]) - Math.max(a[start], b[start]), 0);
  const shared = side("left", "width") * side("top", "height");
  return shared / Math.max(a.width * a.height + b.width * b.height - shared, 1e-9);
}

/** MediaPipe's short-range face detector. */
export class BlazeFace {
  static async load() {
    return new BlazeFace(await Network.load("face_detector.tflite"));
  }

  constructor(network) {
    this.network = network;
    this.anchors = anchorCentres();
  }

  /**
   * @param picture RGB picture.
   * @param minFace Side of the smallest face to look for, in pixels; null looks at the whole
   *     picture, and finds those of about a fifth of its longer side.
   * @param cutFaces Look once more for faces that the border cuts, as where nobody is found.
   * @returns Boxes inside the picture, the largest first.
   */
  async detect(picture, minFace = null, cutFaces = false) {
    let found = await this.find(picture);
    const longer = Math.max(picture.width, picture.height);
    if (cutFaces || !found.length) {
      const around = roundHalfEven(longer * REPEATED);
      const wider = cut(picture, {
        left: -around,
        top: -around,
        right: picture.width + around,
        bottom: picture.height + around,
      });
      for (const tile of tiles(wider, roundHalfEven(longer * BORDER_TILE))) {
        const boxes = await this.findInTile(tile, around);
        found.push(...boxes.filter((box) => isCut(box, picture)).map((box) => clip(box, picture)));
      }
      found = withoutDoubles(found);
    }
    if (minFace !== null) {
      // A pyramid of tiles: each level has those of half the side, and they overlap by a half.
      const least = Math.max(1, TILE_PER_FACE * minFace);
      for (let level = longer / 2; level >= least / Math.SQRT2; level /= 2) {
        for (const tile of tiles(picture, roundHalfEven(Math.max(level, least)))) {
          const boxes = await this.findInTile(tile);
          found.push(...boxes.filter(({ score }) => score >= TILE_SCORE));
        }
      }
      found = withoutDoubles(found).filter((box) => Math.max(box.width, box.height) >= minFace);
    }
    return found.sort((a, b) => b.width * b.height - a.width * a.height);
  }

  /** The faces of a tile, at their places in the picture, which begins at `from`, `from`. */
  async findInTile({ left, top, part }, from = 0) {
    const boxes = await this.find(part);
    return boxes.map((box) => ({
      ...box,
      left: box.left + left - from,
      top: box.top + top - from,
    }));
  }

  /** The faces that the network sees in a picture scaled to its input, the largest first. */
  async find(picture) {
    const scale = SIDE / Math.max(picture.width, picture.height);
    const width = Math.max(1, roundHalfEven(picture.width * scale));
    const height = Math.max(1, roundHalfEven(picture.height * scale));
    const left = Math.floor((SIDE - width) / 2);
    const top = Math.floor((SIDE - height) / 2);
    const small = resize(picture, width, height);
    const input = new Float32Array(SIDE * SIDE * 3).fill(-1);
    for (let y = 0; y < height; y++) {
      const row = small.data.subarray(y * width * 3, (y + 1) * width * 3);
      input.set(Float32Array.from(row, (v) => v / 127.5 - 1), ((top + y) * SIDE + left) * 3);
    }
    const outputs = await this.network.run(input);
    const [regressors, logits] = [...outputs].sort((a, b) => b.length - a.length);
    const toPicture = (box) => ({
      score: box.score,
      left: ((box.left - left) / width) * picture.width,
      top: ((box.top - RAISE * box.height - top) / height) * picture.height,
      width: (box.width / width) * picture.width,
      height: ((box.height * (1 + RAISE)) / height) * picture.height,
    });
    return this.decode(regressors, logits)
      .map((box) => clip(toPicture(box), picture))
      .filter((box) => box.width >= 1 && box.height >= 1)
      .sort((a, b) => b.width * b.height - a.width * a.height);
  }

  /** The network's outputs as boxes; those that overlap are one face, their weighted mean. */
  decode(regressors, logits) {
    let found = [];
    logits.forEach((logit, i) => {
      const score = 1 / (1 + Math.exp(-logit));
      if (score < MIN_SCORE) return;
      const [x, y, width, height] = regressors.subarray(i * 16, i * 16 + 4);
      const [anchorX, anchorY] = this.anchors[i];
      const left = x + anchorX - width / 2;
      const top = y + anchorY - height / 2;
      found.push({ left, top, width, height, score });
    });
    found.sort((a, b) => b.score - a.score);
    const faces = [];
    while (found.length) {
      const same = found.filter((box, i) => i === 0 || overlap(found[0], box) > SAME_FACE_OVERLAP);
      found = found.filter((box) => !same.includes(box));
      const total = same.reduce((sum, box) => sum + box.score, 0);
      const mean = (key) => same.reduce((sum, box) => sum + box.score * box[key], 0) / total;
      faces.push({
        score: same[0].score,
        left: mean("left"),
        top: mean("top"),
        width: mean("width"),
        height: mean("height"),
      });
    }
    return faces;
  }
}

/** A part of a picture; beyond its border the border's pixels are repeated. */
function cut({ data, width, height, channels }, { left, top, right, bottom }) {
  const row = (right - left) * channels;
  const part = new Uint8Array(row * (bottom - top));
  const [first, last] = [Math.max(left, 0), Math.min(right, width)];
  for (let y = top; y < bottom; y++) {
    const start = Math.min(Math.max(y, 0), height - 1) * width * channels;
    const pixel = (x) => data.subarray(start + x * channels, start + (x + 1) * channels);
    const to = (y - top) * row;
    for (let x = left; x < first; x++) part.set(pixel(0), to + (x - left) * channels);
    const inside = data.subarray(start + first * channels, start + last * channels);
    part.set(inside, to + (first - left) * channels);
    for (let x = last; x < right; x++) part.set(pixel(width - 1), to + (x - left) * channels);
  }
  return { data: part, width: right - left, height: bottom - top, channels };
}

/** Squares that overlap by a half and cover the picture: `left`, `top` and pixels of each. */
function* tiles(picture, side) {
  for (const top of tileStarts(picture.height, side)) {
    for (const left of tileStarts(picture.width, side)) {
      const right = Math.min(left + side, picture.width);
      const bottom = Math.min(top + side, picture.height);
      yield { left, top, part: cut(picture, { left, top, right, bottom }) };
    }
  }
}

/** Whether a box reaches the border of a picture, with its middle inside. */
function isCut({ left, top, width, height }, picture) {
  const [right, bottom] = [picture.width - left - width, picture.height - top - height];
  const [x, y] = [left + width / 2, top + height / 2];
  const inside = 0 < x && x < picture.width && 0 < y && y < picture.height;
  return inside && Math.min(left, top, right, bottom) < 1;
}

/** Where the tiles begin along one side of the picture; the last one ends with it. */
function tileStarts(length, side) {
  const last = Math.max(0, length - side);
  const step = Math.max(1, Math.floor(side / 2));
  return [...Array.from({ length: Math.ceil(last / step) }, (_, i) => i * step), last];
}

/** The surest box of each face that was found in several tiles. */
function withoutDoubles(boxes) {
  const kept = [];
  for (const box of [...boxes].sort((a, b) => b.score - a.score)) {
    if (kept.every((other) => overlap(other, box) <= DOUBLE_OVERLAP)) kept.push(box);
  }
  return kept;
}

/** The centres of the anchors in the order of the network's outputs. */
function anchorCentres() {
  return LAYERS.flatMap(([stride, perCell]) => {
    const cells = SIDE / stride;
    return Array.from({ length: cells * cells * perCell }, (_, i) => {
      const cell = Math.floor(i / perCell);
      return [((cell % cells) + 0.5) * stride, (Math.floor(cell / cells) + 0.5) * stride];
    });
  });
}

/** The part of a box that lies inside the picture. */
function clip(box, picture) {
  const left = Math.min(Math.max(box.left, 0), picture.width);
  const top = Math.min(Math.max(box.top, 0), picture.height);
  return {
    score: box.score,
    left,
    top,
    width: Math.min(Math.max(box.left + box.width, left), picture.width) - left,
    height: Math.min(Math.max(box.top + box.height, top), picture.height) - top,
  };
}
