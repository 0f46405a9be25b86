/** What `locales` says in the language that ComfyUI shows: it takes names and tooltips from there, the rest is ours. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

/**
 * @typedef {{inputs?: Record<string, {options?: Record<string, string>, placeholder?: string}>}} NodeWords
 * @typedef {{nodeDefs?: Record<string, NodeWords>, iaa?: {errors?: Record<string, string>}}} Words
 */

/** @type {Record<string, Words>} */
let locales = {};

/** Asks for the words of all languages, once. */
export async function loadWords() {
    locales = await (await fetch(api.apiURL("/i18n"))).json();
}

/** @returns {string} The language that ComfyUI shows, as `zh`; for a node's name or tooltip it looks for no kindred one. */
export const language = () => app.extensionManager?.setting?.get("Comfy.Locale") ?? "";

/**
 * @returns {Words} What there is in the language of this moment.
 */
export function words() {
    return locales[language()] ?? {};
}
