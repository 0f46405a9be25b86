/**
 * Results as workflows keep them, which whoever shared the workflow may have written: what no node of ours has sent is not
 * shown. It could send for addresses, or end the loading of all the rest.
 */

/** @typedef {import("./types.js").Result} Result */

const COLOR = /^#[0-9a-f]{6}$/i;

/**
 * @param {any} value
 * @returns {Result | null} The result, if it is one.
 */
export function readSaved(value) {
    if (value?.kind === "texts") return isListOf(value.texts, isText) ? value : null;
    const isResult = value?.kind === "boxes" && isListOf(value.images, isPicture) && value.images.length > 0;
    return isResult && isListOf(value.boxes, isBoxes) && value.boxes.length > 0 ? value : null;
}

const isText = (/** @type {unknown} */ value) => typeof value === "string";
const isNumber = (/** @type {unknown} */ value) => Number.isFinite(value);
const isBoxes = (/** @type {unknown} */ value) => isListOf(value, isBox);

/**
 * @param {unknown} value
 * @param {(item: any) => boolean} isItem
 * @returns {boolean}
 */
function isListOf(value, isItem) {
    return Array.isArray(value) && value.every(isItem);
}

/** @param {any} value @returns {boolean} */
function isPicture(value) {
    const texts = [value?.filename, value?.subfolder ?? "", value?.type ?? ""];
    return texts.every(isText) && [value.width, value.height].every((side) => isNumber(side) && side >= 1);
}

/** @param {any} value @returns {boolean} */
function isBox(value) {
    const sides = [value?.x, value?.y, value?.width, value?.height, value?.score ?? 0];
    return sides.every(isNumber) && isText(value.label) && isText(value.color) && COLOR.test(value.color);
}
