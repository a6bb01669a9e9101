// @ts-check
/** The live view of a search: its front, how far it is, and the schedule of a point. */

import { element } from "./dom.mjs";
import { drawFront, pointAt } from "./front_chart.mjs";
import { PictureStrips } from "./picture_strips.mjs";
import { ScheduleBox, swatch } from "./schedule_box.mjs";
import { drawTip, placeOn, surfaceOn } from "./surface.mjs";
import { themeOf } from "./theme.mjs";
import { percent, signed, spokenSeconds } from "./wording.mjs";
import { say, sayCount } from "./words.mjs";

/** @typedef {import("./front_chart.mjs").Point} Point */

/**
 * @typedef {object} FrontData
 * @property {Point[]} points
 * @property {string} [knee]
 * @property {string} [model]
 * @property {import("./schedule_bits.mjs").Group[]} [groups]
 * @property {number} [steps]
 *
 * @typedef {object} SearchData what an event and the node's stored output hold
 * @property {number} generation
 * @property {number} images
 * @property {number} images_budget
 * @property {number} candidates
 * @property {number} seconds
 * @property {number | null} eta_seconds
 * @property {boolean} finished
 * @property {string[]} [scorers]
 * @property {string} [pictures] the folder in ComfyUI's output of what the schedules make
 * @property {FrontData} [front]
 * @property {[number, number, string][]} points cost, quality, key
 * @property {[number, number, string][]} references cost, quality, name
 *
 * @typedef {object} Actions
 * @property {(point: Point) => void} apply
 * @property {(point: Point) => void} save
 */

export const CHART_HEIGHT = 190; // least heights, in CSS pixels
export const DETAIL_HEIGHT = 210;

export class SearchPanel {
  /**
   * @param {AbortSignal} signal ends it
   * @param {{actions: Actions, onResize: () => void}} options
   */
  constructor(signal, { actions, onResize }) {
    /** @type {SearchData | null} */
    this.data = null;
    /** @type {Point[]} */
    this.points = [];
    /** Bits by key: most events come without them. @type {Map<string, Point>} */
    this.known = new Map();
    /** @type {import("./front_chart.mjs").Mark[]} */
    this.marks = [];
    /** @type {string | null} */
    this.hover = null;
    /** @type {string | null} */
    this.selected = null;
    /** @type {"empty" | "running" | "stopped" | "finished"} */
    this.state = "empty";
    this.onResize = onResize;
    /** Whose quality is drawn, from 0. */
    this.scorer = 0;

    const canvas = element("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", say("Quality against cost of the schedules found"));
    this.status = element("div", "ecad-line");
    this.fill = element("div");
    this.legend = element("div", "ecad-legend");
    this.scorers = element("select", "ecad-scorers");
    this.scorers.title = say("The scorer whose quality is drawn");
    this.scorers.setAttribute("aria-label", this.scorers.title);
    this.scorers.addEventListener("change", () => this.setScorer(this.scorers.selectedIndex), {
      signal,
    });
    this.box = new ScheduleBox(signal, { open: true, onToggle: onResize });
    this.facts = element("div", "ecad-line");
    this.applyButton = this.button(
      say("Add Apply node"),
      say("Adds Pick from ECAD Front with this schedule, and Apply ECAD Schedule with your model."),
      actions.apply,
      signal,
    );
    this.saveButton = this.button(
      say("Add Save node"),
      say("Adds Pick from ECAD Front with this schedule, and Save ECAD Schedule; queue to write it."),
      actions.save,
      signal,
    );
    this.detail = element("div", "ecad-schedule", [
      this.facts,
      this.box.element,
      element("div", "ecad-buttons", [this.applyButton, this.saveButton]),
    ]);
    this.detail.hidden = true;
    this.element = element("div", "ecad-view", [
      this.status,
      element("div", "ecad-bar", [this.fill]),
      this.legend,
      this.scorers,
      element("div", "ecad-chart", [canvas]),
      this.detail,
    ]);
    this.element.dataset.ecad = "search";
    this.canvas = canvas;
    this.surface = surfaceOn(canvas, (...given) => this.draw(...given), signal);
    this.strips = new PictureStrips(() => this.surface.redraw());
    canvas.addEventListener(
      "pointermove",
      (event) => this.setHover(pointAt(this.marks, ...placeOn(canvas, event))?.key ?? null),
      { signal },
    );
    canvas.addEventListener("pointerleave", () => this.setHover(null), { signal });
    canvas.addEventListener(
      "click",
      (event) => this.select(pointAt(this.marks, ...placeOn(canvas, event))?.key ?? null),
      { signal },
    );
    canvas.addEventListener("keydown", (event) => this.key(event), { signal });
    this.tell();
  }

  /**
   * @param {string} words
   * @param {string} title
   * @param {(point: Point) => void} act
   * @param {AbortSignal} signal
   */
  button(words, title, act, signal) {
    const made = element("button", "", [words]);
    made.type = "button";
    made.title = title;
    made.addEventListener(
      "click",
      () => {
        const point = this.chosen();
        if (point) act(point);
      },
      { signal },
    );
    return made;
  }

  minHeight() {
    return CHART_HEIGHT + (this.detail.hidden ? 0 : this.box.open ? DETAIL_HEIGHT : 78);
  }

  /**
   * @param {SearchData} data
   * @param {{live: boolean}} how live: an event of a search that runs
   */
  show(data, { live }) {
    this.data = data;
    if (this.scorer >= (data.scorers?.length ?? 1)) this.scorer = 0;
    this.points = pointsOf(data).map((point) => seenBy(this.scorer, point));
    for (const point of this.points) if (point.compute) this.known.set(point.key, point);
    const kept = new Set(this.points.map((point) => point.key));
    for (const key of this.known.keys())
      if (!kept.has(key) && key !== this.selected) this.known.delete(key);
    this.state = data.finished ? "finished" : live ? "running" : "stopped";
    this.tell();
    this.showDetail();
  }

  /** @param {number} number */
  setScorer(number) {
    this.scorer = number;
    if (this.data) this.show(this.data, { live: this.state === "running" });
  }

  /** The run that sent events has ended. */
  stop() {
    if (this.state !== "running") return;
    this.state = "stopped";
    this.tell();
  }

  /** The point that is selected, when it is still on the front. */
  chosen() {
    return this.points.find((point) => point.key === this.selected) ?? null;
  }

  /** @param {string | null} key */
  select(key) {
    this.selected = key === this.selected ? null : key;
    this.showDetail();
    this.surface.redraw();
  }

  /** @param {string | null} key */
  setHover(key) {
    if (key === this.hover) return;
    this.hover = key;
    this.canvas.style.cursor = key ? "pointer" : "";
    this.element.dataset.hover = key ?? "";
    this.surface.redraw();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move && this.points.length) {
      const at = this.points.findIndex((point) => point.key === this.selected);
      const next = at < 0 ? (move > 0 ? 0 : this.points.length - 1) : at + move;
      this.selected = null;
      this.select(this.points[Math.min(Math.max(next, 0), this.points.length - 1)].key);
    } else if (event.key === "Escape" && this.selected) {
      this.select(null);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  redraw() {
    this.tell();
    this.box.redraw();
  }

  tell() {
    const { data, state } = this;
    this.element.dataset.state = state;
    this.element.dataset.points = String(this.points.filter((p) => p.on_front).length);
    this.element.dataset.references = String(this.points.filter((p) => p.is_reference).length);
    this.element.dataset.images = String(data?.images ?? 0);
    this.status.textContent = this.status.title = statusOf(data, state);
    const spent = data ? data.images / Math.max(data.images_budget, 1) : 0;
    this.fill.style.width = percent(Math.min(spent, 1));
    this.tellLegend();
    this.tellScorers();
    this.surface.redraw();
  }

  tellScorers() {
    const names = this.data?.scorers ?? [];
    this.scorers.hidden = names.length < 2;
    const shown = [...this.scorers.options].map((option) => option.value);
    if (String(shown) !== String(names))
      this.scorers.replaceChildren(
        ...names.map((name) => Object.assign(element("option", "", [name]), { value: name })),
      );
    if (!this.scorers.hidden) this.scorers.selectedIndex = this.scorer;
  }

  tellLegend() {
    const theme = themeOf(this.element);
    this.element.style.setProperty("--ecad-accent", theme.accent);
    const found = this.points.filter((point) => !point.is_reference);
    const entries = [];
    if (found.length) entries.push(swatch(say("found"), theme.accent, "ecad-round"));
    if (this.data?.front?.knee) entries.push(swatch(say("knee"), theme.good, "ecad-round"));
    const references = this.points.filter((point) => point.is_reference);
    if (references.some(({ cost }) => cost < 1))
      entries.push(swatch(say("FORA and other presets"), theme.handMade));
    if (references.some(({ cost }) => cost >= 1)) entries.push(swatch(say("uncached"), theme.ink));
    this.legend.replaceChildren(...entries);
  }

  showDetail() {
    const { selected } = this;
    const point = selected === null ? null : (this.chosen() ?? this.known.get(selected));
    const wasHidden = this.detail.hidden;
    if (!point) this.selected = null;
    this.detail.hidden = !point;
    this.element.dataset.selected = this.selected ?? "";
    if (point) {
      const current = this.chosen();
      const bits = this.known.get(point.key);
      this.facts.textContent = this.facts.title = current
        ? factsOf(point)
        : say("No longer on the front: the search found better ones.");
      this.applyButton.disabled = this.saveButton.disabled = !current;
      const { groups, steps, model } = this.data?.front ?? {};
      this.box.element.hidden = !bits?.compute || !groups;
      if (bits?.compute && groups && steps && this.box.data?.key !== point.key)
        this.box.show({
          key: point.key,
          name: point.name,
          model: model ?? "",
          groups,
          steps,
          compute: bits.compute,
          computed: point.computed,
          speedup: 1 / point.cost,
          origin: bits.origin,
        });
      if (this.box.element.hidden)
        this.facts.textContent += ` · ${say("its map comes in a moment")}`;
    }
    if (wasHidden !== this.detail.hidden) this.onResize();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  draw(context, width, height) {
    const theme = themeOf(this.element);
    const { hover, selected } = this;
    const knee = this.data?.front?.knee ?? null;
    this.marks = drawFront(context, this.points, theme, width, height, { hover, selected, knee });
    this.element.dataset.drawn = String(this.marks.length);
    if (this.marks.length === 0) {
      context.font = "11px Inter, system-ui, sans-serif";
      context.fillStyle = theme.softInk;
      context.textAlign = "center";
      context.textBaseline = "middle";
      const empty = say("The front is drawn here while the search runs.");
      context.fillText(empty, width / 2, height / 2);
      return;
    }
    const mark = this.marks.find(({ point }) => point.key === hover);
    if (!mark) return;
    const picture = this.strips.of(this.data?.pictures, mark.point.key);
    this.element.dataset.pictured = picture ? mark.point.key : "";
    drawTip(context, theme, tipOf(mark.point), [mark.x, mark.y], [width, height], picture);
  }
}

/**
 * @param {SearchData} data
 * @returns {Point[]} sorted by cost
 */
function pointsOf(data) {
  const points = data.front?.points;
  if (points) return points;
  // as versions before the panel stored it
  const bare = { quality_stderr: 0, samples: 0, computed: NaN };
  const member = { ...bare, is_reference: false, on_front: true };
  const reference = { ...bare, is_reference: true, on_front: false };
  const found = data.points.map(([cost, quality, key]) => ({ cost, quality, key, name: key }));
  const made = data.references.map(([cost, quality, key]) => ({ cost, quality, key, name: key }));
  return [
    ...found.map((point) => ({ ...point, ...member })),
    ...made.map((point) => ({ ...point, ...reference })),
  ].sort((a, b) => a.cost - b.cost);
}

/**
 * A point with the quality that one of the scorers gave it.
 * @param {number} scorer from 0
 * @param {Point} point
 * @returns {Point}
 */
function seenBy(scorer, point) {
  const own = point.more_qualities?.[scorer - 1];
  return own ? { ...point, quality: own[0], quality_stderr: own[1] } : point;
}

/**
 * @param {SearchData | null} data
 * @param {SearchPanel["state"]} state
 */
function statusOf(data, state) {
  if (!data) return say("No search has run yet. Queue the workflow.");
  const parts = [
    say("generation {n}", { n: data.generation }),
    say("{n} of {budget} images", { n: data.images, budget: data.images_budget }),
  ];
  if (state === "finished") parts.unshift(say("Finished"));
  if (state === "stopped") parts.unshift(say("Stopped, queue again to go on"));
  if (state === "running" && data.eta_seconds != null)
    parts.push(say("{time} left", { time: spokenSeconds(data.eta_seconds) }));
  return parts.join(" · ");
}

/** @param {Point} point */
function savingOf(point) {
  const times = (1 / point.cost).toFixed(2);
  return point.seconds == null
    ? say("{times}x fewer MACs", { times })
    : say("{times}x faster, predicted", { times });
}

/** @param {Point} point */
function amountOf(point) {
  return point.seconds == null
    ? say("{share} of them", { share: percent(point.cost) })
    : say("{seconds} s a picture", { seconds: point.seconds.toPrecision(3) });
}

/** @param {Point} point */
function factsOf(point) {
  return `${savingOf(point)} · ${say("quality {quality}", { quality: qualityOf(point) })}`;
}

/** @param {Point} point */
function qualityOf(point) {
  const error = point.quality_stderr > 0 ? ` ± ${point.quality_stderr.toFixed(4)}` : "";
  return `${signed(point.quality)}${error}`;
}

/** @param {Point} point */
function tipOf(point) {
  const samples = sayCount("{n} sample", "{n} samples", point.samples);
  return [
    point.name || point.key,
    `${savingOf(point)} · ${amountOf(point)}`,
    say("quality {quality} to uncached", { quality: qualityOf(point) }),
    [...(point.samples ? [samples] : []), say("click for its map")].join(" · "),
  ];
}

