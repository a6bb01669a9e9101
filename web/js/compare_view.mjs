// @ts-check
/** Two pictures on top of each other: a slider between them, or a map of their differences. */

import { api } from "../../../scripts/api.js";
import { element } from "./dom.mjs";
import { placeOn, surfaceOn } from "./surface.mjs";
import { themeOf } from "./theme.mjs";
import { say } from "./words.mjs";

/**
 * @typedef {{filename: string, subfolder: string, type: string}} FileName
 *
 * @typedef {object} Pair
 * @property {number} index of the batch
 * @property {FileName} image
 * @property {FileName} reference
 * @property {number} psnr dB
 * @property {number | null} ssim
 *
 * @typedef {object} Loaded
 * @property {HTMLImageElement} image
 * @property {HTMLImageElement} reference
 */

const GAINS = [1, 4, 16];

export class CompareView {
  /**
   * @param {AbortSignal} signal ends it
   * @param {{names?: [string, string]}} [options] what the pictures and their references are called
   */
  constructor(signal, { names = [say("image"), say("reference")] } = {}) {
    this.signal = signal;
    this.names = names;
    /** @type {Pair[]} */
    this.pairs = [];
    this.at = 0;
    this.split = 0.5; // the reference is left of it
    this.gain = GAINS[1];
    /** @type {"slider" | "difference"} */
    this.mode = "slider";
    /** @type {Loaded | null} */
    this.loaded = null;
    /** @type {HTMLCanvasElement | null} */
    this.difference = null;
    this.problem = "";

    this.canvas = element("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "slider");
    const [right, left] = names;
    const sides = say("{left} to the left, {right} to the right", { left, right });
    this.canvas.setAttribute("aria-label", sides);
    this.facts = element("div", "ecad-line ecad-soft");
    const button = (/** @type {string} */ words, /** @type {() => void} */ press) => {
      const made = element("button", "", [words]);
      made.type = "button";
      made.addEventListener("click", press, { signal });
      return made;
    };
    this.sliderButton = button(say("Slider"), () => this.setMode("slider"));
    this.differenceButton = button(say("Difference"), () => this.setMode("difference"));
    this.gainButton = button("", () => this.nextGain());
    this.gainButton.title = say("By what the differences are multiplied");
    this.nextButton = button("", () => this.turn(1));
    this.nextButton.title = say("The next picture");
    this.element = element("div", "ecad-compare", [
      this.facts,
      element("div", "ecad-pictures", [this.canvas]),
      element("div", "ecad-buttons", [
        this.sliderButton,
        this.differenceButton,
        this.gainButton,
        this.nextButton,
      ]),
    ]);
    this.element.hidden = true;
    this.surface = surfaceOn(this.canvas, (...given) => this.draw(...given), signal);
    const move = (/** @type {PointerEvent} */ event) => {
      if (event.type === "pointermove" && event.buttons !== 1) return;
      if (event.button > 0 || this.mode !== "slider") return;
      if (event.type === "pointerdown") this.canvas.setPointerCapture?.(event.pointerId);
      const { left, width } = this.frame(this.canvas.clientWidth, this.canvas.clientHeight);
      this.setSplit((placeOn(this.canvas, event)[0] - left) / (width || 1));
    };
    this.canvas.addEventListener("pointerdown", move, { signal });
    this.canvas.addEventListener("pointermove", move, { signal });
    this.canvas.addEventListener(
      "keydown",
      (event) => {
        const by = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
        if (by === undefined) return;
        event.preventDefault();
        event.stopPropagation();
        this.setSplit(this.split + by);
      },
      { signal },
    );
    this.setMode("slider");
  }

  /** @param {Pair[]} pairs */
  show(pairs) {
    this.pairs = pairs;
    this.element.hidden = pairs.length === 0;
    this.turn(0);
  }

  /** @param {number} by pictures, in a circle */
  turn(by) {
    const count = this.pairs.length;
    if (!count) return;
    this.at = (Math.min(this.at, count - 1) + by + count) % count;
    const { psnr, ssim } = this.pairs[this.at];
    const figures = [`PSNR ${psnr.toFixed(1)} dB`];
    if (ssim != null) figures.push(`SSIM ${ssim.toFixed(4)}`);
    this.facts.textContent = `${this.names[1]} | ${this.names[0]} · ${figures.join(" · ")}`;
    this.facts.title = say("How alike the two are; it says nothing of which is better");
    this.nextButton.textContent = `${this.at + 1} / ${count} ›`;
    this.nextButton.hidden = count < 2;
    this.element.dataset.at = String(this.at);
    void this.load(this.pairs[this.at]);
  }

  /** @param {Pair} pair */
  async load(pair) {
    this.loaded = this.difference = null;
    this.problem = "";
    this.element.dataset.loaded = "";
    try {
      const [image, reference] = await Promise.all([picture(pair.image), picture(pair.reference)]);
      if (pair !== this.pairs[this.at] || this.signal.aborted) return;
      this.loaded = { image, reference };
      this.element.dataset.loaded = pair.image.filename;
    } catch {
      if (pair !== this.pairs[this.at]) return;
      this.problem = say(
        "The pictures are gone: ComfyUI empties its temporary folder when it starts. Queue again.",
      );
    }
    this.surface.redraw();
  }

  /** @param {"slider" | "difference"} mode */
  setMode(mode) {
    this.mode = mode;
    this.sliderButton.setAttribute("aria-pressed", String(mode === "slider"));
    this.differenceButton.setAttribute("aria-pressed", String(mode === "difference"));
    this.gainButton.hidden = mode !== "difference";
    this.gainButton.textContent = `${this.gain}x`;
    this.element.dataset.mode = mode;
    this.canvas.style.cursor = mode === "slider" ? "ew-resize" : "";
    this.setSplit(this.split);
  }

  nextGain() {
    this.gain = GAINS[(GAINS.indexOf(this.gain) + 1) % GAINS.length];
    this.difference = null;
    this.setMode(this.mode);
  }

  /** @param {number} split */
  setSplit(split) {
    this.split = Math.min(1, Math.max(0, split));
    this.element.dataset.split = this.split.toFixed(3);
    this.canvas.setAttribute("aria-valuenow", String(Math.round(100 * this.split)));
    this.surface.redraw();
  }

  /**
   * Where the picture lies on the canvas: as large as fits.
   * @param {number} width
   * @param {number} height
   */
  frame(width, height) {
    const across = this.loaded?.reference.naturalWidth || 1;
    const down = this.loaded?.reference.naturalHeight || 1;
    const scale = Math.min(width / across, height / down);
    const size = { width: across * scale, height: down * scale, scale };
    return { left: (width - size.width) / 2, top: (height - size.height) / 2, ...size };
  }

  redraw() {
    this.surface.redraw();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  draw(context, width, height) {
    const theme = themeOf(this.element.closest(".ecad-view") ?? this.element);
    if (!this.loaded) {
      if (this.problem) drawText(context, this.problem, theme.ink, width, height);
      return;
    }
    const { left, top, scale, ...size } = this.frame(width, height);
    const place = /** @type {const} */ ([left, top, size.width, size.height]);
    context.imageSmoothingEnabled = scale < 3; // a small picture is shown as its pixels
    context.imageSmoothingQuality = "high";
    if (this.mode === "difference") {
      this.difference ??= differenceOf(this.loaded, this.gain);
      context.drawImage(this.difference, ...place);
      const badge = say("difference {gain}x", { gain: this.gain });
      drawBadge(context, badge, left + 6, top + 6, "left");
      this.element.dataset.drawn = `difference ${this.gain}`;
      return;
    }
    const x = left + this.split * size.width;
    context.drawImage(this.loaded.reference, ...place);
    context.save();
    context.beginPath();
    context.rect(x, top, left + size.width - x, size.height);
    context.clip();
    context.drawImage(this.loaded.image, ...place);
    context.restore();
    drawHandle(context, x, top, size.height);
    const room = (/** @type {string} */ text) => context.measureText(text).width + 24;
    context.font = BADGE_FONT;
    const [image, reference] = this.names;
    if (x - left > room(reference)) drawBadge(context, reference, left + 6, top + 6, "left");
    if (left + size.width - x > room(image))
      drawBadge(context, image, left + size.width - 6, top + 6, "right");
    this.element.dataset.drawn = "slider";
  }
}

const BADGE_FONT = "600 10px Inter, system-ui, sans-serif";

/** @param {FileName} file */
function picture({ filename, subfolder, type }) {
  const image = new Image();
  const query = new URLSearchParams({ filename, subfolder, type });
  image.src = api.apiURL(`/view?${query}`);
  return image.decode().then(() => image);
}

/**
 * How far each colour is from the reference's, times `gain`.
 * @param {Loaded} loaded
 * @param {number} gain
 */
function differenceOf({ image, reference }, gain) {
  const [width, height] = [reference.naturalWidth, reference.naturalHeight];
  const data = [image, reference].map((source) => {
    const canvas = Object.assign(element("canvas"), { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context?.drawImage(source, 0, 0, width, height);
    return { canvas, context, pixels: context?.getImageData(0, 0, width, height) };
  });
  const [{ canvas, context, pixels: ours }, { pixels: theirs }] = data;
  if (!context || !ours || !theirs) return canvas;
  for (let i = 0; i < ours.data.length; i++) // the array clamps to 255
    ours.data[i] = i % 4 === 3 ? 255 : Math.abs(ours.data[i] - theirs.data[i]) * gain;
  context.putImageData(ours, 0, 0);
  return canvas;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} top
 * @param {number} height
 */
function drawHandle(context, x, top, height) {
  const middle = top + height / 2;
  context.fillStyle = "rgb(0 0 0 / 45%)";
  context.fillRect(x - 2, top, 4, height);
  context.fillStyle = "#fff";
  context.fillRect(x - 1, top, 2, height);
  context.beginPath();
  context.arc(x, middle, 8, 0, 2 * Math.PI);
  context.fill();
  context.fillStyle = "#333";
  for (const side of [-1, 1]) {
    context.beginPath();
    context.moveTo(x + side * 5.5, middle);
    context.lineTo(x + side * 2, middle - 3);
    context.lineTo(x + side * 2, middle + 3);
    context.fill();
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {"left" | "right"} align
 */
function drawBadge(context, text, x, y, align) {
  context.font = BADGE_FONT;
  const width = context.measureText(text).width + 10;
  const left = align === "left" ? x : x - width;
  context.fillStyle = "rgb(0 0 0 / 60%)";
  context.beginPath();
  context.roundRect(left, y, width, 16, 4);
  context.fill();
  context.fillStyle = "#fff";
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.fillText(text, left + 5, y + 8.5);
}

/** What stays on one line: a word, or a Chinese or Japanese character and marks that end with it. */
const UNBROKEN =
  /(?:[\u3000-\u9fff\uff00-\uffef]|[^\s\u3000-\u9fff\uff00-\uffef]+)[\u3001\u3002\u300d\u30fc\uff01-\uff5e]*\s*/g;

/**
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {string} colour
 * @param {number} width
 * @param {number} height
 */
function drawText(context, text, colour, width, height) {
  context.font = "11px Inter, system-ui, sans-serif";
  context.fillStyle = colour;
  context.textAlign = "center";
  context.textBaseline = "middle";
  /** @type {string[]} */
  const lines = [""];
  for (const part of text.match(UNBROKEN) ?? []) {
    const longer = lines[lines.length - 1] + part;
    if (context.measureText(longer.trim()).width <= width - 12) lines[lines.length - 1] = longer;
    else lines.push(part);
  }
  lines.forEach((line, i) =>
    context.fillText(line.trim(), width / 2, height / 2 + (i - (lines.length - 1) / 2) * 15),
  );
}
