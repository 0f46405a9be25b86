/**
 * What stops our nodes, in ComfyUI's language. The server knows no browser's language, and says it in English; `locales` has
 * a table from our English sentences, in which `{}` stands for anything, to others, in which `{0}` is the first of these.
 */

import { api } from "../../../scripts/api.js";
import { words } from "./locales.js";

/** Characters of a sentence of ours; others' errors may be texts so long that to look through them takes minutes. */
const LONGEST = 2000;

/**
 * @param {string} text
 * @returns {string} The sentence in the language that is shown, if the table has it.
 */
function translated(text) {
    if (text.length > LONGEST) return text;
    for (const [english, other] of Object.entries(words().iaa?.errors ?? {})) {
        const pattern = english.split("{}").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
        const values = text.replace(/^Execution Blocked: /, "").trim().match(new RegExp(`^${pattern.join("(.*)")}$`, "s"));
        if (values) return other.replace(/\{(\d)\}/g, (_, number) => translated(values[Number(number) + 1]));
    }
    return text;
}

// ComfyUI's own listeners, which show the error, hear of it after those that capture.
api.addEventListener(
    "execution_error",
    (/** @type {any} */ { detail }) => {
        detail.exception_message = translated(detail.exception_message ?? "");
    },
    { capture: true },
);
