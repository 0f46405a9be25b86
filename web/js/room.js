/** How large nodes are for what they show. */

/** @typedef {import("./types.js").Result} Result */

/** Node widths, in pixels: at which the Loader shows its choices whole, and that makes a picture worth looking at. */
export const LOADER_WIDTH = 320;
const PICTURE_WIDTH = 400;
/** How high the remark is that the demo model answered, in pixels: two lines. */
const REMARK_HEIGHT = 36;
/** How high a text field above a picture becomes at most, in pixels, and how high ComfyUI has it at least. */
export const TEXT_HEIGHT = 100;
const TEXT_LEAST = 50;

/**
 * How many pixels high a view must be at least.
 * @param {Result} result
 * @returns {number}
 */
export function leastHeight(result) {
    const remark = result.demo ? REMARK_HEIGHT : 0;
    if (result.kind === "boxes") return 260 + remark;
    return (result.texts.length > 1 ? 180 : 96) + remark;
}

/**
 * How many pixels high a view is at first: enough for its first picture to be as wide as the node.
 * @param {Result} result
 * @param {number} width The node's.
 * @returns {number}
 */
function firstHeight(result, width) {
    if (result.kind !== "boxes") return leastHeight(result);
    const [picture] = result.images;
    const rows = 22 * Math.min(3, Math.max(...result.boxes.map((boxes) => boxes.length)));
    const high = ((width - 30) * picture.height) / picture.width;
    return Math.max(leastHeight(result), Math.min(high, 420) + rows + 34 + (result.demo ? REMARK_HEIGHT : 0));
}

/**
 * How many pixels higher than at least a node's text fields become.
 * @param {any} node
 * @returns {number}
 */
function textGrowth(node) {
    const texts = node.widgets.filter((/** @type {any} */ widget) => widget.type === "customtext");
    return texts.length * (TEXT_HEIGHT - TEXT_LEAST);
}

/**
 * Makes room for the view below what is there, which keeps the room that the user gave it.
 * @param {any} node
 * @param {Result} result
 * @param {number | null} given How many pixels the node's height has for its view; null for what it was saved with.
 * @returns {number} How many it has now.
 */
export function makeRoom(node, result, given) {
    const [least, leastHigh] = node.computeSize();
    const grows = given !== null && given < firstHeight(result, node.size[0]);
    const width = Math.max(node.size[0], least, grows && result.kind === "boxes" ? PICTURE_WIDTH : LOADER_WIDTH);
    const wanted = Math.max(given ?? 0, firstHeight(result, width));
    // A node may be lower than its own inputs need, and its text fields take of the room first.
    const others = leastHigh - leastHeight(result) + textGrowth(node);
    node.setSize([width, Math.max(grows ? Math.max(node.size[1] - given, others) + wanted : node.size[1], leastHigh)]);
    return wanted;
}
