/**
 * The exported model, run in the page by LiteRT.js.
 */

import { Tensor, loadAndCompile, loadLiteRt } from "./vendor/litert.js";
import { cropSquare, resize, toGrey } from "./pixels.js";

const MODEL_FOLDER = "model/";
const FORMAT = 2;
// An int8 softmax counts in steps of 1/256, so eight classes can miss the sum of 1 by 8 x 1/512.
const SUM_TOLERANCE = 0.05;

/** A TFLite file with one input, on the processor. */
export class Network {
  static async load(name) {
    const response = await fetch(MODEL_FOLDER + name);
    if (!response.ok) throw new Error(`${name}: the server answered ${response.status}`);
    const content = new Uint8Array(await response.arrayBuffer());
    return new Network(await loadAndCompile(content, { accelerator: "wasm" }));
  }

  constructor(compiled) {
    this.compiled = compiled;
    this.input = compiled.getInputDetails()[0];
  }

  /**
   * @param values Typed array of the input's type, one picture.
   * @returns The outputs as typed arrays.
   */
  async run(values) {
    const shape = Array.from(this.input.shape, (side) => Math.max(side, 1));
    const input = new Tensor(values, shape);
    let outputs = [];
    try {
      outputs = await this.compiled.run(input);
      return await Promise.all(outputs.map((output) => output.data()));
    } finally {
      input.delete();
      outputs.forEach((output) => output.delete());
    }
  }
}

/** The expression classifier with what its folder says of it. */
export class Classifier {
  static async load() {
    const response = await fetch(`${MODEL_FOLDER}model.json`);
    if (!response.ok) throw new Error(`model.json: the server answered ${response.status}`);
    const facts = await response.json();
    if (facts.format !== FORMAT) {
      throw new Error(`model.json: expected format ${FORMAT}, received ${facts.format}`);
    }
    await loadLiteRt(new URL("vendor/wasm/", document.baseURI).href);
    const classifier = new Classifier(facts, await Network.load("model.tflite"));
    // The first run is slow, and shows whether the model runs at all.
    const grey = { data: new Uint8Array(3).fill(128), width: 1, height: 1, channels: 3 };
    await classifier.read(grey, { left: 0, top: 0, width: 1, height: 1 });
    return classifier;
  }

  constructor(facts, network) {
    this.facts = facts;
    this.network = network;
    this.setPrior(facts.default_tau);
  }

  /**
   * For which shares of the expressions the answers are.
   *
   * @param tau 0: as in the training; 1: all equally frequent. A step of `facts.priors`; ignored
   *     where the model does not say how frequent each expression was in its training.
   */
  setPrior(tau) {
    const known = this.facts.priors.find((prior) => Math.abs(prior.tau - tau) < 1e-6);
    this.weights = known?.weights ?? null;
    this.decision = known?.decision ?? this.facts.decision;
  }

  /**
   * @param picture RGB picture.
   * @param box Of a face in it, `{left, top, width, height}`.
   * @returns Probabilities in the order of `facts.class_names`; then valence and arousal, of a
   *     model that has them.
   */
  async read(picture, box) {
    const { side, channels } = this.facts;
    const crop = cropSquare(picture, box);
    const face = resize(channels === 1 ? toGrey(crop) : crop, side, side);
    const outputs = await this.network.run(this.quantised(face.data));
    const [probabilities, ...affect] = this.inOrder(outputs);
    const sum = probabilities.reduce((total, p) => total + p, 0);
    // Written so that NaN fails.
    if (!(Math.abs(sum - 1) <= SUM_TOLERANCE)) {
      throw new Error(`the model's probabilities sum to ${sum}: LiteRT.js cannot run it here`);
    }
    const shares = this.weights ? reweighted(probabilities, this.weights) : probabilities;
    return [...shares, ...affect.flatMap((values) => Array.from(values))];
  }

  /** Probabilities first: by their number, where that tells them from valence and arousal. */
  inOrder(outputs) {
    const { class_names: names, outputs: kinds } = this.facts;
    if (outputs.length !== kinds.length) {
      throw new Error(`the model has ${outputs.length} outputs, expected ${kinds.length}`);
    }
    return [...outputs].sort((a, b) => (b.length === names.length) - (a.length === names.length));
  }

  /** Grey levels as the type, and on the scale, that the model's input has. */
  quantised(levels) {
    const { dtype, scale, zero_point: zeroPoint } = this.facts.input;
    if (dtype === "float32") return Float32Array.from(levels);
    if (scale === 1 && zeroPoint === 0) return levels;
    return Uint8ClampedArray.from(levels, (level) => level / scale + zeroPoint);
  }

  /** The answer as the Python runtime words it: dominant label, unsure, label set, affect. */
  decide(reading) {
    const { decision } = this;
    const { class_names: names } = this.facts;
    const probabilities = reading.slice(0, names.length);
    const [valence, arousal] = reading.slice(names.length);
    const order = probabilities.map((_, i) => i).sort((i, j) => probabilities[j] - probabilities[i]);
    const own = decision.conformal_by_class;
    const needed = (i) => (own ? own[i] : decision.conformal_threshold);
    const [first, ...rest] = order;
    const members = [first, ...rest.filter((i) => probabilities[i] >= needed(i))];
    return {
      dominant: names[order[0]],
      unsure: probabilities[order[0]] < decision.reject_threshold,
      labelSet: members.map((i) => names[i]),
      probabilities,
      affect: valence === undefined ? null : { valence, arousal },
    };
  }
}

/** Probabilities times weights, normalised: `reweighted` of `fer_keras/common/prior.py`. */
function reweighted(probabilities, weights) {
  const products = Array.from(probabilities, (p, i) => Math.max(p, 0) * weights[i]);
  const total = products.reduce((sum, p) => sum + p, 0);
  if (total > 0) return products.map((p) => p / total);
  // An 8-bit softmax can be 0 in all labels that are kept: it says nothing.
  const kept = weights.filter((weight) => weight > 0).length;
  return weights.map((weight) => (weight > 0 ? 1 / kept : 0));
}
