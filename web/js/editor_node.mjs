// @ts-check
/** Puts the schedule editor on its node: where it reads and writes, and how it runs. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { EditHistory } from "./edit_history.mjs";
import { pathsOf, rootGraph } from "./graph_places.mjs";
import { putOnNode } from "./node_widget.mjs";
import { ScheduleEditor } from "./schedule_editor.mjs";
import { say } from "./words.mjs";

/** @typedef {import("./stored_views.mjs").View} View */

const HEIGHT = 320; // of the editor, at least
const ROOM = [600, 160]; // width of a new node, and what the editor gets on top of its least height
const MOST_HISTORIES = 50;

/** By workflow and node, since ComfyUI makes nodes anew. @type {Map<string, EditHistory>} */
const histories = new Map();

export class EditorHolder {
  /** @param {any} node */
  constructor(node) {
    this.node = node;
    this.controller = new AbortController();
    this.panel = null;
    /** @type {View | null} */
    this.view = null;
    const { signal } = this.controller;
    const edited = this.widget("edited");
    edited.hidden = true;
    edited.options = { ...edited.options, hidden: true }; // Nodes 2.0 looks there
    edited.computeSize = () => [0, -4]; // less the gap between widgets
    this.editor = new ScheduleEditor(signal, this.host(edited));
    const need = () => ({ height: HEIGHT, grows: true });
    putOnNode(node, "ecad_editor", this.editor.element, need, signal);
    const [width, height] = node.computeSize();
    node.setSize([Math.max(width, ROOM[0]), height + ROOM[1]]);
    for (const name of ["start", "steps"]) this.follow(this.widget(name));

    const onError = (/** @type {any} */ { detail }) => {
      if (pathsOf(node).includes(String(detail.node_id)))
        this.editor.fail(detail.exception_message);
    };
    api.addEventListener("execution_error", onError, { signal });
    const onStop = () => this.editor.fail(say("Stopped before it ran."));
    api.addEventListener("execution_interrupted", onStop, { signal });
  }

  /** @param {View} view */
  show(view) {
    if (!view.schedule || this.controller.signal.aborted) return;
    this.view = view;
    this.editor.show(view.schedule);
  }

  redraw() {
    this.editor.redraw();
  }

  settle() {
    if (!this.controller.signal.aborted) this.editor.refresh();
  }

  stop() {}

  /**
   * @param {any} edited the widget that the workflow file keeps
   * @returns {import("./schedule_editor.mjs").Host}
   */
  host(edited) {
    const { node } = this;
    return {
      text: () => String(edited.value ?? ""),
      write(text) {
        edited.value = text;
        edited.callback?.(text);
        node.setDirtyCanvas?.(true, true);
        app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.checkState?.();
      },
      start: () => {
        const slot = node.findInputSlot("schedule");
        return {
          start: String(this.widget("start").value),
          steps: Number(this.widget("steps").value) || 0,
          linked: slot >= 0 && node.isInputConnected(slot),
        };
      },
      name: () => String(this.widget("name").value ?? ""),
      async read({ start, steps }) {
        const query = new URLSearchParams({ name: start, steps: String(steps) });
        const answer = await api.fetchApi(`/ecad/schedules/start?${query}`);
        const found = await answer.json();
        if (!answer.ok) throw new Error(found.error);
        return found;
      },
      async run() {
        const [path] = pathsOf(node);
        if (path === undefined) return false;
        await app.queuePrompt(-1, 1, [path]); // what it returns differs between releases
        return Object.keys(app.lastNodeErrors ?? {}).length === 0;
      },
      history: (text, own) => historyOf(node, text, own),
      saved: () => void app.refreshComboInNodes?.(),
      architectures: () =>
        node.constructor.nodeData?.input?.required?.edited?.[1]?.ecad_architectures ?? {},
    };
  }

  /** @param {string} name */
  widget(name) {
    return this.node.widgets.find((/** @type {any} */ widget) => widget.name === name);
  }

  /**
   * Read the start again when this widget changes.
   * @param {any} widget
   */
  follow(widget) {
    const { callback } = widget;
    widget.callback = (/** @type {any[]} */ ...given) => {
      const answer = callback?.apply(widget, given);
      this.settle();
      return answer;
    };
  }
}

/**
 * @param {any} node
 * @param {string} text
 * @param {EditHistory} own what its editor has so far
 */
function historyOf(node, text, own) {
  const path = node.graph ? pathsOf(node)[0] : undefined;
  const key = path === undefined ? "" : `${rootGraph().id}/${path}`;
  const kept = histories.get(key);
  if (kept?.present === text) return kept;
  const history = own.present === text ? own : new EditHistory(text);
  if (key) {
    histories.delete(key); // so that the newest is the last
    histories.set(key, history);
    if (histories.size > MOST_HISTORIES) histories.delete([...histories.keys()][0]);
  }
  return history;
}
