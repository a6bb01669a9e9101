// @ts-check
/** What the schedules of a search make: a strip of small pictures each, as the search wrote them. */

import { api } from "../../../scripts/api.js";

const MOST = 200;
const ASK_AGAIN_MS = 3000; // a search may not have written it yet

export class PictureStrips {
  /** @param {() => void} onArrival something that was asked for can be drawn */
  constructor(onArrival) {
    this.onArrival = onArrival;
    /** By address. @type {Map<string, {image: HTMLImageElement, failed: number}>} */
    this.known = new Map();
  }

  /**
   * The strip of a schedule, or null until it is there.
   * @param {string | undefined} folder in ComfyUI's output folder
   * @param {string} key of the schedule
   * @returns {HTMLImageElement | null}
   */
  of(folder, key) {
    if (!folder) return null;
    const place = { filename: `${key}.jpg`, subfolder: folder, type: "output" };
    const address = `/view?${new URLSearchParams(place)}`;
    const found = this.known.get(address);
    if (found && !(found.failed && Date.now() - found.failed > ASK_AGAIN_MS))
      return found.image.complete && found.image.naturalWidth ? found.image : null;
    const image = new Image();
    const asked = { image, failed: 0 };
    image.addEventListener("load", this.onArrival);
    image.addEventListener("error", () => (asked.failed = Date.now()));
    image.src = api.apiURL(address);
    this.known.delete(address);
    this.known.set(address, asked);
    while (this.known.size > MOST) this.known.delete([...this.known.keys()][0]);
    return null;
  }
}
