// @ts-check
/** On ECAD Cache Loader: the chosen schedule by a name that speaks, and the way to the list. */

import { metModel } from "./connected_model.mjs";
import { element } from "./dom.mjs";
import { drawnByVue } from "./node_widget.mjs";
import { allNames, haveNames, labelOf, namedEntry, onNames, viewOf } from "./schedule_names.mjs";
import { grouped, pickSchedule } from "./schedule_picker.mjs";
import { say } from "./words.mjs";

const WIDGET = "schedule";
const EDGE = 40; // of the classic combo: its arrows

/** The stored value stays what it is; only what is shown of it changes. */
export class ScheduleChoice {
  /**
   * @param {any} node
   * @param {AbortSignal} signal ends it
   * @param {() => void} onChange the chosen schedule, or what is known of it, is another
   */
  constructor(node, signal, onChange) {
    this.node = node;
    this.signal = signal;
    this.onChange = onChange;
    const button = element("button", "", [say("Choose a schedule")]);
    button.type = "button";
    button.addEventListener("click", () => this.open(), { signal });
    this.note = element("div", "ecad-notes");
    this.element = element("div", "ecad-choice", [
      element("div", "ecad-buttons", [button]),
      this.note,
    ]);
    this.widget = node.widgets?.find((/** @type {any} */ widget) => widget.name === WIDGET);
    if (!this.widget) return;
    const { callback } = this.widget;
    this.widget.callback = (/** @type {any[]} */ ...given) => {
      const answer = callback?.apply(this.widget, given);
      if (!signal.aborted) this.sync();
      return answer;
    };
    this.widget.options.getOptionLabel = labelOf;
    this.widget.options.optionLabel = labelOf; // what older pages with Nodes 2.0 call it
    const click = this.widget.onClick;
    if (click)
      this.widget.onClick = (/** @type {any} */ given) => {
        const x = given.e.canvasX - node.pos[0];
        const width = this.widget.width || node.size[0];
        const arrow = x < EDGE || x > width - EDGE;
        if (arrow || drawnByVue() || !haveNames()) return click.call(this.widget, given);
        this.open();
      };
    onNames(() => this.sync(), signal);
  }

  /** What the workflow stores. */
  get value() {
    return String(this.widget?.value ?? "");
  }

  /** Whether the name comes over a link, so that it is not known before a run. */
  get linked() {
    const slot = this.node.inputs?.findIndex((/** @type {any} */ i) => i.widget?.name === WIDGET);
    return slot >= 0 && this.node.getInputLink?.(slot) != null;
  }

  get entry() {
    return this.linked ? null : namedEntry(this.value);
  }

  /** What the chosen schedule looks like; null where that is not known. */
  async view() {
    return this.entry ? viewOf(this.entry) : null;
  }

  /** The value, the list or the model may be another now. */
  sync() {
    if (!this.widget || !haveNames()) return;
    const names = grouped(allNames(), metModel(this.node)).flatMap(({ entries }) =>
      entries.map(({ name }) => name),
    );
    const { values } = this.widget.options;
    if (Array.isArray(values) && values.length === names.length && names.some((n, i) => n !== values[i]))
      this.widget.options.values = names;
    const note = this.linked ? "" : this.problem();
    this.note.textContent = note;
    this.note.hidden = !note;
    this.element.dataset.note = note;
    this.element.dataset.label = labelOf(this.value);
    this.onChange();
    this.node.setDirtyCanvas?.(true, true);
  }

  /** What stands in the way of a run, as far as it is known; nothing if nothing. */
  problem() {
    const { entry } = this;
    if (!this.value) return "";
    if (!entry)
      return say(
        "Not installed: {name}. Copy its file to models/ecad_schedules and press R, or choose " +
          "another.",
        { name: this.value },
      );
    if (entry.error) return entry.error;
    const met = metModel(this.node);
    if (met && entry.fits !== null && entry.fits !== met.fits)
      return say("Made for {made}; the connected model is {model}.", {
        made: entry.group,
        model: met.model,
      });
    return "";
  }

  open() {
    if (!this.widget) return;
    pickSchedule({
      chosen: this.value,
      met: metModel(this.node),
      signal: this.signal,
      onChoose: (name) => {
        const { graph } = this.node;
        graph?.beforeChange?.();
        this.widget.value = name;
        this.widget.callback?.(name);
        graph?.afterChange?.();
      },
    });
  }
}
