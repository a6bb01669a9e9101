// @ts-check
/** Where nodes are: ids in messages name the way through the subgraphs, as "4:3". */

import { app } from "../../../scripts/app.js";

/** The graph that holds all others; a saved workflow has its id. */
export const rootGraph = () => app.rootGraph ?? app.graph?.rootGraph ?? app.graph;

/**
 * @param {string} path the id in a message
 * @returns {any | null} the node, null when this workflow has none there
 */
export function nodeAt(path) {
  let graph = rootGraph();
  let node = null;
  for (const id of String(path).split(":")) {
    node = graph?.getNodeById(Number.isNaN(Number(id)) ? id : Number(id)) ?? null;
    graph = node?.subgraph;
  }
  return node;
}

/**
 * The ids that messages about a node may have: one for each instance of the subgraph it is in.
 * @param {any} node
 * @returns {string[]}
 */
export function pathsOf(node) {
  /** @type {string[]} */
  const found = [];
  /** @type {(graph: any, before: string, above: any[]) => void} */
  const walk = (graph, before, above) => {
    if (!graph || above.includes(graph)) return;
    for (const other of graph.nodes ?? graph._nodes ?? []) {
      if (other === node) found.push(`${before}${other.id}`);
      else if (other.subgraph) walk(other.subgraph, `${before}${other.id}:`, [...above, graph]);
    }
  };
  walk(rootGraph(), "", []);
  return found;
}

/**
 * Whether a node is in the workflow that is open: of nodes in subgraphs ComfyUI does not say that
 * they are gone when another one is loaded.
 * @param {any} node
 */
export function isHere(node) {
  const root = rootGraph();
  if (!node.graph || node.graph === root || !root.subgraphs) return Boolean(node.graph);
  return root.subgraphs.get(node.graph.id) === node.graph;
}

/**
 * The name under which ComfyUI keeps a node's outputs.
 * @param {any} node
 */
export function locatorOf(node) {
  return node.graph && node.graph !== rootGraph() ? `${node.graph.id}:${node.id}` : String(node.id);
}
