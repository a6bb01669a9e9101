// @ts-check
/** Draws a schedule: steps across, blocks down, one panel for each component. */

import { percent } from "./wording.mjs";
import { say } from "./words.mjs";

/** @typedef {import("./schedule_bits.mjs").ScheduleBits} ScheduleBits */
/** @typedef {import("./theme.mjs").Theme} Theme */

/**
 * @typedef {object} Panel where one component of one group is drawn
 * @property {number} group
 * @property {number} component
 * @property {number} left
 * @property {number} top
 * @property {number} width
 * @property {number} height
 * @property {number} heads room above it and to its left that an editor uses
 *
 * @typedef {object} Spot a cell at a step
 * @property {number} step
 * @property {number} group
 * @property {number} block
 * @property {number} component
 */

const AXIS = 22; // left of the panels, for the blocks' numbers
const HEAD = 14;
const FOOT = 13;
const GAP = 8;

/**
 * @param {ScheduleBits} bits
 * @param {number} width
 * @param {number} height
 * @param {{above?: number, heads?: number}} [margins] room above all panels and beside each
 * @returns {Panel[]}
 */
export function panelsOf(bits, width, height, { above = 0, heads = 0 } = {}) {
  const blocks = bits.groups.reduce((n, [, count]) => n + count, 0);
  const head = HEAD + heads;
  const room = height - above - FOOT - bits.groups.length * head - (bits.groups.length - 1) * 3;
  /** @type {Panel[]} */
  const panels = [];
  let top = above + head;
  bits.groups.forEach(([, count, parts], group) => {
    const tall = Math.max((room * count) / blocks, 4);
    const gap = GAP + heads;
    const wide = (width - AXIS - heads - (parts.length - 1) * gap) / parts.length;
    parts.forEach((_, component) =>
      panels.push({
        group,
        component,
        left: AXIS + heads + component * (wide + gap),
        top,
        width: wide,
        height: tall,
        heads,
      }),
    );
    top += tall + head + 3;
  });
  return panels;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {ScheduleBits} bits
 * @param {Theme} theme
 * @param {Panel[]} panels
 * @param {Spot | null} hover
 */
export function drawMap(context, bits, theme, panels, hover) {
  const scale = context.getTransform().a;
  for (const panel of panels) {
    drawCells(context, bits, theme, panel, scale);
    drawNames(context, bits, theme, panel);
  }
  if (hover) {
    const panel = panels.find((p) => p.group === hover.group && p.component === hover.component);
    if (panel) {
      const { x, y, wide, tall } = boxOf(bits, panel, hover.step, hover.block);
      context.strokeStyle = theme.ink;
      context.lineWidth = 1.5;
      context.strokeRect(x, y, wide, tall);
    }
  }
}

/**
 * @param {ScheduleBits} bits
 * @param {Panel[]} panels
 * @param {number} x
 * @param {number} y
 * @returns {Spot | null}
 */
export function spotAt(bits, panels, x, y) {
  for (const { group, component, left, top, width, height } of panels) {
    if (x < left || y < top || x >= left + width || y >= top + height) continue;
    const step = Math.floor(((x - left) / width) * bits.steps);
    const block = Math.floor(((y - top) / height) * bits.groups[group][1]);
    return { step, group, block, component };
  }
  return null;
}

/**
 * @param {ScheduleBits} bits
 * @param {Spot} spot
 * @returns {string[]}
 */
export function spotLines(bits, { step, group, block, component }) {
  const [name, , parts] = bits.groups[group];
  const computed = bits.computes(step, group, block, component);
  let from = step;
  while (from > 0 && !bits.computes(from, group, block, component)) from--;
  return [
    `${parts[component]} · ${computed ? say("computed") : say("reused from step {n}", { n: from })}`,
    `${say("step {n}", { n: step })} · ${name.replaceAll("_", " ")} ${block}`,
  ];
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {ScheduleBits} bits
 * @param {Theme} theme
 * @param {Panel} panel
 * @param {number} scale device pixels for one CSS pixel: edges lie on whole ones
 */
function drawCells(context, bits, theme, panel, scale) {
  const { group, component, left, top, width, height } = panel;
  const blocks = bits.groups[group][1];
  const columns = Math.max(1, Math.min(bits.steps, Math.floor(width)));
  const snap = (/** @type {number} */ value) => Math.round(value * scale) / scale;
  const gapX = width / columns >= 4 ? 1 / scale : 0;
  const gapY = height / blocks >= 4 ? 1 / scale : 0;
  const colour = theme.components[component % theme.components.length];
  for (let block = 0; block < blocks; block++) {
    const y = snap(top + (block * height) / blocks);
    const tall = Math.max(snap(top + ((block + 1) * height) / blocks) - y - gapY, 1 / scale);
    for (let column = 0; column < columns; column++) {
      const first = Math.floor((column * bits.steps) / columns);
      const last = Math.max(first + 1, Math.floor(((column + 1) * bits.steps) / columns));
      let sum = 0;
      for (let step = first; step < last; step++)
        sum += Number(bits.computes(step, group, block, component));
      const share = sum / (last - first); // of the steps that share a column of pixels
      const x = snap(left + (column * width) / columns);
      const wide = snap(left + ((column + 1) * width) / columns) - x - gapX;
      context.fillStyle = theme.faint;
      if (share < 1) context.fillRect(x, y, wide, tall);
      if (share > 0) {
        context.globalAlpha = share;
        context.fillStyle = colour;
        context.fillRect(x, y, wide, tall);
        context.globalAlpha = 1;
      }
    }
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {ScheduleBits} bits
 * @param {Theme} theme
 * @param {Panel} panel
 */
function drawNames(context, bits, theme, panel) {
  const { group, component, left, top, width, height, heads } = panel;
  const [, blocks, parts] = bits.groups[group];
  const share = percent(bits.share(group, component));
  const line = top - heads - 4;
  context.textBaseline = "alphabetic";
  context.font = "10px Inter, system-ui, sans-serif";
  context.fillStyle = theme.softInk;
  context.textAlign = "right";
  context.fillText(share, left + width, line);
  const room = width - context.measureText(share).width - 6;
  context.fillStyle = theme.components[component % theme.components.length];
  context.textAlign = "left";
  context.font = "600 10px Inter, system-ui, sans-serif";
  context.fillText(shortened(context, parts[component], room), left, line);
  context.fillStyle = theme.softInk;
  context.font = "9px Inter, system-ui, sans-serif";
  if (component === 0) {
    context.textAlign = "right";
    context.textBaseline = "top";
    const beside = left - heads - 4;
    context.fillText("0", beside, top - 1);
    context.textBaseline = "bottom";
    if (blocks > 1 && height > 18) context.fillText(String(blocks - 1), beside, top + height + 1);
  }
  if (group === bits.groups.length - 1) {
    context.textBaseline = "top";
    context.textAlign = "left";
    context.fillText("0", left, top + height + 3);
    context.textAlign = "right";
    if (bits.steps > 1) context.fillText(String(bits.steps - 1), left + width, top + height + 3);
    context.textAlign = "center";
    if (width > 60) context.fillText(say("step"), left + width / 2, top + height + 3);
  }
}

/**
 * Where a cell lies at a step.
 * @param {ScheduleBits} bits
 * @param {Panel} panel
 * @param {number} step
 * @param {number} block
 */
export function boxOf(bits, { group, left, top, width, height }, step, block) {
  const wide = width / bits.steps;
  const tall = height / bits.groups[group][1];
  return { x: left + step * wide, y: top + block * tall, wide, tall };
}

/**
 * The text, or as much of its beginning as fits.
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} room
 */
export function shortened(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let kept = text;
  while (kept && context.measureText(`${kept}…`).width > room) kept = kept.slice(0, -1);
  return kept ? `${kept}…` : "";
}

/**
 * Draws the share of components that each step computes as a row of bars.
 * @param {CanvasRenderingContext2D} context
 * @param {number[]} shares
 * @param {Theme} theme
 * @param {number} width
 * @param {number} height
 */
export function drawSteps(context, shares, theme, width, height) {
  const wide = width / shares.length;
  const gap = wide >= 3 ? 1 : 0;
  shares.forEach((share, step) => {
    context.fillStyle = theme.faint;
    context.fillRect(step * wide, 0, wide - gap, height);
    context.fillStyle = theme.accent;
    const tall = Math.max(share * height, share > 0 ? 1 : 0);
    context.fillRect(step * wide, height - tall, wide - gap, tall);
  });
}
