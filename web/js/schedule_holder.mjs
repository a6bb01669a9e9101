// @ts-check
/** What nodes that hold a schedule show: the schedule, the choice of another, runs, pictures. */

import { CompareView } from "./compare_view.mjs";
import { rememberModel } from "./connected_model.mjs";
import { element } from "./dom.mjs";
import { putOnNode } from "./node_widget.mjs";
import { lastRun, RunReport } from "./run_report.mjs";
import { ScheduleBox } from "./schedule_box.mjs";
import { ScheduleChoice } from "./schedule_choice.mjs";
import { haveNames } from "./schedule_names.mjs";
import { themeOf } from "./theme.mjs";
import { say } from "./words.mjs";

/** @typedef {import("./stored_views.mjs").View} View */
/** @typedef {import("./run_report.mjs").RunState} RunState */
/** @typedef {import("./schedule_bits.mjs").ScheduleData} ScheduleData */

const MAP_HEIGHT = 190; // least heights of a schedule, open and closed
const LINE_HEIGHT = 28;
const PICTURES_HEIGHT = 230;
const GAP = 4;

/** The widget is made when there is something to show: until then the node is as without us. */
export class ScheduleHolder {
  /**
   * @param {any} node
   * @param {{open: boolean, chooses: boolean}} options whether the map is open at first, and
   *   whether the schedule is chosen on this node
   */
  constructor(node, { open, chooses }) {
    this.node = node;
    this.open = open;
    this.controller = new AbortController();
    this.panel = null;
    /** @type {View | null} */
    this.view = null;
    /** @type {ReturnType<ScheduleHolder["make"]> | null} */
    this.parts = null;
    this.asked = 0;
    const { signal } = this.controller;
    this.choice = chooses ? new ScheduleChoice(node, signal, () => void this.follow()) : null;
    if (this.choice) this.parts = this.make();
  }

  make() {
    const { signal } = this.controller;
    let fit = () => {};
    const box = new ScheduleBox(signal, { open: this.open, onToggle: () => fit() });
    const report = new RunReport();
    const pictures = new CompareView(signal, { names: [say("cached"), say("uncached")] });
    box.element.hidden = true;
    const loose = [report.element, ...(this.choice ? [this.choice.element] : [])];
    const frame = element("div", "ecad-view", [
      ...(this.choice ? [this.choice.element] : []),
      box.element,
      report.element,
      pictures.element,
    ]);
    frame.dataset.ecad = "schedule";
    const tall = (/** @type {HTMLElement} */ part) =>
      part.hidden ? 0 : (part.offsetHeight || Number(part.dataset.height ?? 0)) + GAP;
    const need = () => {
      const shown = box.element.hidden ? 12 : box.open ? MAP_HEIGHT : LINE_HEIGHT;
      const below = pictures.element.hidden ? 0 : PICTURES_HEIGHT + GAP;
      const choice = this.choice ? Math.max(tall(this.choice.element), LINE_HEIGHT) : 0;
      const height = shown + choice + tall(report.element) + below;
      return { height, grows: below > 0 || (box.open && !box.element.hidden) };
    };
    ({ fit } = putOnNode(this.node, "ecad_schedule", frame, need, signal));
    const observer = new ResizeObserver(() => fit()); // lines break where the node is narrow
    loose.forEach((part) => observer.observe(part));
    signal.addEventListener("abort", () => observer.disconnect());
    const paint = () => paintOn(frame);
    queueMicrotask(paint);
    return { box, report, pictures, paint, fit: () => fit() };
  }

  /** @param {View} view */
  show(view) {
    if (this.controller.signal.aborted) return;
    const run = newer(this.view?.run, view.run);
    if (run?.fits && run.model) {
      rememberModel(this.node, { fits: run.fits, model: run.model });
      this.choice?.sync();
    }
    const seen = { ...this.view, ...(view.schedule && { schedule: view.schedule }), run };
    if (!seen.schedule && !run) return;
    this.view = seen;
    this.parts ??= this.make();
    const { report, pictures } = this.parts;
    if (view.schedule?.fits) {
      rememberModel(this.node, view.schedule);
      this.choice?.sync();
    }
    if (run) {
      report.show(run);
      pictures.show(lastRun(run)?.pairs ?? []);
    }
    void this.follow();
  }

  /** Draw the schedule that ran or, when another one is chosen, that one. */
  async follow() {
    const { choice } = this;
    const asked = ++this.asked;
    const ran = this.view?.schedule;
    const drawn = !choice || isOf(ran, choice) ? ran : await choice.view();
    if (asked !== this.asked || !this.parts || this.controller.signal.aborted) return;
    const { box, fit } = this.parts;
    box.element.hidden = !drawn;
    const label = choice?.entry?.label;
    if (drawn) box.show(label ? { ...drawn, name: label } : drawn);
    fit();
  }

  /** The graph is loaded, wired or refreshed anew. */
  settle() {
    this.choice?.sync();
  }

  /** Nothing runs any more. */
  stop() {
    const { run } = this.view ?? {};
    if (!run || !this.parts || (run.state !== "running" && run.state !== "comparing")) return;
    run.state = "stopped";
    this.parts.report.show(run);
  }

  redraw() {
    this.parts?.paint();
    this.parts?.box.redraw();
    this.parts?.pictures.redraw();
  }
}

/** The node that compares two pictures. */
export class PicturesHolder {
  /** @param {any} node */
  constructor(node) {
    this.node = node;
    this.controller = new AbortController();
    this.panel = null;
    /** @type {View | null} */
    this.view = null;
    /** @type {CompareView | null} */
    this.pictures = null;
    this.frame = element("div", "ecad-view");
    this.frame.dataset.ecad = "pictures";
  }

  /** @param {View} view */
  show(view) {
    const { signal } = this.controller;
    if (!view.pairs || signal.aborted) return;
    this.view = view;
    if (!this.pictures) {
      this.pictures = new CompareView(signal);
      this.frame.append(this.pictures.element);
      const need = () => ({ height: PICTURES_HEIGHT, grows: true });
      putOnNode(this.node, "ecad_pictures", this.frame, need, signal);
      queueMicrotask(() => paintOn(this.frame));
    }
    this.pictures.show(view.pairs.pairs);
  }

  settle() {}

  stop() {}

  redraw() {
    paintOn(this.frame);
    this.pictures?.redraw();
  }
}

/**
 * The colours that the style sheet takes from the palette.
 * @param {HTMLElement} frame
 */
function paintOn(frame) {
  const theme = themeOf(frame);
  frame.style.setProperty("--ecad-accent", theme.accent);
  frame.style.setProperty("--ecad-warn", theme.handMade);
}

/**
 * Whether a schedule that ran is the one that is chosen now. Over a link, or from a list that is
 * not known, any is.
 * @param {ScheduleData | undefined} schedule
 * @param {ScheduleChoice} choice
 */
function isOf(schedule, choice) {
  const { entry } = choice;
  if (!schedule) return false;
  if (choice.linked || !haveNames()) return true;
  if (!entry) return false;
  return entry.key ? entry.key === schedule.key : entry.name.endsWith(`/${schedule.name}`);
}

/**
 * What is known of runs, with what is told now: an output that the page keeps may be older than
 * the events since.
 * @param {RunState | undefined} known
 * @param {RunState | undefined} told
 * @returns {RunState | undefined}
 */
function newer(known, told) {
  if (!known || !told) return told ?? known;
  const [before, after] = [lastRun(known), lastRun(told)];
  if (!before || !after) return { ...known, ...told, runs: after ? told.runs : known.runs };
  const older = after.ended < before.ended || (after.ended === before.ended && !after.pairs);
  return older ? known : { ...known, ...told };
}
