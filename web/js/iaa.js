/**
 * What IAA's nodes show: boxes over their pictures, and texts. Results are kept in the node's properties, so they are
 * saved with the workflow and are back after a reload, in the classic renderer and in Nodes 2.0.
 */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { BoxView } from "./box_view.js";
import { typed } from "./inputs.js";
import { TextView } from "./text_view.js";
import { withoutUndoStep } from "./undo.js";
import { word } from "./words.js";

/** @typedef {import("./types.js").Output} Output */
/** @typedef {import("./types.js").Result} Result */

const PROPERTY = "iaa_result";
const WIDGET = "iaa_result";
/** ComfyUI's own widget for the text that streams in while a node runs. */
const LIVE_TEXT_WIDGET = "$$node-text-preview";
const NODE_PREFIX = "IAA_";
/** @type {WeakMap<object, number>} How high nodes were before a text streamed in: the host's widget for it makes them grow. */
const heights = new WeakMap();

/** @type {WeakMap<object, Record<string, unknown>>} What was typed into nodes when they were last queued. */
const queued = new WeakMap();
/** @type {Map<string, BoxView | TextView>} */
const views = new Map();
/** @type {Map<string, Result>} What each node found last. */
const newest = new Map();
/** Node widths, in pixels: at which the Loader shows its choices whole, and that makes a picture worth looking at. */
const LOADER_WIDTH = 320;
const PICTURE_WIDTH = 400;
/** How high the remark is that the demo model answered, in pixels: two lines. */
const REMARK_HEIGHT = 36;
/** How high a text field above a picture becomes at most, in pixels. */
const TEXT_HEIGHT = 100;

/**
 * How many pixels high a view must be at least.
 * @param {Result} result
 * @returns {number}
 */
function leastHeight(result) {
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
 * Picks what is ours out of a node's output.
 * @param {Output | null | undefined} output
 * @returns {Result | null}
 */
export function readOutput(output) {
    const remark = output?.iaa_note?.length ? { demo: true } : {};
    if (output?.iaa_images && output?.iaa_boxes) {
        return { kind: "boxes", images: output.iaa_images, boxes: output.iaa_boxes, ...remark };
    }
    return output?.iaa_texts ? { kind: "texts", texts: output.iaa_texts, ...remark } : null;
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
        makeRoom(node, result, hasRoom);
    }
    widget.view.show(result);
    widget.view.element.dataset.remark = result.demo ? word("demo") : "";
    markStale(node);
    node.setDirtyCanvas?.(true, true);
}

/**
 * Adds an empty view to a node.
 * @param {any} node
 * @param {Result} result What it is going to show.
 * @returns {any} The widget, with its `view` and the `kind` of what that can show.
 */
function addView(node, result) {
    const view = viewFor(node, result.kind);
    const height = leastHeight(result);
    const widget = node.addDOMWidget(WIDGET, "iaa", view.element, {
        serialize: false,
        getMinHeight: () => height,
        getValue: () => "",
    });
    for (const other of node.widgets) {
        // The picture grows with the node, not the text fields above it (iaa.css says so to Nodes 2.0).
        if (other.type === "customtext") other.options.getMaxHeight = () => (hasBoxes(node) ? TEXT_HEIGHT : undefined);
    }
    return Object.assign(widget, { serialize: false, view, kind: result.kind });
}

/**
 * A node's view of a kind. The node that undoing puts into an old one's place gets the old one's: Nodes 2.0 goes on showing
 * the element that it has.
 * @param {any} node
 * @param {Result["kind"]} kind
 * @returns {BoxView | TextView}
 */
function viewFor(node, kind) {
    const key = `${keyOf(node)}:${kind}`;
    const known = node.graph && views.get(key);
    if (known) return known;
    const view = kind === "boxes" ? new BoxView(pictureUrl) : new TextView();
    view.element.addEventListener("wheel", forwardWheel, { passive: false });
    if (node.graph) views.set(key, view);
    return view;
}

/**
 * What a node and the one that takes its place have in common.
 * @param {any} node
 * @returns {string}
 */
function keyOf(node) {
    return `${node.graph?.id}:${node.id}`;
}

/**
 * Makes room for the view below what is there, which keeps the room that the user gave it.
 * @param {any} node
 * @param {Result} result
 * @param {boolean} hasRoom Whether the node's height has a view's in it.
 */
function makeRoom(node, result, hasRoom) {
    const [least, leastHigh] = node.computeSize();
    const wanted = result.kind === "boxes" && !hasRoom ? PICTURE_WIDTH : LOADER_WIDTH;
    const width = Math.max(node.size[0], least, wanted);
    node.setSize([width, Math.max(node.size[1] + (hasRoom ? 0 : firstHeight(result, width)), leastHigh)]);
}

/**
 * Says of a result whether it was made of what is typed into its node now.
 * @param {any} node
 */
function markStale(node) {
    const kept = node.properties?.[PROPERTY];
    const stale = kept?.typed && !equal(kept.typed, typed(node));
    widgetOf(node, WIDGET)?.view.element.classList.toggle("iaa-stale", Boolean(stale));
}

/** @returns {any[]} Our nodes, those in subgraphs too. */
function ourNodes() {
    const root = app.rootGraph ?? app.graph;
    return [root, ...(root?.subgraphs?.values() ?? [])]
        .flatMap((graph) => graph?.nodes ?? [])
        .filter((node) => node.type?.startsWith(NODE_PREFIX));
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
 * @returns {boolean} Whether a picture with boxes is on it.
 */
function hasBoxes(node) {
    return widgetOf(node, WIDGET)?.kind === "boxes";
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
 * Takes a node's output: keeps it with what it was made of, and shows it. ComfyUI also hands out outputs that it remembers,
 * as when a step is undone: one that was made of other inputs than are now there does not replace what the workflow keeps.
 * @param {any} node
 * @param {Output | null | undefined} output
 * @param {boolean} ran Whether it comes from a run, rather than from ComfyUI's memory.
 */
function take(node, output, ran) {
    const result = readOutput(output);
    if (!result) return;
    removeLiveText(node);
    const kept = node.properties?.[PROPERTY];
    const key = keyOf(node);
    if (ran) newest.set(key, { ...result, typed: queued.get(node) ?? typed(node) });
    const known = [newest.get(key), kept].find((other) => equal({ ...other, typed: 0 }, { ...result, typed: 0 }));
    if (!ran && known?.typed && !equal(known.typed, typed(node))) return;
    const made = { ...result, typed: known?.typed ?? typed(node) };
    if (equal(kept, made)) {
        show(node, made);
        return;
    }
    withoutUndoStep(() => {
        node.properties ??= {};
        node.properties[PROPERTY] = made;
        show(node, made);
    });
}

/**
 * Whether two plain values are the same.
 * @param {unknown} one
 * @param {unknown} other
 * @returns {boolean}
 */
function equal(one, other) {
    return JSON.stringify(one) === JSON.stringify(other);
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
        api.addEventListener("promptQueued", () => ourNodes().forEach((node) => queued.set(node, typed(node))));
        // ComfyUI tells of every change, undoing among them, once whoever makes it leaves the field.
        api.addEventListener("graphChanged", () => ourNodes().forEach(markStale));
    },

    /** @param {any} node */
    nodeCreated(node) {
        if (node.comfyClass !== "IAA_Loader") return;
        node.setSize([Math.max(node.size[0], LOADER_WIDTH), node.size[1]]);
    },

    /** @param {any} nodeType @param {{name: string}} nodeData */
    beforeRegisterNodeDef(nodeType, nodeData) {
        if (!nodeData.name.startsWith(NODE_PREFIX)) return;
        const { onExecuted, onConfigure } = nodeType.prototype;
        /** @this {any} @param {Output} output */
        nodeType.prototype.onExecuted = function (output) {
            onExecuted?.apply(this, arguments);
            take(this, output, true);
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
            if (node?.type?.startsWith(NODE_PREFIX)) take(node, output, false);
        }
    },
});
