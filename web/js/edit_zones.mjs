// @ts-check
/** What can be painted at once on the map of a schedule: a cell, or a whole line through a head. */

import { boxOf, drawMap, drawSteps, panelsOf, spotAt, spotLines } from "./schedule_map.mjs";
import { percent } from "./wording.mjs";
import { say } from "./words.mjs";

/** @typedef {import("./schedule_bits.mjs").ScheduleBits} ScheduleBits */
/** @typedef {import("./schedule_map.mjs").Panel} Panel */
/** @typedef {import("./theme.mjs").Theme} Theme */

/**
 * @typedef {object} Zone -1 stands for all of them
 * @property {number} step
 * @property {number} group
 * @property {number} block
 * @property {number} component
 *
 * @typedef {object} Layout
 * @property {{left: number, width: number}} strip one head for each step, above all panels
 * @property {Panel[]} panels
 */

const ALL = -1;
const STRIP = 14;
const ABOVE = STRIP + 4;
const HEADS = 10;
const NAME = 14;
const KEYS = /** @type {const} */ (["step", "group", "block", "component"]);

/**
 * @param {ScheduleBits} bits
 * @param {number} width
 * @param {number} height
 * @returns {Layout}
 */
export function layoutOf(bits, width, height) {
  const panels = panelsOf(bits, width, height, { above: ABOVE, heads: HEADS });
  const left = panels[0].left;
  return { strip: { left, width: width - left }, panels };
}

/**
 * @param {ScheduleBits} bits
 * @param {Layout} layout
 * @param {number} x
 * @param {number} y
 * @returns {Zone | null}
 */
export function zoneAt(bits, { strip, panels }, x, y) {
  if (y < STRIP) {
    const step = placeIn(x, strip.left, strip.width, bits.steps);
    return step < 0 ? null : { step, group: ALL, block: ALL, component: ALL };
  }
  for (const { group, component, left, top, width, height } of panels) {
    const step = placeIn(x, left, width, bits.steps);
    const block = placeIn(y, top, height, bits.groups[group][1]);
    if (step >= 0 && y >= top - HEADS && y < top) return { step, group, block: ALL, component };
    if (step >= 0 && y >= top - HEADS - NAME && y < top - HEADS)
      return { step: ALL, group, block: ALL, component };
    if (block >= 0 && x >= left - HEADS && x < left) return { step: ALL, group, block, component };
  }
  return spotAt(bits, panels, x, y);
}

/** @param {Zone} zone */
export const isCell = (zone) => KEYS.every((key) => zone[key] !== ALL);

/**
 * Whether both are cells, or heads of the same kind.
 * @param {Zone} zone
 * @param {Zone} other
 */
export const alike = (zone, other) =>
  KEYS.every((key) => (zone[key] === ALL) === (other[key] === ALL));

/**
 * Where in the bits a zone lies.
 * @param {ScheduleBits} bits
 * @param {Zone} zone
 * @returns {number[]}
 */
export function indexesOf(bits, zone) {
  /** @type {number[]} */
  const found = [];
  const from = (/** @type {number} */ at, /** @type {number} */ count) =>
    at === ALL ? Array.from({ length: count }, (_, i) => i) : [at];
  bits.groups.forEach(([, blocks, parts], group) => {
    if (zone.group !== ALL && zone.group !== group) return;
    for (const step of from(zone.step, bits.steps))
      for (const block of from(zone.block, blocks))
        for (const component of from(zone.component, parts.length))
          found.push(bits.indexOf(step, group, block, component));
  });
  return found;
}

/**
 * What a click makes of a zone: reuse where all of it computes. A head does not count the first
 * step, which must compute anyway.
 * @param {ScheduleBits} bits
 * @param {Zone} zone
 * @returns {0 | 1}
 */
export function clickedValue(bits, zone) {
  const indexes = indexesOf(bits, zone);
  const counted = isCell(zone) ? indexes : indexes.filter((i) => i >= bits.cells);
  return counted.length > 0 && counted.every((i) => bits.bits[i] === 1) ? 0 : 1;
}

/**
 * Paint a zone, in place; a head leaves the first step alone when it paints reuse.
 * @param {ScheduleBits} bits
 * @param {Zone} zone
 * @param {0 | 1} value
 */
export function paintZone(bits, zone, value) {
  const spare = value === 0 && !isCell(zone);
  for (const i of indexesOf(bits, zone)) if (!spare || i >= bits.cells) bits.bits[i] = value;
}

/**
 * Paint a zone at every `every`-th step, counted from the first, and reuse between; in place.
 * @param {ScheduleBits} bits
 * @param {Zone} zone
 * @param {number} every
 */
export function paintEvery(bits, zone, every) {
  for (const i of indexesOf(bits, zone))
    bits.bits[i] = Number(Math.floor(i / bits.cells) % every === 0);
}

/**
 * @param {ScheduleBits} bits
 * @param {Zone} zone
 * @param {{useless: Uint8Array | null, every: number}} options
 * @returns {string[]}
 */
export function zoneLines(bits, zone, { useless, every }) {
  if (isCell(zone)) {
    const lines = spotLines(bits, zone);
    const index = bits.indexOf(zone.step, zone.group, zone.block, zone.component);
    if (zone.step === 0 && !bits.bits[index]) lines[0] = say("must compute: nothing is stored yet");
    if (useless?.[index]) lines.push(say("computed, but changes nothing"));
    return lines;
  }
  const { step, group, block, component } = zone;
  const [name, , parts] = group === ALL ? ["", 0, []] : bits.groups[group];
  const blocks = name.replaceAll("_", " ");
  const words = [
    component === ALL ? "" : parts[component],
    block === ALL ? blocks && say("all {blocks}", { blocks }) : `${blocks} ${block}`,
    step === ALL ? say("all steps") : say("step {n}", { n: step }),
  ];
  const indexes = indexesOf(bits, zone);
  const share = indexes.reduce((n, i) => n + bits.bits[i], 0) / indexes.length;
  const does = clickedValue(bits, zone) ? say("click: compute") : say("click: reuse");
  const click = step === 0 && share === 1 ? say("the first step always computes") : does;
  const computed = say("{share} computed", { share: percent(share) });
  const lines = [words.filter(Boolean).join(" · "), `${computed} · ${click}`];
  if (step === ALL && block === ALL)
    lines.push(say("Shift-click: compute every {n} steps", { n: every }));
  return lines;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {ScheduleBits} bits
 * @param {Theme} theme
 * @param {Layout} layout
 * @param {{hover: Zone | null, useless: Uint8Array | null}} marks
 */
export function drawZones(context, bits, theme, { strip, panels }, { hover, useless }) {
  context.save();
  context.translate(strip.left, 0);
  drawSteps(context, bits.byStep(), theme, strip.width, STRIP);
  context.restore();
  drawMap(context, bits, theme, panels, null);
  for (const panel of panels) {
    drawHeads(context, bits, theme, panel);
    drawMarks(context, bits, theme, panel, useless);
  }
  if (!hover) return;
  context.strokeStyle = theme.ink;
  context.lineWidth = 1.5;
  if (hover.step !== ALL && hover.group === ALL) {
    const wide = strip.width / bits.steps;
    context.strokeRect(strip.left + hover.step * wide, 0.75, wide, STRIP - 1.5);
  }
  for (const panel of panels) {
    if (hover.group !== ALL && hover.group !== panel.group) continue;
    if (hover.component !== ALL && hover.component !== panel.component) continue;
    const { x, y, wide, tall } = boxOf(bits, panel, hover.step, hover.block);
    context.strokeRect(
      hover.step === ALL ? panel.left : x,
      hover.block === ALL ? panel.top : y,
      hover.step === ALL ? panel.width : wide,
      hover.block === ALL ? panel.height : tall,
    );
  }
}

/**
 * The heads of a panel: as strong as the share of their line that computes.
 * @param {CanvasRenderingContext2D} context
 * @param {ScheduleBits} bits
 * @param {Theme} theme
 * @param {Panel} panel
 */
function drawHeads(context, bits, theme, { group, component, left, top, width, height }) {
  const blocks = bits.groups[group][1];
  const byStep = new Float64Array(bits.steps);
  const byBlock = new Float64Array(blocks);
  for (let step = 0; step < bits.steps; step++)
    for (let block = 0; block < blocks; block++)
      if (bits.computes(step, group, block, component)) {
        byStep[step] += 1 / blocks;
        byBlock[block] += 1 / bits.steps;
      }
  const colour = theme.components[component % theme.components.length];
  const bar = HEADS - 4;
  const draw = (/** @type {number[]} */ box, /** @type {number} */ share) => {
    const [x, y, wide, tall] = box;
    context.fillStyle = theme.faint;
    context.fillRect(x, y, wide, tall);
    context.globalAlpha = Math.min(share, 1);
    context.fillStyle = colour;
    context.fillRect(x, y, wide, tall);
    context.globalAlpha = 1;
  };
  const [wide, tall] = [width / bits.steps, height / blocks];
  const [gapX, gapY] = [wide >= 4 ? 1 : 0, tall >= 4 ? 1 : 0];
  byStep.forEach((share, step) =>
    draw([left + step * wide, top - bar - 2, wide - gapX, bar], share),
  );
  byBlock.forEach((share, block) =>
    draw([left - bar - 2, top + block * tall, bar, tall - gapY], share),
  );
}

/**
 * Frames round cells of the first step that do not compute, and holes in those that compute for
 * nothing.
 * @param {CanvasRenderingContext2D} context
 * @param {ScheduleBits} bits
 * @param {Theme} theme
 * @param {Panel} panel
 * @param {Uint8Array | null} useless
 */
function drawMarks(context, bits, theme, panel, useless) {
  const { group, component } = panel;
  for (let block = 0; block < bits.groups[group][1]; block++) {
    if (!bits.computes(0, group, block, component)) {
      const { x, y, wide, tall } = boxOf(bits, panel, 0, block);
      context.fillStyle = theme.bad;
      context.fillRect(x, y, Math.max(wide - 1, 2), Math.max(tall - 1, 1));
    }
    for (let step = 0; useless && step < bits.steps; step++) {
      if (!useless[bits.indexOf(step, group, block, component)]) continue;
      const { x, y, wide, tall } = boxOf(bits, panel, step, block);
      context.fillStyle = theme.paper;
      context.fillRect(x + 0.3 * wide, y + 0.3 * tall, 0.35 * wide, 0.35 * tall);
    }
  }
}

/**
 * @param {number} at
 * @param {number} start
 * @param {number} length
 * @param {number} count
 * @returns {number} which of `count` equal parts; -1 outside
 */
function placeIn(at, start, length, count) {
  if (at < start || at >= start + length) return -1;
  return Math.floor(((at - start) / length) * count);
}
