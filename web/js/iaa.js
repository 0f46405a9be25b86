/**
 * What IAA's nodes show: boxes over their pictures, and texts. Results are kept in the node's properties, so they are
 * saved with the workflow and are back after a reload, in the classic renderer and in Nodes 2.0.
 */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { BoxView } from "./box_view.js";
import { TextView } from "./text_view.js";

/** @typedef {import("./types.js").Output} Output */
/** @typedef {import("./types.js").Result} Result */

const PROPERTY = "iaa_result";
const WIDGET = "iaa_result";
/** ComfyUI's own widget for the text that streams in while a node runs. */
const LIVE_TEXT_WIDGET = "$$node-text-preview";
const NODE_PREFIX = "IAA_";
/** @type {WeakMap<object, number>} How high nodes were before a text streamed in: the host's widget for it makes them grow. */
const heights = new WeakMap();

/**
 * How many pixels high a view must be at least, and is at first.
 * @param {Result} result
 * @returns {number}
 */
function heightOf(result) {
    if (result.kind === "boxes") return 320;
    return result.texts.length > 1 ? 180 : 96;
}

/**
 * Picks what is ours out of a node's output.
 * @param {Output | null | undefined} output
 * @returns {Result | null}
 */
export function readOutput(output) {
    if (output?.iaa_images && output?.iaa_boxes) {
        return { kind: "boxes", images: output.iaa_images, boxes: output.iaa_boxes };
    }
    return output?.iaa_texts ? { kind: "texts", texts: output.iaa_texts } : null;
}

/**
 * Shows a result on its node; the view is made when there is first something to show, and anew when that is of another
 * kind: a turn of a chat may answer with words, and with boxes the next time.
 * @param {any} node
 * @param {Result} result
 * @param {boolean} saved Whether it comes out of a workflow: the node was saved with room for it.
 */
function show(node, result, saved = false) {
    let widget = widgetOf(node, WIDGET);
    if (widget?.kind !== result.kind) {
        const hasRoom = saved || widget;
        removeWidget(node, WIDGET);
        widget = addView(node, result);
        makeRoom(node, hasRoom ? 0 : heightOf(result));
    }
    widget.view.show(result);
    node.setDirtyCanvas?.(true, true);
}

/**
 * Adds an empty view to a node.
 * @param {any} node
 * @param {Result} result What it is going to show.
 * @returns {any} The widget, with its `view` and the `kind` of what that can show.
 */
function addView(node, result) {
    const view = result.kind === "boxes" ? new BoxView(pictureUrl) : new TextView();
    const height = heightOf(result);
    const widget = node.addDOMWidget(WIDGET, "iaa", view.element, {
        serialize: false,
        getMinHeight: () => height,
        getValue: () => "",
    });
    view.element.addEventListener("wheel", forwardWheel, { passive: false });
    return Object.assign(widget, { serialize: false, view, kind: result.kind });
}

/**
 * Makes room for the view below what is there, which keeps the room that the user gave it.
 * @param {any} node
 * @param {number} height
 */
function makeRoom(node, height) {
    const [width, least] = node.computeSize();
    node.setSize([Math.max(node.size[0], width, 320), Math.max(node.size[1] + height, least)]);
}

/**
 * @param {any} node
 * @param {string} name
 * @returns {any}
 */
function widgetOf(node, name) {
    return node.widgets?.find((/** @type {any} */ widget) => widget.name === name);
}

/**
 * @param {any} node
 * @param {string} name
 */
function removeWidget(node, name) {
    const widget = widgetOf(node, name);
    if (!widget) return;
    widget.onRemove?.();
    node.widgets.splice(node.widgets.indexOf(widget), 1);
}

/**
 * The finished text is in our view; the node is as high again as its user, or its least height, had it.
 * @param {any} node
 */
function removeLiveText(node) {
    removeWidget(node, LIVE_TEXT_WIDGET);
    const height = heights.get(node);
    if (height !== undefined) node.setSize([node.size[0], height]);
    heights.delete(node);
}

/**
 * The classic renderer's canvas zooms on the wheel, but lies below the view and hears nothing of it.
 * @param {WheelEvent} event
 */
function forwardWheel(event) {
    const scrolls = event.target instanceof Element && event.target.closest(".iaa-scroll");
    const vueNodes = /** @type {any} */ (window).LiteGraph?.vueNodesMode;
    if (vueNodes || (scrolls && scrolls.scrollHeight > scrolls.clientHeight)) return;
    event.preventDefault();
    app.canvas?.processMouseWheel?.(event);
}

/**
 * Where ComfyUI serves a picture that a node saved.
 * @param {import("./types.js").Picture} picture
 * @returns {string}
 */
function pictureUrl(picture) {
    const query = new URLSearchParams({
        filename: picture.filename,
        subfolder: picture.subfolder ?? "",
        type: picture.type ?? "temp",
    });
    return api.apiURL(`/view?${query}`);
}

/**
 * Takes a node's output: keeps it, and shows it. A new one is a change to the workflow like any other, and ComfyUI must be
 * told of it: what it has not been told of is not in the draft that it opens again after a reload.
 * @param {any} node
 * @param {Output | null | undefined} output
 */
function take(node, output) {
    const result = readOutput(output);
    if (!result) return;
    removeLiveText(node);
    node.properties ??= {};
    if (JSON.stringify(node.properties[PROPERTY]) === JSON.stringify(result)) {
        show(node, result);
        return;
    }
    app.canvas?.emitBeforeChange?.();
    try {
        node.properties[PROPERTY] = result;
        show(node, result);
    } finally {
        app.canvas?.emitAfterChange?.();
    }
}

/**
 * The node of an output: its id, or `subgraph:id` inside a subgraph.
 * @param {string} locator
 * @returns {any}
 */
function nodeOf(locator) {
    const separator = locator.lastIndexOf(":");
    const graphs = app.rootGraph?.subgraphs ?? app.graph?.subgraphs;
    const graph = separator < 0 ? (app.rootGraph ?? app.graph) : graphs?.get(locator.slice(0, separator));
    return graph?.getNodeById?.(locator.slice(separator + 1)) ?? graph?.getNodeById?.(Number(locator.slice(separator + 1)));
}

/** Loads the style sheet that lies beside the scripts. */
function addStyles() {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL("../css/iaa.css", import.meta.url).href;
    document.head.append(link);
}

app.registerExtension({
    name: "IAA.Results",
    init: addStyles,

    setup() {
        api.addEventListener("progress_text", (/** @type {any} */ { detail }) => {
            const node = nodeOf(`${detail.nodeId}`);
            if (node?.type?.startsWith(NODE_PREFIX) && !heights.has(node)) heights.set(node, node.size[1]);
        });
    },

    /** @param {any} nodeType @param {{name: string}} nodeData */
    beforeRegisterNodeDef(nodeType, nodeData) {
        if (!nodeData.name.startsWith(NODE_PREFIX)) return;
        const { onExecuted, onConfigure } = nodeType.prototype;
        /** @this {any} @param {Output} output */
        nodeType.prototype.onExecuted = function (output) {
            onExecuted?.apply(this, arguments);
            take(this, output);
        };
        /** @this {any} */
        nodeType.prototype.onConfigure = function () {
            onConfigure?.apply(this, arguments);
            const kept = this.properties?.[PROPERTY];
            if (kept) show(this, kept, true);
        };
    },

    /** Outputs that come without a run: cached ones, and those of a reloaded page. @param {Record<string, Output>} outputs */
    onNodeOutputsUpdated(outputs) {
        for (const [locator, output] of Object.entries(outputs)) {
            const node = nodeOf(locator);
            if (node?.type?.startsWith(NODE_PREFIX)) take(node, output);
        }
    },
});
