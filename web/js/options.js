/**
 * The choices of our nodes' lists, and what stands in their empty text fields, in ComfyUI's language. What a workflow holds is
 * the same in every language.
 */

import { app } from "../../../scripts/app.js";
import { loadWords, words } from "./locales.js";

app.registerExtension({
    name: "IAA.Options",
    init: loadWords,

    /** @param {any} node */
    nodeCreated(node) {
        if (!node.comfyClass?.startsWith("IAA_")) return;
        const inputs = words().nodeDefs?.[node.comfyClass]?.inputs;
        for (const widget of node.widgets ?? []) {
            const { options: labels, placeholder } = inputs?.[widget.name] ?? {};
            if (placeholder && widget.element) widget.element.placeholder = placeholder;
            if (labels) widget.options.getOptionLabel = (/** @type {string} */ value) => labels[value] ?? value;
        }
    },
});
