// @ts-check
/**
 * Which model a node is wired to, as far as a browser can know: what the last run said of the node
 * that loads it, remembered by that node's type and its file.
 */

import { rootGraph } from "./graph_places.mjs";

/**
 * @typedef {object} Met a model as a run met it
 * @property {string} fits
 * @property {string} model
 *
 * @typedef {{node: any, slot: number}} Source
 */

const STORE = "ecad.models";
const MOST = 60;
const FARTHEST = 200; // nodes between the loader and here
/** Models that come with the pack. @type {Record<string, Met>} */
const ALWAYS = {
  "ECAD_DemoModel|Emoji-PixArt (96 px, 10 blocks)": {
    fits: "pixart:blocks=10:",
    model: "PixArt with 10 blocks",
  },
  "ECAD_DemoModel|Emoji-FLUX (96 px, 3 + 6 blocks)": {
    fits: "flux:double_blocks=3,single_blocks=6:",
    model: "FLUX with 3 double blocks and 6 single blocks",
  },
};

/**
 * @param {any} node with an input "model"
 * @returns {Met | null}
 */
export function metModel(node) {
  const loader = loaderOf(node);
  if (!loader) return null;
  const name = nameOf(loader);
  return ALWAYS[name] ?? stored()[name] ?? null;
}

/**
 * @param {any} node
 * @param {Met} met
 */
export function rememberModel(node, { fits, model }) {
  const loader = loaderOf(node);
  if (!loader) return;
  const { [nameOf(loader)]: _, ...others } = stored();
  const kept = Object.entries({ ...others, [nameOf(loader)]: { fits, model } }).slice(-MOST);
  try {
    localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(kept)));
  } catch {
    // a full or forbidden store: the list is in another order, no more
  }
}

/** @returns {Record<string, Met>} */
function stored() {
  try {
    return JSON.parse(localStorage.getItem(STORE) ?? "{}") ?? {};
  } catch {
    return {};
  }
}

/**
 * What tells a loader's model from those of others: its type and what is chosen on it.
 * @param {any} loader
 */
function nameOf(loader) {
  const chosen = (loader.widgets ?? [])
    .filter((/** @type {any} */ widget) => widget.type === "combo")
    .map((/** @type {any} */ widget) => String(widget.value));
  return [loader.type, ...chosen].join("|");
}

/**
 * The node where the models that a node gets come from: the first one up its links without a model
 * for input.
 * @param {any} node
 * @returns {any | null}
 */
export function loaderOf(node) {
  let found = null;
  let above = upstream(node, "model");
  for (let i = 0; above && i < FARTHEST; i++) {
    found = above.node;
    above = upstream(found);
  }
  return found;
}

/**
 * @param {any} node
 * @param {string} [name] of the input; else the first that takes a model or anything, as reroutes
 * @returns {Source | null}
 */
function upstream(node, name) {
  const inputs = node.inputs ?? [];
  const wanted = (/** @type {any} */ input) =>
    name ? input.name === name : input.type === "MODEL" || (input.type === "*" && !input.widget);
  const slot = inputs.findIndex(wanted);
  return slot < 0 ? null : behind(node.graph, linkTo(node, slot));
}

/**
 * The node at a link's beginning, through the edges of subgraphs.
 * @param {any} graph
 * @param {any} link
 * @returns {Source | null}
 */
function behind(graph, link) {
  if (!graph || !link) return null;
  if (link.origin_id === graph.inputNode?.id) {
    const holder = holderOf(graph);
    return holder ? behind(holder.graph, linkTo(holder, link.origin_slot)) : null;
  }
  const node = graph.getNodeById(link.origin_id);
  if (!node?.subgraph) return node ? { node, slot: link.origin_slot } : null;
  const inner = node.subgraph.outputs?.[link.origin_slot]?.linkIds?.[0];
  return behind(node.subgraph, node.subgraph.getLink?.(inner) ?? node.subgraph.links?.get?.(inner));
}

/**
 * The link that ends at an input, in the node's own graph: nodes that stand for subgraphs have
 * another answer, for the host's own use.
 * @param {any} node
 * @param {number} slot
 */
function linkTo(node, slot) {
  const { getInputLink } = globalThis.LiteGraph?.LGraphNode?.prototype ?? node;
  return getInputLink?.call(node, slot) ?? null;
}

/**
 * The first node that stands for a subgraph.
 * @param {any} graph
 */
function holderOf(graph) {
  /** @type {(within: any, depth: number) => any} */
  const search = (within, depth) => {
    if (depth > 20) return null;
    for (const node of within.nodes ?? within._nodes ?? []) {
      if (node.subgraph === graph) return node;
      const deeper = node.subgraph && search(node.subgraph, depth + 1);
      if (deeper) return deeper;
    }
    return null;
  };
  return search(rootGraph(), 0);
}
