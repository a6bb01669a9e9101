// @ts-check
/** Adds the nodes that use one schedule of a front, wired to the search that found it. */

import { app } from "../../../scripts/app.js";
import { say } from "./words.mjs";

const GAP = 60;

/** @typedef {import("./front_chart.mjs").Point} Point */

/**
 * Pick from ECAD Front and Apply ECAD Schedule, with the model that the search is wired to.
 * @param {any} search
 * @param {Point} point
 */
export function addApply(search, point) {
  const added = addPick(search, point, "ECAD_ApplySchedule");
  if (!added) return;
  const source = sourceOf(search, "model");
  if (source) source.node.connect(source.slot, added.last, "model");
  tell(
    say("Apply ECAD Schedule was added for {schedule}.", { schedule: point.name }),
    source
      ? say("Wire its model to your sampler.")
      : say("Wire your model through it, to your sampler."),
  );
}

/**
 * Pick from ECAD Front and Save ECAD Schedule.
 * @param {any} search
 * @param {Point} point
 */
export function addSave(search, point) {
  const added = addPick(search, point, "ECAD_SaveSchedule");
  if (!added) return;
  setWidget(added.last, "name", fileName(point));
  tell(
    say("Save ECAD Schedule was added for {schedule}.", { schedule: point.name }),
    say("Queue the workflow to write the file."),
  );
}

/**
 * @param {any} search
 * @param {Point} point
 * @param {string} type of the node behind the pick
 * @returns {{pick: any, last: any} | null}
 */
function addPick(search, point, type) {
  const { graph } = search;
  const pick = globalThis.LiteGraph.createNode("ECAD_PickFromFront");
  const last = globalThis.LiteGraph.createNode(type);
  if (!graph || !pick || !last) return null;
  graph.beforeChange?.();
  for (const node of [pick, last]) {
    node.pos = freePlace(graph, search, node);
    graph.add(node);
  }
  setWidget(pick, "by", "this schedule");
  setWidget(pick, "key", point.key);
  search.connect(0, pick, "front");
  pick.connect(0, last, "schedule");
  graph.afterChange?.();
  app.canvas?.selectItems?.([pick, last]);
  graph.setDirtyCanvas(true, true);
  return { pick, last };
}

/**
 * @param {any} node
 * @param {string} name
 * @param {string} value
 */
function setWidget(node, name, value) {
  const widget = node.widgets?.find((/** @type {any} */ w) => w.name === name);
  if (!widget) return;
  widget.value = value;
  widget.callback?.(value);
}

/**
 * The output that an input is wired to; null when there is none, or the edge of a subgraph.
 * @param {any} node
 * @param {string} name
 * @returns {{node: any, slot: number} | null}
 */
function sourceOf(node, name) {
  const input = node.findInputSlot(name);
  const link = input < 0 ? null : node.getInputLink(input);
  const source = link && node.graph.getNodeById(link.origin_id);
  return source ? { node: source, slot: link.origin_slot } : null;
}

/**
 * Below the search, or to the right of what lies there.
 * @param {any} graph
 * @param {any} search
 * @param {any} node
 * @returns {[number, number]}
 */
function freePlace(graph, search, node) {
  const [width, height] = node.size;
  const others = graph._nodes ?? graph.nodes;
  const title = globalThis.LiteGraph.NODE_TITLE_HEIGHT;
  const y = search.pos[1] + search.size[1] + GAP;
  for (let x = search.pos[0]; ; x += GAP) {
    const taken = others.some(
      (/** @type {any} */ other) =>
        x < other.pos[0] + other.size[0] + 20 &&
        other.pos[0] < x + width + 20 &&
        y - title < other.pos[1] + other.size[1] + 10 &&
        other.pos[1] - title < y + height + 10,
    );
    if (!taken) return [x, y];
  }
}

/** @param {Point} point */
function fileName(point) {
  const speedup = `${(1 / point.cost).toFixed(2)}x`;
  return `searched-${speedup}-${point.key.slice(0, 6)}`;
}

/**
 * @param {string} summary
 * @param {string} detail
 */
function tell(summary, detail) {
  app.extensionManager?.toast?.add({ severity: "info", summary, detail, life: 6000 });
}
