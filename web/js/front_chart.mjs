// @ts-check
/** Draws a front: quality against cost, with the uncached run and the hand-made schedules. */

import { signed, ticks } from "./wording.mjs";
import { say } from "./words.mjs";

/** @typedef {import("./theme.mjs").Theme} Theme */

/**
 * @typedef {object} Point
 * @property {string} key
 * @property {string} name
 * @property {number} cost share of the uncached run's MACs, or of its seconds
 * @property {number | null} [seconds] of one picture, when the search counts in seconds
 * @property {number} quality mean score minus that of the uncached run
 * @property {number} quality_stderr
 * @property {[number, number][]} [more_qualities] and errors, of the scorers after the first
 * @property {number} samples 0 when unknown
 * @property {number} computed share of the cells that compute, NaN when unknown
 * @property {boolean} is_reference
 * @property {boolean} on_front
 * @property {string} [compute]
 * @property {string[]} [origin]
 *
 * @typedef {object} Mark where a point is drawn
 * @property {Point} point
 * @property {number} x
 * @property {number} y
 * @property {boolean} below whether it lies below the plot and is only hinted at
 */

const LEFT = 44;
const TOP = 8;
const RIGHT = 10;
const BOTTOM = 28;
const LEAST_COST_SHOWN = 0.2; // what the axes span at least
const LEAST_QUALITY_SHOWN = 0.01;
const FAR_BELOW = 1; // references lower than this many heights of the front are only hinted at
const SPEEDUPS = [1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100];
const NEAR = 14; // pixels from a point that still mean it

/** From cost and quality to pixels, with room for every point. */
class Axes {
  /**
   * @param {Point[]} points one at least
   * @param {number} width
   * @param {number} height
   */
  constructor(points, width, height) {
    const members = points.filter((p) => p.on_front);
    const inner = members.length ? members : points;
    const costs = points.map((p) => p.cost);
    const dearest = Math.max(...costs);
    const spread = Math.max(dearest - Math.min(...costs), LEAST_COST_SHOWN);
    const high = Math.max(...points.map((p) => p.quality + p.quality_stderr));
    let low = Math.min(...inner.map((p) => p.quality - p.quality_stderr));
    const tall = Math.max(high - low, LEAST_QUALITY_SHOWN);
    const near = points.filter((p) => p.quality > low - FAR_BELOW * tall);
    low = Math.min(low, ...near.map((p) => p.quality - p.quality_stderr));
    const margin = Math.max(0.09 * (high - low), (LEAST_QUALITY_SHOWN - (high - low)) / 2);
    this.left = LEFT;
    this.top = TOP;
    this.right = width - RIGHT;
    this.bottom = height - BOTTOM;
    this.cheapest = Math.max(0, dearest - 1.06 * spread);
    this.dearest = dearest + 0.06 * spread;
    this.low = low - margin;
    this.high = high + margin;
    const timed = points.some((p) => p.seconds != null);
    this.unit = timed ? say("times faster, predicted") : say("times fewer MACs");
  }

  /** @param {number} cost */
  x(cost) {
    const share = (cost - this.cheapest) / (this.dearest - this.cheapest);
    return this.left + share * (this.right - this.left);
  }

  /** @param {number} quality */
  y(quality) {
    const inside = Math.min(Math.max(quality, this.low), this.high);
    const share = (inside - this.low) / (this.high - this.low);
    return this.bottom - share * (this.bottom - this.top);
  }
}

/**
 * @param {Mark[]} marks
 * @param {number} x
 * @param {number} y
 * @returns {Point | null} the nearest point that is near
 */
export function pointAt(marks, x, y) {
  let best = null;
  let least = NEAR;
  for (const mark of marks) {
    const away = Math.hypot(mark.x - x, mark.y - y);
    if (away < least) [best, least] = [mark.point, away];
  }
  return best;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Point[]} points sorted by cost
 * @param {Theme} theme
 * @param {number} width
 * @param {number} height
 * @param {{hover: string | null, selected: string | null, knee: string | null}} keys
 * @returns {Mark[]} in the order of drawing
 */
export function drawFront(context, points, theme, width, height, keys) {
  if (points.length === 0) return [];
  const axes = new Axes(points, width, height);
  const marks = points.map((point) => {
    const below = point.quality < axes.low;
    const y = below ? axes.bottom - 6 : axes.y(point.quality);
    return { point, x: axes.x(point.cost), y, below };
  });
  drawGrid(context, axes, theme);
  drawStairs(context, axes, marks, theme);
  for (const mark of marks) drawBar(context, axes, mark, theme);
  for (const mark of marks) drawMark(context, mark, theme);
  for (const mark of marks) {
    const { key } = mark.point;
    if (key === keys.knee) ring(context, mark, theme.good, 7);
    if (key === keys.selected) ring(context, mark, theme.ink, 8);
    else if (key === keys.hover) ring(context, mark, theme.softInk, 8);
  }
  return marks;
}

/**
 * @param {Point} point
 * @param {Theme} theme
 */
export function colourOf(point, theme) {
  if (!point.is_reference) return theme.accent;
  return point.cost >= 1 ? theme.ink : theme.handMade;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Axes} axes
 * @param {Theme} theme
 */
function drawGrid(context, axes, theme) {
  context.lineWidth = 1;
  context.font = "10px Inter, system-ui, sans-serif";
  context.fillStyle = theme.softInk;
  context.strokeStyle = theme.faint;
  context.textAlign = "right";
  context.textBaseline = "middle";
  const shown = ticks(axes.low, axes.high, Math.max(2, Math.round((axes.bottom - axes.top) / 34)));
  const digits = Math.max(...shown.map((quality) => (String(quality).split(".")[1] ?? "").length));
  for (const quality of shown) {
    const y = axes.y(quality);
    line(context, axes.left, y, axes.right, y);
    context.fillText(quality === 0 ? "0" : signed(quality, digits), axes.left - 5, y);
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  let last = Infinity;
  for (const speedup of SPEEDUPS) {
    const x = axes.x(1 / speedup);
    if (x < axes.left || x > axes.right || last - x < 28) continue;
    last = x;
    line(context, x, axes.top, x, axes.bottom);
    context.fillText(`${speedup}x`, x, axes.bottom + 3);
  }
  context.fillText(axes.unit, (axes.left + axes.right) / 2, axes.bottom + 15);
  context.save();
  context.translate(7, (axes.top + axes.bottom) / 2);
  context.rotate(-Math.PI / 2);
  context.textBaseline = "middle";
  context.fillText(say("quality"), 0, 0);
  context.restore();
  context.strokeStyle = theme.softInk;
  if (axes.low < 0 && axes.high > 0) {
    context.setLineDash([4, 4]);
    line(context, axes.left, axes.y(0), axes.right, axes.y(0));
    context.setLineDash([]);
  }
  line(context, axes.left, axes.bottom, axes.right, axes.bottom);
}

/**
 * The stairs below which every schedule is beaten by one of the front.
 * @param {CanvasRenderingContext2D} context
 * @param {Axes} axes
 * @param {Mark[]} marks
 * @param {Theme} theme
 */
function drawStairs(context, axes, marks, theme) {
  let best = -Infinity; // where several scorers count, one alone finds some members beaten
  const members = marks.filter(({ point, below }) => {
    const leads = point.on_front && !below && point.quality >= best;
    if (leads) best = point.quality;
    return leads;
  });
  if (members.length === 0) return;
  context.beginPath();
  context.moveTo(members[0].x, members[0].y);
  for (let i = 1; i < members.length; i++) {
    context.lineTo(members[i].x, members[i - 1].y);
    context.lineTo(members[i].x, members[i].y);
  }
  context.lineTo(axes.right, members[members.length - 1].y);
  context.strokeStyle = theme.accent;
  context.globalAlpha = 0.6;
  context.lineWidth = 1.4;
  context.stroke();
  context.lineTo(axes.right, axes.bottom);
  context.lineTo(members[0].x, axes.bottom);
  context.closePath();
  context.globalAlpha = 0.08;
  context.fillStyle = theme.accent;
  context.fill();
  context.globalAlpha = 1;
}

/**
 * One standard error up and down.
 * @param {CanvasRenderingContext2D} context
 * @param {Axes} axes
 * @param {Mark} mark
 * @param {Theme} theme
 */
function drawBar(context, axes, { point, x, below }, theme) {
  if (below || !(point.quality_stderr > 0)) return;
  context.strokeStyle = colourOf(point, theme);
  context.globalAlpha = 0.4;
  context.lineWidth = 1;
  line(
    context,
    x,
    axes.y(point.quality + point.quality_stderr),
    x,
    axes.y(point.quality - point.quality_stderr),
  );
  context.globalAlpha = 1;
}

/**
 * A disc for what was found, a square for a reference, an arrow for one far below the plot.
 * @param {CanvasRenderingContext2D} context
 * @param {Mark} mark
 * @param {Theme} theme
 */
function drawMark(context, { point, x, y, below }, theme) {
  context.beginPath();
  if (below) {
    context.moveTo(x - 4.5, y - 3);
    context.lineTo(x + 4.5, y - 3);
    context.lineTo(x, y + 4.5);
    context.closePath();
  } else if (point.is_reference) {
    context.rect(x - 3.5, y - 3.5, 7, 7);
  } else {
    context.arc(x, y, 4, 0, 2 * Math.PI);
  }
  context.fillStyle = colourOf(point, theme);
  context.fill();
  context.strokeStyle = theme.paper;
  context.lineWidth = 1;
  context.stroke();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Mark} mark
 * @param {string} colour
 * @param {number} radius
 */
function ring(context, { x, y }, colour, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.strokeStyle = colour;
  context.lineWidth = 1.8;
  context.stroke();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 * @param {number} toX
 * @param {number} toY
 */
function line(context, x, y, toX, toY) {
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(toX, toY);
  context.stroke();
}
