// @ts-check
/** Paints a schedule: what it starts from, its map, its buttons, and whether it is valid. */

import { element } from "./dom.mjs";
import { EditHistory } from "./edit_history.mjs";
import {
  alike,
  clickedValue,
  drawZones,
  isCell,
  layoutOf,
  paintEvery,
  paintZone,
  zoneAt,
  zoneLines,
} from "./edit_zones.mjs";
import { packed, ScheduleBits } from "./schedule_bits.mjs";
import { documentOf, newDocument, painted, relativeCost, uselessCells } from "./schedule_document.mjs";
import { drawTip, placeOn, surfaceOn } from "./surface.mjs";
import { themeOf } from "./theme.mjs";
import { percent } from "./wording.mjs";
import { say, sayCount } from "./words.mjs";

/** @typedef {import("./edit_zones.mjs").Zone} Zone */

/**
 * @typedef {object} Start
 * @property {string} start the name in the list
 * @property {number} steps
 * @property {boolean} linked whether a schedule is wired in
 *
 * @typedef {object} Host what the editor is on
 * @property {() => string} text what is kept in the workflow; empty when nothing is painted
 * @property {(text: string) => void} write
 * @property {() => Start} start
 * @property {() => string} name to save under
 * @property {(start: Start) => Promise<any>} read the start, as a run of the node would send it
 * @property {() => Promise<boolean>} run the node alone; false when it was refused
 * @property {(text: string, own: EditHistory) => EditHistory} history the one of this node
 * @property {() => void} saved what to do once a file was written
 * @property {() => Record<string, import("./schedule_document.mjs").Architecture>} architectures
 */

const NEW = "new/";
const USUAL_STEPS = 20;

export class ScheduleEditor {
  /**
   * @param {AbortSignal} signal ends it
   * @param {Host} host
   */
  constructor(signal, host) {
    this.signal = signal;
    this.host = host;
    this.history = new EditHistory(host.text());
    /** @type {import("./schedule_document.mjs").ScheduleDocument | null} */
    this.document = null;
    /** What is drawn: the document's bits, or those of a stroke. @type {ScheduleBits | null} */
    this.bits = null;
    /** @type {Uint8Array | null} */
    this.useless = null;
    /** What the node sent last, and what was told of the start. @type {any} */
    this.view = null;
    /** @type {any} */
    this.startView = null;
    /** The start that was asked for last, and why there was none. */
    this.asked = "";
    this.refusal = "";
    this.problem = "";
    this.note = "";
    /** What a run was asked for. @type {"" | "load" | "save"} */
    this.waiting = "";
    /** @type {import("./edit_zones.mjs").Layout | null} */
    this.layout = null;
    /** @type {Zone | null} */
    this.hover = null;
    /** @type {[number, number]} */
    this.at = [0, 0];
    /** @type {{first: Zone, last: Zone, value: 0 | 1, before: Uint8Array} | null} */
    this.stroke = null;

    const on = { signal };
    const canvas = element("canvas");
    this.canvas = canvas;
    this.state = element("div", "ecad-line ecad-state");
    this.detail = element("div", "ecad-line ecad-soft");
    /** @type {(words: string, help: string, act: () => void) => HTMLButtonElement} */
    const button = (words, help, act) => {
      const made = element("button", "", [words]);
      made.type = "button";
      made.title = help;
      made.addEventListener("pointerdown", (event) => event.preventDefault(), on); // keep the focus
      made.addEventListener("click", () => (this.keys.focus({ preventScroll: true }), act()), on);
      return made;
    };
    this.undoButton = button(say("Undo"), "Ctrl+Z", () => this.undo());
    this.redoButton = button(say("Redo"), "Ctrl+Shift+Z, Ctrl+Y", () => this.redo());
    this.allButton = button(say("Compute all"), say("Everything computes at every step"), () =>
      this.repaint((bits) => bits.bits.fill(1)),
    );
    const fora = say("Everything computes at every n-th step, n beside");
    this.everyButton = button("FORA", fora, () =>
      this.repaint((bits) => paintEvery(bits, EVERYTHING, this.every())),
    );
    this.everyInput = element("input");
    this.everyInput.type = "number";
    this.everyInput.min = "2";
    this.everyInput.max = "99";
    this.everyInput.value = "2";
    this.everyInput.title = say("Compute at every n-th step");
    this.overButton = button("", "", () => this.load());
    this.saveButton = button(say("Save"), "", () => this.save());
    const buttons = element("div", "ecad-buttons", [
      this.undoButton,
      this.redoButton,
      this.allButton,
      this.everyButton,
      this.everyInput,
      this.overButton,
      this.saveButton,
    ]);
    // ComfyUI leaves Ctrl+Z to text fields, whatever else has the focus it undoes itself.
    this.keys = element("textarea", "ecad-keys");
    this.keys.readOnly = true;
    this.keys.setAttribute(
      "aria-label",
      say("Schedule: arrow keys move, space paints, Ctrl+Z undoes"),
    );
    const map = element("div", "ecad-map", [this.keys, canvas]);
    this.element = element("div", "ecad-view ecad-editor", [
      this.state,
      buttons,
      map,
      this.detail,
    ]);
    this.element.dataset.ecad = "editor";

    this.surface = surfaceOn(canvas, (...given) => this.draw(...given), signal);
    canvas.addEventListener("pointerdown", (event) => this.press(event), on);
    canvas.addEventListener("pointermove", (event) => this.move(event), on);
    canvas.addEventListener("pointerup", () => this.release(), on);
    canvas.addEventListener("pointercancel", () => this.abandon(), on);
    canvas.addEventListener("pointerleave", () => this.point(null), on);
    this.element.addEventListener("keydown", (event) => this.pressKey(event), on);
  }

  /** Read the host again; a stroke that is being painted does so at its end. */
  refresh() {
    if (this.stroke) return;
    const text = this.host.text();
    this.history = this.host.history(text, this.history);
    this.problem = "";
    this.document = null;
    const shown = text || this.startText();
    try {
      if (shown) this.document = documentOf(shown, this.host.architectures());
    } catch (error) {
      const why = /** @type {Error} */ (error).message;
      this.problem = say("The schedule cannot be shown: {why}.", { why });
    }
    this.bits = this.document?.bits ?? null;
    if (!this.bits) this.hover = null;
    const start = this.host.start();
    if (!shown && !start.linked) {
      if (this.asked !== JSON.stringify(start)) void this.read(start);
      this.problem = this.refusal;
    }
    this.update();
  }

  /**
   * Ask for a start that the browser does not know, once.
   * @param {Start} start
   */
  async read(start) {
    const asked = JSON.stringify(start);
    this.asked = asked;
    this.refusal = "";
    const answer = await this.host.read(start).catch((/** @type {Error} */ { message }) => message);
    if (this.signal.aborted || this.asked !== asked) return; // another one is asked for by now
    if (typeof answer === "string") this.refusal = answer;
    else this.startView = answer;
    this.refresh();
  }

  /**
   * What the node sent after a run.
   * @param {any} view
   */
  show(view) {
    this.view = view;
    if (view.start) this.startView = view;
    this.note = "";
    if (this.waiting === "save" && view.saved) this.host.saved();
    this.waiting = "";
    this.refresh();
  }

  /** @param {string} message of a run that failed */
  fail(message) {
    if (!this.waiting) return;
    this.waiting = "";
    this.note = message;
    this.update();
  }

  /** The text of what to edit, as far as it is known without a run. */
  startText() {
    const { start, steps, linked } = this.host.start();
    const id = start.startsWith(NEW) ? start.slice(NEW.length) : "";
    const architectures = this.host.architectures();
    if (!linked && Object.hasOwn(architectures, id))
      return newDocument(id, architectures[id], steps || USUAL_STEPS);
    const { start: from, document } = this.startView ?? {};
    const same = from && from.linked === linked && from.steps === steps;
    return same && (linked || from.start === start) ? (document ?? "") : "";
  }

  /** Give the edits up, which can be undone, and take the start. */
  async load() {
    this.asked = "";
    this.startView = null; // the file may be another now
    if (this.host.text()) this.commit("");
    else this.refresh();
    if (this.host.start().linked) await this.run("load");
  }

  async save() {
    if (!this.host.name().trim()) {
      this.note = say("Write a name above first: it is saved as my/<name>.");
      return this.update();
    }
    await this.run("save");
  }

  /** @param {"load" | "save"} what */
  async run(what) {
    this.waiting = what;
    this.note =
      what === "load"
        ? say("Reading the wired schedule, when the queue comes to it …")
        : say("Saving, when the queue comes to it …");
    this.update();
    const accepted = await this.host.run();
    if (!accepted && this.waiting === what)
      this.fail(say("ComfyUI refused it; its message says why."));
  }

  undo() {
    if (this.history.undo()) this.write();
  }

  redo() {
    if (this.history.redo()) this.write();
  }

  /** @param {string} text */
  commit(text) {
    this.history.push(text);
    this.write();
  }

  write() {
    this.note = "";
    this.host.write(this.history.present);
    this.refresh();
  }

  /** @param {(bits: ScheduleBits) => void} change */
  repaint(change) {
    if (!this.document) return;
    const { groups, steps, bits } = this.document.bits;
    const after = new ScheduleBits({ groups, steps, compute: bits.slice() });
    change(after);
    if (after.bits.some((bit, i) => bit !== bits[i]))
      this.commit(painted(this.document, after.bits));
  }

  every() {
    return Math.min(Math.max(Math.round(Number(this.everyInput.value)) || 2, 2), 99);
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button !== 0 || !this.bits || !this.layout || !this.document) return;
    this.keys.focus({ preventScroll: true });
    event.preventDefault(); // the canvas must not take the focus away again
    const zone = this.zoneOf(event);
    if (!zone) return;
    if (event.shiftKey && zone.step < 0 && zone.block < 0)
      return this.repaint((bits) => paintEvery(bits, zone, this.every()));
    this.canvas.setPointerCapture(event.pointerId);
    const { groups, steps, bits } = this.document.bits;
    this.bits = new ScheduleBits({ groups, steps, compute: bits.slice() });
    const value = clickedValue(this.bits, zone);
    this.stroke = { first: zone, last: zone, value, before: bits };
    this.move(event);
  }

  /** @param {PointerEvent} event */
  move(event) {
    const at = placeOn(this.canvas, event);
    const { bits, layout, stroke } = this;
    if (stroke && bits && layout) {
      const zones = this.zonesBetween(this.at, at, event).filter((zone) =>
        alike(zone, stroke.first),
      );
      if (event.shiftKey && isCell(stroke.first)) {
        stroke.last = zones.findLast((zone) => sameMap(zone, stroke.first)) ?? stroke.last;
        bits.bits.set(stroke.before);
        for (const zone of rectangle(stroke.first, stroke.last))
          paintZone(bits, zone, stroke.value);
      } else {
        paintZone(bits, stroke.first, stroke.value);
        for (const zone of zones) paintZone(bits, zone, stroke.value);
      }
    }
    this.point(at, event);
  }

  release() {
    const { stroke, bits, document } = this;
    this.stroke = null;
    if (!stroke || !bits || !document) return;
    if (bits.bits.some((bit, i) => bit !== stroke.before[i]))
      this.commit(painted(document, bits.bits));
    else this.refresh();
  }

  abandon() {
    this.stroke = null;
    this.refresh();
  }

  /**
   * The zones under a line from one place to another: a pointer skips cells when it is fast.
   * @param {[number, number]} from
   * @param {[number, number]} to
   * @param {PointerEvent} event
   * @returns {Zone[]}
   */
  zonesBetween(from, to, event) {
    const { bits, layout } = this;
    if (!bits || !layout) return [];
    const count = Math.min(Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / 2), 1000);
    /** @type {Zone[]} */
    const found = [];
    for (let i = 0; i <= count; i++) {
      const share = count ? i / count : 1;
      const x = from[0] + share * (to[0] - from[0]);
      const y = from[1] + share * (to[1] - from[1]);
      const zone = zoneAt(bits, layout, x, y);
      if (zone) found.push(widened(zone, event));
    }
    return found;
  }

  /** @param {PointerEvent} event */
  zoneOf(event) {
    this.at = placeOn(this.canvas, event);
    return this.zonesBetween(this.at, this.at, event)[0] ?? null;
  }

  /**
   * @param {[number, number] | null} at
   * @param {PointerEvent} [event]
   */
  point(at, event) {
    const zone = at && this.bits && this.layout ? zoneAt(this.bits, this.layout, ...at) : null;
    this.hover = zone && event ? widened(zone, event) : zone;
    if (at) this.at = at;
    this.canvas.style.cursor = !zone ? "" : isCell(zone) ? "crosshair" : "pointer";
    if (this.stroke) this.update();
    else this.redraw();
  }

  /** @param {KeyboardEvent} event */
  pressKey(event) {
    if (event.target === this.everyInput) return;
    if (event.target !== this.keys) {
      // Before the letter comes: the focus on a text field keeps ComfyUI's own undo away.
      if (event.key === "Control" || event.key === "Meta") this.keys.focus({ preventScroll: true });
      return;
    }
    const letter = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && !event.altKey) {
      if (letter === "z" && !event.shiftKey) this.undo();
      else if (letter === "y" || letter === "z") this.redo();
      else return;
    } else if (event.key in ARROWS) this.step(ARROWS[event.key]);
    else if (event.key === " " && this.hover) {
      const zone = this.hover;
      this.repaint((bits) => paintZone(bits, zone, clickedValue(bits, zone)));
    } else if (event.key === "Escape" && this.stroke) this.abandon();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * Move the cell that the keys paint.
   * @param {[number, number]} by steps and blocks
   */
  step([across, down]) {
    const { bits } = this;
    if (!bits || !this.layout) return;
    const zone = { ...CORNER };
    if (this.hover && isCell(this.hover)) {
      Object.assign(zone, this.hover);
      zone.step += across;
      zone.block += down;
    }
    const blocks = bits.groups[zone.group][1];
    const parts = bits.groups[zone.group][2].length;
    // Over the edge of a panel into the next one.
    if (zone.step >= bits.steps && zone.component + 1 < parts)
      Object.assign(zone, { step: 0, component: zone.component + 1 });
    if (zone.step < 0 && zone.component > 0)
      Object.assign(zone, { step: bits.steps - 1, component: zone.component - 1 });
    if (zone.block >= blocks && zone.group + 1 < bits.groups.length) {
      const last = bits.groups[zone.group + 1][2].length - 1;
      const component = Math.min(zone.component, last);
      Object.assign(zone, { block: 0, group: zone.group + 1, component });
    }
    if (zone.block < 0 && zone.group > 0) {
      const [, count, above] = bits.groups[zone.group - 1];
      const component = Math.min(zone.component, above.length - 1);
      Object.assign(zone, { block: count - 1, group: zone.group - 1, component });
    }
    zone.step = Math.min(Math.max(zone.step, 0), bits.steps - 1);
    zone.block = Math.min(Math.max(zone.block, 0), bits.groups[zone.group][1] - 1);
    this.hover = zone;
    const { group, component } = zone;
    const panel = this.layout.panels.find((p) => p.group === group && p.component === component);
    if (panel)
      this.at = [
        panel.left + ((zone.step + 0.5) * panel.width) / bits.steps,
        panel.top + ((zone.block + 0.5) * panel.height) / bits.groups[group][1],
      ];
    this.redraw();
  }

  /** What is known of the costs of this document. */
  costs() {
    const architectures = this.host.architectures();
    const id = this.document?.architecture ?? "";
    if (Object.hasOwn(architectures, id)) return architectures[id];
    return [this.view, this.startView].find((view) => view?.architecture === id) ?? null;
  }

  update() {
    const { bits, document, host } = this;
    const text = host.text();
    const { start, linked } = host.start();
    const costs = this.costs();
    const missing = bits ? bits.bits.subarray(0, bits.cells).filter((bit) => !bit).length : 0;
    const data = this.element.dataset;
    this.useless = bits && costs && !document?.forecasts ? uselessCells(bits, costs) : null;
    const lost = this.useless?.reduce((n, bit) => n + bit, 0) ?? 0;

    let words = "";
    data.speedup = "";
    if (this.problem) {
      data.state = "unreadable";
      words = this.problem;
    } else if (!bits) {
      data.state = "waiting";
      words = linked
        ? say("A schedule is wired in; Load shows it.")
        : say("Reading {start} …", { start });
    } else {
      const facts = [
        sayCount("{n} step", "{n} steps", bits.steps),
        say("{share} computed", { share: percent(bits.computed()) }),
      ];
      if (costs) {
        const times = (1 / relativeCost(bits, costs)).toFixed(2);
        data.speedup = times;
        facts.push(say("{times}x fewer MACs", { times }));
      }
      data.state = missing ? "invalid" : "valid";
      words = missing
        ? sayCount(
            "Not valid: {n} cell reuses in the first step, which must compute everything",
            "Not valid: {n} cells reuse in the first step, which must compute everything",
            missing,
          )
        : [say("Valid"), ...facts].join(" · ");
    }
    data.computed = bits ? String(bits.computed()) : "";
    data.edited = String(Boolean(text));
    data.note = this.note;
    this.state.textContent = words;
    this.state.title = document ? `${document.name}\n${words}` : words;
    const { view } = this;
    const isSaved = bits && view?.saved && packed(bits.bits) === view.compute;
    data.saved = isSaved ? view.saved : "";
    const details = [
      this.note || (isSaved ? say("Saved as {name}", { name: view.saved }) : ""),
      lost
        ? sayCount(
            "{n} computed cell changes nothing (holes)",
            "{n} computed cells change nothing (holes)",
            lost,
          )
        : "",
    ].filter(Boolean);
    const hint = say(
      "Drag paints · Shift: rectangle · Alt: whole blocks · " +
        "click heads and names: lines, components",
    );
    this.detail.textContent = details.join(" · ") || hint;
    this.detail.title = hint;

    this.undoButton.disabled = this.history.past.length === 0;
    this.redoButton.disabled = this.history.future.length === 0;
    this.allButton.disabled = this.everyButton.disabled = !bits;
    const isNew = !linked && start.startsWith(NEW);
    this.overButton.textContent = text || isNew ? say("Start over") : say("Load");
    this.overButton.title = linked
      ? say("Take the wired schedule; Undo brings edits back")
      : say("Take {start}; Undo brings edits back", { start });
    this.overButton.disabled = !text && isNew;
    this.saveButton.disabled = data.state !== "valid" || this.waiting === "save";
    this.saveButton.title = say("Write it into models/ecad_schedules, for the ECAD Cache Loader");
    this.redraw();
  }

  redraw() {
    const data = this.element.dataset;
    data.hover = this.hover ? Object.values(this.hover).join(" ") : "";
    const { accent, bad, good } = themeOf(this.element);
    for (const [name, colour] of Object.entries({ accent, bad, good }))
      this.element.style.setProperty(`--ecad-${name}`, colour);
    this.surface.redraw();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  draw(context, width, height) {
    const { bits, hover, useless } = this;
    this.element.dataset.drawn = String(Boolean(bits));
    if (!bits) return;
    const theme = themeOf(this.element);
    this.layout = layoutOf(bits, width, height);
    drawZones(context, bits, theme, this.layout, { hover, useless });
    if (!hover || this.stroke) return;
    const lines = zoneLines(bits, hover, { useless, every: this.every() });
    drawTip(context, theme, lines, this.at, [width, height]);
  }
}

const EVERYTHING = { step: -1, group: -1, block: -1, component: -1 };
const CORNER = { step: 0, group: 0, block: 0, component: 0 };
/** @type {Record<string, [number, number]>} steps and blocks */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * With Alt, a cell stands for all components of its block.
 * @param {Zone} zone
 * @param {{altKey: boolean}} event
 * @returns {Zone}
 */
const widened = (zone, { altKey }) => (altKey && isCell(zone) ? { ...zone, component: -1 } : zone);

/**
 * @param {Zone} zone
 * @param {Zone} other
 */
const sameMap = (zone, other) =>
  zone.group === other.group && zone.component === other.component;

/**
 * The cells of a panel between two corners.
 * @param {Zone} first
 * @param {Zone} last
 * @returns {Zone[]}
 */
function rectangle(first, last) {
  const steps = [first.step, last.step].sort((a, b) => a - b);
  const blocks = [first.block, last.block].sort((a, b) => a - b);
  /** @type {Zone[]} */
  const found = [];
  for (let step = steps[0]; step <= steps[1]; step++)
    for (let block = blocks[0]; block <= blocks[1]; block++) found.push({ ...first, step, block });
  return found;
}
