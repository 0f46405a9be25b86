/**
 * The choices of our nodes' lists in the language that ComfyUI shows, out of `locales`: ComfyUI takes names and tooltips from
 * there, but no choices. What a workflow holds is the same in every language.
 */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

/** @typedef {{inputs?: Record<string, {options?: Record<string, string>}>}} NodeWords */

/** @type {Record<string, {nodeDefs?: Record<string, NodeWords>}>} */
let locales = {};

app.registerExtension({
    name: "IAA.Options",

    async init() {
        locales = await (await fetch(api.apiURL("/i18n"))).json();
    },

    /** @param {any} node */
    nodeCreated(node) {
        const locale = app.extensionManager?.setting?.get("Comfy.Locale");
        if (!node.comfyClass?.startsWith("IAA_")) return;
        const inputs = locales[locale]?.nodeDefs?.[node.comfyClass]?.inputs;
        for (const widget of node.widgets ?? []) {
            const labels = inputs?.[widget.name]?.options;
            if (labels) widget.options.getOptionLabel = (/** @type {string} */ value) => labels[value] ?? value;
        }
    },
});
