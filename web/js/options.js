/** The choices of our nodes' lists in ComfyUI's language. What a workflow holds is the same in every language. */

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
            const labels = inputs?.[widget.name]?.options;
            if (labels) widget.options.getOptionLabel = (/** @type {string} */ value) => labels[value] ?? value;
        }
    },
});
