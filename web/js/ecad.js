// @ts-check
/**
 * What ComfyUI loads in the browser: the live panel of ECAD Search, and the schedule on every node
 * that holds one. Both are drawn from what the nodes send; nothing is asked of a route of ours.
 */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { element, loadStyles } from "./dom.mjs";
import { addApply, addSave } from "./followers.mjs";
import { locatorOf, nodeAt, pathsOf, rootGraph } from "./graph_places.mjs";
import { putOnNode } from "./node_widget.mjs";
import { ScheduleBox } from "./schedule_box.mjs";
import { SearchPanel } from "./search_panel.mjs";
import { fromHistory, keep, kept, viewIn } from "./stored_views.mjs";
import { onThemeChange } from "./theme.mjs";

/** @typedef {import("./stored_views.mjs").View} View */

const EVENT = "ecad.search";
const SEARCH = "ECAD_Search";
/**
 * Nodes that hold a schedule, and whether its map is open at first.
 * @type {Record<string, boolean>}
 */
const HOLDERS = {
  ECAD_CacheLoader: false,
  ECAD_ApplySchedule: false,
  ECAD_SchedulePreview: false,
  ECAD_PickFromFront: true,
  ECAD_ImportSchedule: true,
};
const MAP_HEIGHT = 190; // least heights of a schedule, open and closed
const LINE_HEIGHT = 28;

/**
 * What lives as long as a node; `show` draws, `view` is what was drawn.
 * @typedef {object} Living
 * @property {AbortController} controller
 * @property {View | null} view
 * @property {(view: View) => void} show
 * @property {() => void} redraw
 * @property {SearchPanel | null} panel
 */

/** The views of the nodes that exist now. @type {Map<any, Living>} */
export const living = new Map();
/**
 * Nodes that were removed a moment ago.
 * @type {{type: string, id: unknown, view: View, workflow: string}[]}
 */
let departed = [];
/** Workflows whose history was read. @type {Set<string>} */
const remembered = new Set();

app.registerExtension({
  name: "ComfyUI-ECAD.views",

  setup() {
    loadStyles();
    api.addEventListener(EVENT, (/** @type {any} */ { detail }) => onSearchEvent(detail));
    for (const end of ["execution_interrupted", "execution_error", "execution_success"])
      api.addEventListener(end, () => living.forEach(({ panel }) => panel?.stop()));
  },

  /** @param {any} node */
  nodeCreated(node) {
    const type = node.comfyClass ?? node.type;
    if (type !== SEARCH && !(type in HOLDERS)) return;
    const life = type === SEARCH ? searchLife(node) : holderLife(node, HOLDERS[type]);
    const { signal } = life.controller;
    // ComfyUI makes nodes for a moment too, to copy others; they are in no graph and live not.
    chain(node, "onAdded", () => {
      if (signal.aborted || living.has(node)) return;
      living.set(node, life);
      onThemeChange(() => life.redraw(), signal);
      queueMicrotask(() => restore(node, life)); // by then it is configured
    });
    chain(node, "onExecuted", (output) => {
      const view = viewIn(output);
      if (view) take(node, life, view);
    });
    chain(node, "onRemoved", () => {
      life.controller.abort();
      living.delete(node);
      if (!life.view) return;
      departed.push({ type, id: node.id, view: life.view, workflow: rootGraph()?.id });
      setTimeout(() => (departed = []), 0);
    });
  },

  afterConfigureGraph() {
    living.forEach((life, node) => restore(node, life));
    void remember();
  },

  /** @param {Record<string, any>} outputs */
  onNodeOutputsUpdated(outputs) {
    living.forEach((life, node) => {
      const view = viewIn(outputs?.[locatorOf(node)]);
      if (view && node.graph && life.panel?.state !== "running") life.show(view);
    });
  },
});

/**
 * @param {any} node
 * @returns {Living}
 */
function searchLife(node) {
  const controller = new AbortController();
  const { signal } = controller;
  const panel = new SearchPanel(signal, {
    actions: { apply: (point) => addApply(node, point), save: (point) => addSave(node, point) },
    onResize: () => fit(),
  });
  const need = () => ({ height: panel.minHeight(), grows: true });
  const { fit } = putOnNode(node, "ecad_panel", panel.element, need, signal);
  /** @type {Living} */
  const life = {
    controller,
    panel,
    view: null,
    show(view) {
      if (!view.search) return;
      life.view = view;
      panel.show(view.search, { live: Boolean(view.live) });
    },
    redraw: () => panel.redraw(),
  };
  return life;
}

/**
 * The widget is made when there is something to show: until then the node is as without us.
 * @param {any} node
 * @param {boolean} open
 * @returns {Living}
 */
function holderLife(node, open) {
  const controller = new AbortController();
  const { signal } = controller;
  /** @type {ScheduleBox | null} */
  let box = null;
  const make = () => {
    let fit = () => {};
    const made = new ScheduleBox(signal, { open, onToggle: () => fit() });
    const frame = element("div", "ecad-view", [made.element]);
    frame.dataset.ecad = "schedule";
    const need = () => ({ height: made.open ? MAP_HEIGHT : LINE_HEIGHT, grows: made.open });
    ({ fit } = putOnNode(node, "ecad_schedule", frame, need, signal));
    return made;
  };
  /** @type {Living} */
  const life = {
    controller,
    panel: null,
    view: null,
    show(view) {
      if (!view.schedule || signal.aborted) return;
      life.view = view;
      box ??= make();
      box.show(view.schedule);
    },
    redraw: () => box?.redraw(),
  };
  return life;
}

/**
 * Draw what arrived and keep it for a node that takes this one's place.
 * @param {any} node
 * @param {Living} life
 * @param {View} view
 */
function take(node, life, view) {
  life.show(view);
  for (const path of pathsOf(node)) keep(rootGraph().id, path, view);
}

/** @param {any} detail */
function onSearchEvent(detail) {
  const workflow = detail.workflow_id ?? rootGraph().id;
  const view = { search: detail, live: true };
  keep(workflow, String(detail.node_id), view);
  if (workflow === rootGraph().id) living.get(nodeAt(detail.node_id))?.show(view);
}

/**
 * Draw what this node showed before it was made anew, as on undo, in another tab, in a subgraph.
 * @param {any} node
 * @param {Living} life
 */
function restore(node, life) {
  if (life.view || !node.graph || life.controller.signal.aborted) return;
  const view =
    kept(rootGraph().id, pathsOf(node)) ??
    viewIn(app.nodeOutputs?.[locatorOf(node)]) ??
    moved(node)?.view;
  if (view) take(node, life, view);
}

/**
 * What was removed in this very task and may be the same node: it went into a subgraph, where it is
 * made anew, in newer releases under another id.
 * @param {any} node
 */
function moved(node) {
  const alike = departed.filter(
    ({ type, workflow }) => type === node.type && workflow === rootGraph().id,
  );
  return alike.find(({ id }) => id === node.id) ?? (alike.length === 1 ? alike[0] : undefined);
}

/** Draw what the server's history has, once for each workflow: the page was reloaded. */
async function remember() {
  const workflow = rootGraph()?.id;
  const waiting = () => [...living].filter(([node, life]) => !life.view && node.graph);
  if (!workflow || remembered.has(workflow) || waiting().length === 0) return;
  remembered.add(workflow);
  const views = await fromHistory(workflow).catch(() => new Map());
  if (rootGraph().id !== workflow) return void remembered.delete(workflow);
  for (const [node, life] of waiting()) {
    const path = pathsOf(node).find((candidate) => views.has(candidate));
    if (path !== undefined) take(node, life, views.get(path));
  }
}

/**
 * Call `also` after the node's own handler.
 * @param {any} node
 * @param {string} name
 * @param {(argument: any) => void} also
 */
function chain(node, name, also) {
  const own = node[name];
  node[name] = function (/** @type {any[]} */ ...given) {
    const answer = own?.apply(this, given);
    also(given[0]);
    return answer;
  };
}
