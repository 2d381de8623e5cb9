/**
 * What the page shows: the picture with its boxes, the bars, and what is said to a screen reader.
 */

const SPEECH_DELAY_S = 1.5;
const SPEED_INTERVAL_S = 0.5;

const element = (id) => document.getElementById(id);

/** The elements of the page; it holds no state but what is drawn. */
export class View {
  constructor() {
    this.frame = element("frame");
    this.picture = element("picture");
    this.overlay = element("overlay");
    // The pixels are read back for every frame, so the canvas stays in main memory.
    this.context = this.picture.getContext("2d", { willReadFrequently: true });
    this.bars = [];
    this.spoken = { shown: "", since_s: 0, announced: "" };
    this.frames = [];
    this.redraw = () => {};
    new ResizeObserver(() => this.redraw()).observe(this.frame);
  }

  /** Makes a bar for each label. */
  setLabels(names) {
    this.bars = names.map((name) => {
      const row = document.createElement("li");
      row.dataset.label = name;
      const [label, track, percent] = ["label", "track", "percent"].map((kind) => {
        const part = document.createElement("span");
        part.className = kind;
        row.append(part);
        return part;
      });
      const fill = document.createElement("span");
      fill.className = "fill";
      track.append(fill);
      track.setAttribute("aria-hidden", "true");
      label.textContent = name;
      percent.textContent = "–";
      return { row, fill, percent };
    });
    element("bars").replaceChildren(...this.bars.map((bar) => bar.row));
  }

  /**
   * Puts a picture or a video's frame on the canvas.
   *
   * @param source What `drawImage` takes; it is scaled to the given size.
   * @returns Its RGBA pixels.
   */
  draw(source, width, height, { mirrored, description }) {
    if (this.picture.width !== width || this.picture.height !== height) {
      this.picture.width = width;
      this.picture.height = height;
    }
    this.frame.classList.add("filled");
    this.picture.classList.toggle("mirrored", mirrored);
    this.picture.setAttribute("aria-label", description);
    this.context.drawImage(source, 0, 0, width, height);
    return this.context.getImageData(0, 0, width, height);
  }

  /** Back to the empty page. */
  clear() {
    this.frame.classList.remove("filled");
    this.picture.setAttribute("aria-label", "No picture yet");
    this.context.clearRect(0, 0, this.picture.width, this.picture.height);
    this.drawBoxes([], {});
    this.showNothing("–");
    element("speed").textContent = "";
    this.showFaces(0, 0, () => {});
    this.frames = [];
  }

  /**
   * Boxes with their labels, as sharp as the screen however small the picture is.
   *
   * @param boxes `{left, top, width, height, label}` in pixels of the picture.
   */
  drawBoxes(boxes, { mirrored, selected }) {
    this.redraw = () => this.drawBoxes(boxes, { mirrored, selected });
    const { overlay, picture } = this;
    const ratio = devicePixelRatio || 1;
    overlay.width = Math.round(overlay.clientWidth * ratio);
    overlay.height = Math.round(overlay.clientHeight * ratio);
    // The picture is fitted into the frame: see `object-fit` in the style sheet.
    const scale = Math.min(overlay.width / picture.width, overlay.height / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    const context = overlay.getContext("2d");
    context.translate((overlay.width - width) / 2, (overlay.height - height) / 2);
    context.font = `600 ${15 * ratio}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    boxes.forEach((box, i) => {
      const left = mirrored ? picture.width - box.left - box.width : box.left;
      const [x, y] = [left * scale, box.top * scale];
      for (const [colour, line] of [
        ["#000a", 5],
        [i === selected ? "#7fb0ff" : "#ffffff", 2.5],
      ]) {
        context.strokeStyle = colour;
        context.lineWidth = line * ratio;
        context.strokeRect(x, y, box.width * scale, box.height * scale);
      }
      if (!box.label) return;
      const textWidth = context.measureText(box.label).width + 12 * ratio;
      const textHeight = 24 * ratio;
      // Inside the picture, also for a box that touches its upper or right border.
      const textX = Math.max(Math.min(x, width - textWidth), 0);
      const textY = Math.max(y - textHeight, 0);
      context.fillStyle = "#000b";
      context.fillRect(textX, textY, textWidth, textHeight);
      context.fillStyle = "#fff";
      context.fillText(box.label, textX + 6 * ratio, textY + textHeight / 2);
    });
  }

  /** The bars and the headline. */
  showResult({ probabilities, dominant, unsure, labelSet, affect }, now_s) {
    probabilities.forEach((p, i) => {
      const { row, fill, percent } = this.bars[i];
      row.dataset.probability = p;
      row.classList.toggle("dominant", row.dataset.label === dominant);
      fill.style.width = `${100 * p}%`;
      percent.textContent = `${Math.round(100 * p)} %`;
    });
    element("dominant").textContent = dominant;
    const others = labelSet.filter((name) => name !== dominant);
    const couldBe = others.length ? `could also be ${others.join(", ")}` : "";
    element("certainty").textContent = [unsure ? "unsure" : "", couldBe].filter(Boolean).join(" · ");
    element("affect").textContent = affect
      ? `valence ${affect.valence.toFixed(2)} · arousal ${affect.arousal.toFixed(2)}`
      : "";
    this.speak(unsure ? `${dominant}, unsure` : dominant, now_s);
  }

  /** Empty bars, with a word in place of the label. */
  showNothing(word) {
    for (const { row, fill, percent } of this.bars) {
      delete row.dataset.probability;
      row.classList.remove("dominant");
      fill.style.width = "0";
      percent.textContent = "–";
    }
    element("dominant").textContent = word;
    element("certainty").textContent = "";
    element("affect").textContent = "";
  }

  /** Buttons to choose one of several faces. */
  showFaces(count, selected, choose) {
    const group = element("faces");
    group.hidden = count < 2;
    const buttons = Array.from({ length: count }, (_, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `Face ${i + 1}`;
      button.setAttribute("aria-pressed", String(i === selected));
      button.addEventListener("click", () => {
        choose(i);
        // The buttons were made anew; the keyboard stays where it was.
        group.children[i]?.focus();
      });
      return button;
    });
    group.replaceChildren(...buttons);
  }

  /** Counts a frame; the figures change twice a second, so that they can be read. */
  countFrame(now_s, work_ms) {
    this.frames.push({ now_s, work_ms });
    this.frames = this.frames.filter((frame) => now_s - frame.now_s < 2);
    document.body.dataset.frames = Number(document.body.dataset.frames ?? 0) + 1;
    if (now_s - (this.speedShown_s ?? 0) < SPEED_INTERVAL_S || this.frames.length < 2) return;
    this.speedShown_s = now_s;
    const fps = (this.frames.length - 1) / (now_s - this.frames[0].now_s);
    const mean_ms = this.frames.reduce((sum, f) => sum + f.work_ms, 0) / this.frames.length;
    element("speed").textContent = `${fps.toFixed(0)} frames/s · ${mean_ms.toFixed(1)} ms per frame`;
  }

  /** How long one picture took. */
  showWork(work_ms, count) {
    const faces = count === 1 ? "face" : "faces";
    element("speed").textContent = `${work_ms.toFixed(1)} ms for ${count} ${faces}`;
  }

  /** An error or a hint; empty takes it away. */
  showMessage(text) {
    element("message").textContent = text;
  }

  /** A label is spoken once it has stayed for a while: a reader could not follow every flicker. */
  speak(text, now_s) {
    const { spoken } = this;
    if (text !== spoken.shown) Object.assign(spoken, { shown: text, since_s: now_s });
    if (text === spoken.announced || now_s - spoken.since_s < SPEECH_DELAY_S) return;
    spoken.announced = text;
    element("announcement").textContent = text;
  }
}
