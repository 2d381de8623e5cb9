/**
 * The page: a camera or a picture in, the expression of its faces out. Nothing is sent anywhere.
 */

import { Classifier } from "./classifier.js";
import { BlazeFace, centreBox, overlap } from "./faces.js";
import { fromImageData } from "./pixels.js";
import { Smoother } from "./smoothing.js";
import { View } from "./view.js";

const MAX_PIXELS = 16_000_000;
const MAX_FACES = 20;
const SAMPLE = "sample.png";
const CAMERA = { width: { ideal: 640 }, height: { ideal: 480 } };
// A face that is away for longer, or elsewhere in the next frame, is another one.
const FORGET_S = 0.5;
const SAME_FACE_OVERLAP = 0.3;

const element = (id) => document.getElementById(id);
const seconds = () => performance.now() / 1000;

class Page {
  constructor(classifier, detector) {
    this.classifier = classifier;
    this.detector = detector;
    this.minFace = classifier.facts.min_face;
    this.view = new View();
    this.smoother = new Smoother(Number(element("half-life").value));
    this.video = document.createElement("video");
    this.video.muted = true;
    this.video.playsInline = true;
    this.paused = false;
    // Counts the sources: an answer to an older one is thrown away.
    this.source = 0;
    this.bitmap = null;
    this.view.setLabels(classifier.facts.class_names);
  }

  get finding() {
    return element("detect").checked && this.detector !== null;
  }

  get mirrored() {
    return element("mirror").checked && this.video.srcObject !== null;
  }

  /** Faces of a picture; `fallback` for single ones, which are read whole where there are none. */
  async findFaces(picture, fallback) {
    if (!this.finding) return [centreBox(picture, Number(element("box").value) / 100)];
    const found = (await this.detector.detect(picture, this.minFace, fallback)).slice(0, MAX_FACES);
    return found.length || !fallback ? found : [centreBox(picture, 1)];
  }

  // ---- camera

  async startCamera() {
    await this.stop();
    const source = this.source;
    try {
      if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
      const stream = await navigator.mediaDevices.getUserMedia({ video: CAMERA, audio: false });
      if (source !== this.source) {
        stream.getTracks().forEach((track) => track.stop());
        return;
      }
      this.video.srcObject = stream;
      stream.getVideoTracks()[0].addEventListener("ended", () => this.cameraEnded(source));
      await this.video.play();
    } catch (error) {
      if (source !== this.source) return;
      await this.stop();
      this.view.showMessage(cameraMessage(error));
      return;
    }
    this.showState();
    // Space pauses from here.
    element("pause").focus();
    this.nextFrame(source);
  }

  async cameraEnded(source) {
    if (source !== this.source) return;
    await this.stop();
    this.view.showMessage("The camera is gone. Plug it in again and start it.");
  }

  nextFrame(source) {
    const show = () => {
      if (source !== this.source) return;
      // The next frame is asked for when this one is done: the newest one wins.
      this.showFrame(source).then(
        () => this.nextFrame(source),
        (error) => this.fail(error),
      );
    };
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(show);
    else requestAnimationFrame(show);
  }

  async showFrame(source) {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (this.paused || !width) return;
    const start_ms = performance.now();
    const { mirrored } = this;
    const pixels = this.view.draw(this.video, width, height, {
      mirrored,
      description: "Camera picture",
    });
    const picture = fromImageData(pixels);
    const [box] = await this.findFaces(picture, false);
    const raw = box && (await this.classifier.read(picture, box));
    if (source !== this.source) return;
    const now_s = seconds();
    if (box) {
      this.showFace(box, raw, mirrored, now_s);
    } else {
      this.view.drawBoxes([], { mirrored });
      if (this.last && now_s - this.last.time_s > FORGET_S) this.last = null;
      if (!this.last) this.view.showNothing("no face");
    }
    this.view.countFrame(now_s, performance.now() - start_ms);
  }

  showFace(box, raw, mirrored, now_s) {
    if (!this.last || overlap(this.last.box, box) < SAME_FACE_OVERLAP) this.smoother.reset();
    this.last = { box, time_s: now_s };
    const decision = this.classifier.decide(this.smoother.update(raw, now_s));
    // In the fixed square the headline says it already.
    const label = this.finding ? boxLabel(decision) : "";
    this.view.drawBoxes([{ ...box, label }], { mirrored, selected: 0 });
    this.view.showResult(decision, now_s);
  }

  // ---- picture

  async openPicture(file) {
    await this.stop();
    const source = this.source;
    let bitmap;
    try {
      // As the Python runtime reads it: upright, and its numbers as they are stored.
      bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
    } catch {
      if (source === this.source) {
        this.view.showMessage(`${file.name}: this is no picture that the browser can read.`);
      }
      return;
    }
    if (source !== this.source) return;
    if (bitmap.width * bitmap.height > MAX_PIXELS) {
      this.view.showMessage(
        `${file.name}: ${bitmap.width} x ${bitmap.height} pixels are more than 16 megapixels.`,
      );
      return;
    }
    this.bitmap = bitmap;
    this.bitmapName = file.name;
    await this.readPicture();
  }

  /** The picture that comes with the page. */
  async openSample() {
    const response = await fetch(SAMPLE);
    if (!response.ok) throw new Error(`${SAMPLE}: the server answered ${response.status}`);
    await this.openPicture(new File([await response.blob()], SAMPLE));
  }

  async readPicture() {
    const { bitmap, source } = this;
    if (!bitmap) return;
    const pixels = this.view.draw(bitmap, bitmap.width, bitmap.height, {
      mirrored: false,
      description: `Picture ${this.bitmapName}`,
    });
    const start_ms = performance.now();
    const picture = fromImageData(pixels);
    const boxes = await this.findFaces(picture, true);
    const faces = [];
    for (const [i, box] of boxes.entries()) {
      const decision = this.classifier.decide(await this.classifier.read(picture, box));
      // The number of its button.
      const number = boxes.length > 1 ? `${i + 1} ` : "";
      faces.push({ ...box, decision, label: number + boxLabel(decision) });
    }
    if (source !== this.source) return;
    this.view.showWork(performance.now() - start_ms, faces.length);
    this.faces = faces;
    this.selectFace(0);
  }

  selectFace(selected) {
    const { decision } = this.faces[selected];
    this.view.drawBoxes(this.faces, { mirrored: false, selected });
    // A picture does not flicker: it is spoken at once.
    this.view.showResult(decision, Infinity);
    this.view.showFaces(this.faces.length, selected, (i) => this.selectFace(i));
  }

  // ---- both

  async stop() {
    this.source += 1;
    this.video.srcObject?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
    this.bitmap?.close();
    this.bitmap = null;
    this.paused = false;
    this.last = null;
    this.smoother.reset();
    this.view.clear();
    this.view.showMessage("");
    this.showState();
  }

  togglePause() {
    if (!this.video.srcObject) return;
    this.paused = !this.paused;
    this.smoother.reset();
    this.showState();
  }

  showState() {
    const running = this.video.srcObject !== null;
    element("camera").textContent = running ? "Stop camera" : "Start camera";
    element("pause").disabled = !running;
    element("pause").textContent = this.paused ? "Go on" : "Pause";
    element("box").disabled = this.finding;
    element("box-value").textContent = this.finding ? "off" : `${element("box").value} %`;
    const halfLife_s = Number(element("half-life").value);
    element("half-life-value").textContent = halfLife_s ? `${halfLife_s.toFixed(1)} s` : "off";
    const tau = Number(element("prior").value);
    element("prior-value").textContent = tau ? tau.toFixed(2) : "off";
  }

  fail(error) {
    document.body.dataset.state = "failed";
    this.view.showMessage(`The model cannot be run: ${error.message}`);
  }

  listen() {
    const guarded = (action) => (event) =>
      Promise.resolve(action(event)).catch((error) => this.fail(error));
    const on = (id, kind, action) => element(id).addEventListener(kind, guarded(action));
    on("camera", "click", () => (this.video.srcObject ? this.stop() : this.startCamera()));
    on("pause", "click", () => this.togglePause());
    on("choose", "click", () => element("file").click());
    on("file", "change", async ({ target }) => {
      const [file] = target.files;
      // So that the same file can be chosen again.
      target.value = "";
      if (file) await this.openPicture(file);
    });
    for (const id of ["detect", "box"]) {
      on(id, "input", async () => {
        this.showState();
        await this.readPicture();
      });
    }
    on("sample", "click", () => this.openSample());
    on("prior", "input", async ({ target }) => {
      this.classifier.setPrior(Number(target.value));
      this.smoother.reset();
      this.showState();
      await this.readPicture();
    });
    on("half-life", "input", ({ target }) => {
      this.smoother.halfLife_s = Number(target.value);
      this.showState();
    });
    addEventListener("keydown", (event) => {
      // On a control, Space is the control's.
      if (event.key !== " " || event.target.closest("button, input, summary")) return;
      if (!this.video.srcObject) return;
      event.preventDefault();
      this.togglePause();
    });
    // Anywhere on the page: a file dropped beside the frame would replace the page.
    addEventListener("dragover", (event) => {
      event.preventDefault();
      element("frame").classList.add("target");
    });
    addEventListener("dragleave", () => element("frame").classList.remove("target"));
    addEventListener(
      "drop",
      guarded(async (event) => {
        event.preventDefault();
        element("frame").classList.remove("target");
        const [file] = event.dataTransfer.files;
        if (file) await this.openPicture(file);
      }),
    );
  }
}

/** What stands at a box: a question mark where the model would rather not say. */
function boxLabel({ dominant, unsure }) {
  return unsure ? `${dominant}?` : dominant;
}

/** What to do about a camera that does not start. */
function cameraMessage(error) {
  const reasons = {
    NotAllowedError: "The camera is not allowed. Allow it for this page in the browser's address bar.",
    NotFoundError: "There is no camera. Plug one in, or choose a picture.",
    NotReadableError: "The camera is used by another program. Close that, and start it again.",
    SecurityError: "The browser gives a camera only to pages from https:// or from this machine.",
  };
  return reasons[error.name] ?? `The camera cannot be started: ${error.message}`;
}

async function start() {
  try {
    const classifier = await Classifier.load();
    const { facts } = classifier;
    const detector = facts.detector === "blazeface" ? await BlazeFace.load() : null;
    const page = new Page(classifier, detector);
    element("detect").checked = detector !== null;
    element("detect-row").hidden = detector === null;
    element("prior").value = facts.default_tau;
    element("prior-row").hidden = !facts.priors.length;
    page.listen();
    page.showState();
    const precision = facts.precision ? `, ${facts.precision}` : "";
    element("about").textContent = `Model ${facts.name}${precision} · ${facts.runtime}`;
    for (const id of ["camera", "choose", "sample"]) element(id).disabled = false;
    document.body.dataset.state = "ready";
  } catch (error) {
    document.body.dataset.state = "failed";
    element("about").textContent = "";
    element("message").textContent = `The model cannot be loaded: ${error.message}`;
  }
}

start();
