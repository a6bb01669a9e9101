// @ts-check
/** Puts an element on a node, in both renderers, without a trace in the workflow file. */

import { app } from "../../../scripts/app.js";
import { nodeAt, pathsOf } from "./graph_places.mjs";

const MARGIN = 6; // around the element, in the classic renderer

/** Whether nodes are drawn by Vue ("Nodes 2.0"), not on the canvas. */
export const drawnByVue = () => Boolean(globalThis.LiteGraph?.vueNodesMode);

/**
 * @param {any} node
 * @param {string} name of the widget
 * @param {HTMLElement} element
 * @param {() => {height: number, grows: boolean}} need the least height in CSS pixels, and whether
 *   more of it is of use; call `fit` when they change
 * @param {AbortSignal} signal
 * @returns {{widget: any, fit: () => void}}
 */
export function putOnNode(node, name, element, need, signal) {
  const options = {
    serialize: false,
    hideOnZoom: false,
    margin: MARGIN,
    getMinHeight: () => need().height + 2 * MARGIN,
    getMaxHeight: () => (need().grows ? undefined : need().height + 2 * MARGIN),
    getValue: () => "",
    setValue: () => {},
  };
  const widget = node.addDOMWidget(name, "ecad_view", element, options);
  widget.serialize = false;
  let grown = 0;
  const fit = () => {
    const before = element.style.minHeight;
    const { height, grows } = need();
    element.style.minHeight = `${height}px`;
    element.classList.toggle("widget-expands", grows); // Nodes 2.0 gives it the room that is left
    if (before === element.style.minHeight) return;
    if (!drawnByVue() && node.graph) grown = resized(node, grown);
    node.setDirtyCanvas?.(true, true);
  };
  fit();

  signal.addEventListener("abort", () => {
    const [path] = drawnByVue() ? pathsOf(node) : [];
    if (path !== undefined) handOver(path, name, element);
  });

  // A press on what can be used must not drag the node; everything else still does.
  element.addEventListener(
    "pointerdown",
    (event) => {
      const used = event.target instanceof Element && event.target.closest("button, canvas, input");
      if (event.button === 1 && !drawnByVue()) app.canvas?.processMouseDown?.(event);
      else if (used && event.button === 0) event.stopPropagation();
    },
    { signal },
  );
  const handles = { pointermove: "processMouseMove", pointerup: "processMouseUp" };
  for (const [kind, handle] of Object.entries(handles))
    element.addEventListener(
      kind,
      (event) => {
        const middle = (event.buttons & 4) === 4 || event.button === 1;
        if (middle && !drawnByVue()) app.canvas?.[handle]?.(event);
      },
      { signal },
    );
  element.addEventListener(
    "wheel",
    (event) => {
      if (drawnByVue()) return; // there it bubbles to the graph
      event.preventDefault();
      app.canvas?.processMouseWheel?.(event);
    },
    { signal, passive: false },
  );
  return { widget, fit };
}

/**
 * Nodes 2.0 of some releases goes on showing the element of a node that is made anew, as on undo.
 * Put the new one in its place.
 * @param {string} path
 * @param {string} name of the widget
 * @param {HTMLElement} element of the node that is gone
 */
function handOver(path, name, element, tries = 20) {
  setTimeout(() => {
    if (!element.isConnected || tries === 0) return;
    const widget = nodeAt(path)?.widgets?.find((/** @type {any} */ other) => other.name === name);
    const heir = widget?.element;
    if (heir && heir !== element && !heir.isConnected) element.replaceWith(heir);
    else handOver(path, name, element, tries - 1);
  }, 50);
}

/**
 * Grow the node to what its widgets need, or take back what was grown before.
 * @param {any} node
 * @param {number} grown
 * @returns {number} by how much it has grown now
 */
function resized(node, grown) {
  const [width, height] = node.size;
  const needed = node.computeSize()[1];
  const wanted = Math.max(needed, height - grown);
  if (wanted !== height) node.setSize([width, wanted]);
  return Math.max(0, wanted - (height - grown));
}
