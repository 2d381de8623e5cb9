/**
 * Pixels as the Python runtime handles them, so that the model sees the same numbers here and there.
 *
 * A picture is `{data, width, height, channels}`: 8-bit values, row by row, channels side by side.
 * Source of the arithmetic: OpenCV 4, which the Python side calls; `fer_keras/common/decode.py` (`resize`)
 * and `fer_keras/runtime/faces/align.py` (`crop_face`) say which of it.
 */

/** Round half to even, as OpenCV and Python do. */
export function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** The canvas' RGBA pixels as an RGB picture. */
export function fromImageData({ data, width, height }) {
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    rgb[to++] = data[from];
    rgb[to++] = data[from + 1];
    rgb[to++] = data[from + 2];
  }
  return { data: rgb, width, height, channels: 3 };
}

/** RGB to grey with the weights of ITU-R BT.601, in OpenCV's fixed-point arithmetic. */
export function toGrey({ data, width, height }) {
  const grey = new Uint8Array(width * height);
  for (let i = 0, j = 0; i < grey.length; i++, j += 3) {
    grey[i] = (data[j] * 9798 + data[j + 1] * 19235 + data[j + 2] * 3735 + 16384) >> 15;
  }
  return { data: grey, width, height, channels: 1 };
}

/**
 * The square about a box; beyond the picture's border its edge is repeated.
 *
 * @param picture Any number of channels.
 * @param box `{left, top, width, height}` in pixels; overlaps the picture.
 */
export function cropSquare(picture, box) {
  const side = Math.max(box.width, box.height);
  const left = box.left + (box.width - side) / 2;
  const top = box.top + (box.height - side) / 2;
  const x1 = Math.min(Math.floor(left + 0.5), picture.width - 1);
  const y1 = Math.min(Math.floor(top + 0.5), picture.height - 1);
  const x2 = Math.max(x1 + 1, Math.floor(left + side + 0.5), 1);
  const y2 = Math.max(y1 + 1, Math.floor(top + side + 0.5), 1);
  const { channels } = picture;
  const crop = new Uint8Array((x2 - x1) * (y2 - y1) * channels);
  let to = 0;
  for (let y = y1; y < y2; y++) {
    const row = Math.min(Math.max(y, 0), picture.height - 1) * picture.width;
    for (let x = x1; x < x2; x++) {
      const from = (row + Math.min(Math.max(x, 0), picture.width - 1)) * channels;
      for (let c = 0; c < channels; c++) crop[to++] = picture.data[from + c];
    }
  }
  return { data: crop, width: x2 - x1, height: y2 - y1, channels };
}

/**
 * Scale a picture: area averaging when it shrinks, bicubic when it grows.
 *
 * Both sides have to shrink, or both to grow.
 */
export function resize(picture, width, height) {
  if (picture.width === width && picture.height === height) return picture;
  const shrinks = width * height < picture.width * picture.height;
  const taps = shrinks ? areaTaps : cubicTaps;
  const columns = taps(picture.width, width);
  const rows = taps(picture.height, height);
  const sums = weighted(picture, columns, rows);
  const data = new Uint8Array(sums.length);
  const round = shrinks ? areaRounding(picture.width / width, picture.height / height) : roundHalfEven;
  for (let i = 0; i < data.length; i++) data[i] = Math.min(Math.max(round(sums[i]), 0), 255);
  return { data, width, height, channels: picture.channels };
}

/** How OpenCV rounds a mean: where whole pixels are averaged, ties go where its arithmetic goes. */
function areaRounding(columns, rows) {
  if (!Number.isInteger(columns) || !Number.isInteger(rows)) return roundHalfEven;
  // (a + b + c + d + 2) >> 2
  if (columns === 2 && rows === 2) return (mean) => Math.floor(mean + 0.5);
  const count = columns * rows;
  const share = Math.fround(1 / count);
  return (mean) => roundHalfEven(Math.fround(Math.round(mean * count) * share));
}

/** Along the rows first, then down the columns: each new pixel is a weighted sum of old ones. */
function weighted({ data, width, height, channels }, columns, rows) {
  const rowLength = columns.length * channels;
  const squeezed = new Array(height);
  const squeeze = (y) => {
    const line = new Float64Array(rowLength);
    const start = y * width * channels;
    for (let x = 0, to = 0; x < columns.length; x++) {
      const { places, weights } = columns[x];
      for (let c = 0; c < channels; c++, to++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) {
          sum += weights[k] * data[start + places[k] * channels + c];
        }
        line[to] = sum;
      }
    }
    return line;
  };
  const sums = new Float64Array(rows.length * rowLength);
  rows.forEach(({ places, weights }, y) => {
    const out = sums.subarray(y * rowLength, (y + 1) * rowLength);
    weights.forEach((weight, k) => {
      const line = (squeezed[places[k]] ??= squeeze(places[k]));
      for (let i = 0; i < rowLength; i++) out[i] += weight * line[i];
    });
  });
  return sums;
}

/** For each new pixel: the old ones it covers, and the share of each (OpenCV: INTER_AREA). */
function areaTaps(from, to) {
  const scale = from / to;
  return Array.from({ length: to }, (_, i) => {
    const start = i * scale;
    const end = Math.min(start + scale, from);
    const places = [];
    const weights = [];
    for (let x = Math.floor(start); x < Math.ceil(end); x++) {
      const share = Math.min(x + 1, end) - Math.max(x, start);
      // OpenCV leaves out what is as thin as a rounding error.
      if (share > 1e-3) {
        places.push(x);
        weights.push(share / (end - start));
      }
    }
    return { places, weights };
  });
}

/**
 * The four old pixels about each new one, weighted by Keys' cubic with a = -0.75 (OpenCV:
 * INTER_CUBIC). Without Intel's library OpenCV rounds the weights to 1/2048, which moves a few
 * pixels by one grey level.
 */
function cubicTaps(from, to) {
  const a = -0.75;
  const scale = from / to;
  return Array.from({ length: to }, (_, i) => {
    const place = (i + 0.5) * scale - 0.5;
    const floor = Math.floor(place);
    const x = place - floor;
    const near = (t) => ((a + 2) * t - (a + 3)) * t * t + 1;
    const far = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a;
    const weights = [far, near(x), near(1 - x)];
    weights.push(1 - weights[0] - weights[1] - weights[2]);
    const places = [-1, 0, 1, 2].map((k) => Math.min(Math.max(floor + k, 0), from - 1));
    return { places, weights };
  });
}
