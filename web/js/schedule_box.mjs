// @ts-check
/** A schedule on a node: one line with its facts, and below it, when open, its map. */

import { element } from "./dom.mjs";
import { ScheduleBits } from "./schedule_bits.mjs";
import { drawMap, drawSteps, panelsOf, spotAt, spotLines } from "./schedule_map.mjs";
import { drawTip, placeOn, surfaceOn } from "./surface.mjs";
import { themeOf } from "./theme.mjs";
import { percent, spokenBytes } from "./wording.mjs";
import { say, sayCount } from "./words.mjs";

/** @typedef {import("./schedule_bits.mjs").ScheduleData} ScheduleData */

export class ScheduleBox {
  /**
   * @param {AbortSignal} signal ends it
   * @param {{open: boolean, onToggle: () => void}} options
   */
  constructor(signal, { open, onToggle }) {
    /** @type {ScheduleData | null} */
    this.data = null;
    /** @type {ScheduleBits | null} */
    this.bits = null;
    this.open = open;
    /** @type {import("./schedule_map.mjs").Panel[]} */
    this.panels = [];
    /** @type {import("./schedule_map.mjs").Spot | null} */
    this.hover = null;
    /** @type {[number, number]} */
    this.at = [0, 0];

    const sparkline = element("canvas");
    const map = element("canvas");
    this.arrow = element("span");
    this.title = element("span", "ecad-line");
    this.facts = element("div", "ecad-line ecad-soft");
    this.origin = element("div", "ecad-line ecad-soft");
    this.legend = element("div", "ecad-legend");
    const head = element("button", "ecad-head", [this.arrow, this.title, sparkline]);
    head.type = "button";
    head.title = say("Show or hide the schedule: steps across, blocks down");
    this.map = element("div", "ecad-map", [map]);
    this.body = element("div", "ecad-schedule", [this.facts, this.map, this.legend, this.origin]);
    this.element = element("div", "ecad-schedule", [head, this.body]);

    this.sparkline = surfaceOn(sparkline, (...given) => this.drawLine(...given), signal);
    this.surface = surfaceOn(map, (...given) => this.draw(...given), signal);
    head.addEventListener(
      "click",
      () => {
        this.setOpen(!this.open);
        onToggle();
      },
      { signal },
    );
    map.addEventListener("pointermove", (event) => this.point(placeOn(map, event)), { signal });
    map.addEventListener("pointerleave", () => this.point(null), { signal });
    this.setOpen(open);
  }

  /** @param {boolean} open */
  setOpen(open) {
    this.open = open;
    this.arrow.textContent = open ? "▾" : "▸";
    this.body.hidden = !open;
    this.element.dataset.open = String(open);
    this.redraw();
  }

  /** @param {ScheduleData} data */
  show(data) {
    this.data = data;
    this.bits = new ScheduleBits(data);
    this.shares = this.bits.byStep();
    this.hover = null;
    this.title.textContent = data.name || data.key;
    const { model, key } = data;
    this.title.title = `${data.name}\n${say("{model}, key {key}", { model, key })}`;
    this.facts.textContent = this.facts.title = factsOf(data);
    const origin = data.origin ?? [];
    this.origin.textContent = origin.join(" · ");
    this.origin.title = origin.join("\n");
    this.origin.hidden = origin.length === 0;
    this.element.dataset.key = data.key;
    this.element.dataset.computed = String(data.computed);
    this.redraw();
  }

  redraw() {
    const theme = this.theme();
    this.legend.replaceChildren(
      swatch(say("computed"), theme.components[0]),
      swatch(say("reused"), theme.faint),
      ...Object.entries(this.data?.payload ?? {}).map(([name, kind]) => `${name}: ${kind}`),
    );
    this.sparkline.redraw();
    this.surface.redraw();
  }

  theme() {
    return themeOf(this.element.closest(".ecad-view") ?? this.element);
  }

  /** @param {[number, number] | null} at */
  point(at) {
    const before = JSON.stringify(this.hover);
    this.hover = at && this.bits ? spotAt(this.bits, this.panels, ...at) : null;
    if (at) this.at = at;
    this.element.dataset.hover = this.hover ? Object.values(this.hover).join(" ") : "";
    if (this.hover || before !== "null") this.surface.redraw();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  draw(context, width, height) {
    if (!this.bits) return;
    const theme = this.theme();
    this.panels = panelsOf(this.bits, width, height);
    drawMap(context, this.bits, theme, this.panels, this.hover);
    if (this.hover)
      drawTip(context, theme, spotLines(this.bits, this.hover), this.at, [width, height]);
    this.element.dataset.drawn = this.data?.key ?? "";
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  drawLine(context, width, height) {
    if (!this.shares) return;
    drawSteps(context, this.shares, this.theme(), width, height);
  }
}

/** @param {ScheduleData} data */
export function factsOf(data) {
  const facts = [
    sayCount("{n} step", "{n} steps", data.steps),
    say("{share} computed", { share: percent(data.computed) }),
  ];
  if (data.speedup) facts.push(say("{times}x fewer MACs", { times: data.speedup.toFixed(2) }));
  if (data.bytes != null)
    facts.push(say("{bytes} held per prompt", { bytes: spokenBytes(data.bytes) }));
  if (data.native) facts.push(say("at {pixels} px", { pixels: data.native[0] }));
  return facts.join(" · ");
}

/**
 * @param {string} words
 * @param {string} colour
 */
export function swatch(words, colour, className = "") {
  const made = element("span", className, [words]);
  made.style.setProperty("--ecad-swatch", colour);
  return made;
}
