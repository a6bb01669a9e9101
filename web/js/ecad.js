// @ts-check
/**
 * What ComfyUI loads in the browser: the live panel of ECAD Search, the schedule editor, and the
 * schedule, its runs and their pictures on the nodes that have them. They are drawn from what the
 * nodes send; of routes of ours only the list of schedules, an editor's start and where searches
 * stand are asked.
 */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { loadStyles } from "./dom.mjs";
import { EditorHolder } from "./editor_node.mjs";
import { addApply, addSave } from "./followers.mjs";
import { isHere, locatorOf, nodeAt, pathsOf, rootGraph } from "./graph_places.mjs";
import { putOnNode } from "./node_widget.mjs";
import { PicturesHolder, ScheduleHolder } from "./schedule_holder.mjs";
import { readNames } from "./schedule_names.mjs";
import { SearchPanel } from "./search_panel.mjs";
import { fromHistory, fromSearches, keep, kept, viewIn } from "./stored_views.mjs";
import { onThemeChange } from "./theme.mjs";

/** @typedef {import("./stored_views.mjs").View} View */

const EVENT = "ecad.search";
const RUN_EVENT = "ecad.run";
const SEARCH = "ECAD_Search";
const LOADER = "ECAD_CacheLoader";
const PICTURES = "ECAD_CompareImages";
const EDITOR = "ECAD_ScheduleEditor";
const LONGEST_WAIT = 3000; // ms for the list of schedules; then the page goes on without it
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

/**
 * What lives as long as a node; `show` draws, `view` is what was drawn.
 * @typedef {object} Living
 * @property {AbortController} controller
 * @property {View | null} view
 * @property {(view: View) => void} show
 * @property {() => void} redraw
 * @property {() => void} settle the graph, the list or the wires are others now
 * @property {() => void} stop nothing runs any more
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

  async setup() {
    loadStyles();
    api.addEventListener(EVENT, (/** @type {any} */ { detail }) => onSearchEvent(detail));
    api.addEventListener(RUN_EVENT, (/** @type {any} */ { detail }) => onRunEvent(detail));
    for (const end of ["execution_interrupted", "execution_error", "execution_success"])
      api.addEventListener(end, () => living.forEach((life) => life.stop()));
    // Nodes 2.0 asks what the entries of a list are called once, when it first draws the node.
    await Promise.race([readNames(), new Promise((go) => setTimeout(go, LONGEST_WAIT))]);
  },

  /** R was pressed. */
  async refreshComboInNodes() {
    await readNames();
  },

  /** @param {any} node */
  nodeCreated(node) {
    const type = node.comfyClass ?? node.type;
    const life = lifeOf(node, type);
    if (!life) return;
    const { signal } = life.controller;
    // ComfyUI makes nodes for a moment too, to copy others; they are in no graph and live not.
    chain(node, "onAdded", () => {
      if (signal.aborted || living.has(node)) return;
      living.set(node, life);
      onThemeChange(() => life.redraw(), signal);
      queueMicrotask(() => {
        life.settle(); // by then it is configured
        restore(node, life);
      });
    });
    chain(node, "onConnectionsChange", () => queueMicrotask(() => node.graph && life.settle()));
    chain(node, "onExecuted", (output) => {
      const view = viewIn(output);
      if (view) take(node, life, view);
    });
    chain(node, "onRemoved", () => {
      end(node, life);
      if (!life.view) return;
      departed.push({ type, id: node.id, view: life.view, workflow: rootGraph()?.id });
      setTimeout(() => (departed = []), 0);
    });
  },

  afterConfigureGraph() {
    living.forEach((life, node) => {
      if (!isHere(node)) return end(node, life);
      life.settle();
      restore(node, life);
    });
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
 * @param {string} type
 * @returns {Living | null}
 */
function lifeOf(node, type) {
  if (type === SEARCH) return searchLife(node);
  if (type === PICTURES) return new PicturesHolder(node);
  if (type === EDITOR) return new EditorHolder(node);
  if (type in HOLDERS)
    return new ScheduleHolder(node, { open: HOLDERS[type], chooses: type === LOADER });
  return null;
}

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
    settle: () => {},
    stop: () => panel.stop(),
  };
  return life;
}

/**
 * @param {any} node
 * @param {Living} life
 */
function end(node, life) {
  life.controller.abort();
  living.delete(node);
}

/**
 * Draw what arrived and keep it for a node that takes this one's place.
 * @param {any} node
 * @param {Living} life
 * @param {View} view
 */
function take(node, life, view) {
  life.show(view);
  for (const path of pathsOf(node)) keep(rootGraph().id, path, life.view ?? view);
}

/** @param {any} detail */
function onSearchEvent(detail) {
  const workflow = detail.workflow_id ?? rootGraph().id;
  const view = { search: detail, live: true };
  keep(workflow, String(detail.node_id), view);
  if (workflow === rootGraph().id) living.get(nodeAt(detail.node_id))?.show(view);
}

/** @param {any} detail */
function onRunEvent({ node_id, workflow_id, ...run }) {
  const workflow = workflow_id ?? rootGraph().id;
  const node = workflow === rootGraph().id ? nodeAt(node_id) : null;
  const life = living.get(node);
  if (life) take(node, life, { run });
  else keep(workflow, String(node_id), { ...kept(workflow, [String(node_id)]), run });
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

/** Draw what the server has, once for each workflow: the page was reloaded. */
async function remember() {
  const workflow = rootGraph()?.id;
  const waiting = () => [...living].filter(([node, life]) => !life.view && node.graph);
  if (!workflow || remembered.has(workflow) || waiting().length === 0) return;
  remembered.add(workflow);
  const told = [fromHistory, fromSearches].map((ask) => ask(workflow).catch(() => new Map()));
  const views = new Map((await Promise.all(told)).flatMap((found) => [...found]));
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
