// @ts-check
/** A canvas that fills its element: sharp on any display and at any zoom of the graph. */

const SHARPEST = 4; // backing pixels for one CSS pixel at most

/**
 * @typedef {object} Surface
 * @property {HTMLCanvasElement} canvas
 * @property {() => void} redraw in the next frame, however often it is called before
 */

/**
 * Keep `canvas` as large as it is shown and drawn by `draw(context, width, height)`, in CSS pixels,
 * until `signal` aborts. `draw` is not called while the canvas has no size.
 * @param {HTMLCanvasElement} canvas
 * @param {(context: CanvasRenderingContext2D, width: number, height: number) => void} draw
 * @param {AbortSignal} signal
 * @returns {Surface}
 */
export function surfaceOn(canvas, draw, signal) {
  let frame = 0;
  const paint = () => {
    frame = 0;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    const context = canvas.getContext("2d");
    if (!context || width < 1 || height < 1) return;
    const zoom = canvas.getBoundingClientRect().width / width || 1;
    const sharpness = Math.min(devicePixelRatio * Math.max(zoom, 1), SHARPEST);
    const [across, down] = [Math.round(width * sharpness), Math.round(height * sharpness)];
    if (canvas.width !== across) canvas.width = across;
    if (canvas.height !== down) canvas.height = down;
    context.setTransform(across / width, 0, 0, down / height, 0, 0);
    context.clearRect(0, 0, width, height);
    draw(context, width, height);
  };
  const redraw = () => {
    if (!frame && !signal.aborted) frame = requestAnimationFrame(paint);
  };
  const observer = new ResizeObserver(redraw);
  observer.observe(canvas);
  canvas.addEventListener("pointerenter", redraw, { signal }); // the zoom may be another now
  signal.addEventListener("abort", () => {
    observer.disconnect();
    cancelAnimationFrame(frame);
  });
  return { canvas, redraw };
}

/**
 * Where a pointer is on an element, in its own CSS pixels, whatever it is scaled by.
 * @param {HTMLElement} element
 * @param {{clientX: number, clientY: number}} event
 * @returns {[number, number]}
 */
export function placeOn(element, event) {
  const box = element.getBoundingClientRect();
  return [
    ((event.clientX - box.left) * element.clientWidth) / (box.width || 1),
    ((event.clientY - box.top) * element.clientHeight) / (box.height || 1),
  ];
}

/**
 * A box of lines near a place, the first one bold, kept inside the drawing.
 * @param {CanvasRenderingContext2D} context
 * @param {import("./theme.mjs").Theme} theme
 * @param {string[]} lines
 * @param {[number, number]} at
 * @param {[number, number]} room width and height of the drawing
 * @param {HTMLImageElement | null} [picture] below the lines
 */
export function drawTip(context, theme, lines, at, room, picture = null) {
  const fonts = lines.map((_, i) => `${i ? "" : "600 "}11px Inter, system-ui, sans-serif`);
  const widths = lines.map((line, i) => {
    context.font = fonts[i];
    return context.measureText(line).width;
  });
  const words = 15 * lines.length + 8;
  const wide = Math.max(...widths, picture?.naturalWidth ?? 0);
  const width = Math.min(wide + 14, room[0] - 2);
  const { naturalWidth = 1, naturalHeight = 0 } = picture ?? {};
  const below = room[1] - words - 8;
  const fitting = Math.min((width - 14) / naturalWidth, below / Math.max(naturalHeight, 1));
  const shrink = Math.max(0, Math.min(fitting, 1));
  const height = words + (picture ? shrink * naturalHeight + 6 : 0);
  const [x, y] = at;
  const beside = x + 10 + width <= room[0] ? x + 10 : x - 10 - width;
  const left = Math.max(1, Math.min(beside, room[0] - width - 1));
  const top = Math.max(1, Math.min(y - height / 2, room[1] - height - 1));
  context.save();
  context.beginPath();
  context.roundRect(left, top, width, height, 5);
  context.fillStyle = theme.paper;
  context.globalAlpha = 0.95;
  context.fill();
  context.globalAlpha = 1;
  context.strokeStyle = theme.softInk;
  context.lineWidth = 1;
  context.stroke();
  context.clip();
  context.textAlign = "left";
  context.textBaseline = "middle";
  lines.forEach((line, i) => {
    context.font = fonts[i];
    context.fillStyle = i ? theme.softInk : theme.ink;
    context.fillText(line, left + 7, top + 4 + 15 * (i + 0.5));
  });
  if (picture && shrink > 0)
    context.drawImage(picture, left + 7, top + words, shrink * naturalWidth, shrink * naturalHeight);
  context.restore();
}
