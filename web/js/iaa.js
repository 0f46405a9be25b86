/**
 * What IAA's nodes show: boxes over their pictures, and texts. Results are kept in the node's properties, unless they are
 * very large, so they are saved with the workflow and are back after a reload, in the classic renderer and in Nodes 2.0. A
 * node that stands for a subgraph shows what was found last inside it.
 */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { allNodes, isOurs, keyOf, nodeAt, nodeOf, openWorkflow, pathsTo, removeWidget, widgetOf } from "./graph.js";
import { typed } from "./inputs.js";
import { forgetViews, newestIn, strangersHere, views } from "./remembered.js";
import { ResultView } from "./result_view.js";
import { LOADER_WIDTH, leastHeight, makeRoom, TEXT_HEIGHT } from "./room.js";
import { ENDS, isOpen, rememberRuns, runOf } from "./runs.js";
import { readSaved } from "./saved.js";
import { withoutUndoStep } from "./undo.js";

/** @typedef {import("./types.js").Output} Output */
/** @typedef {import("./types.js").Result} Result */

const PROPERTY = "iaa_result";
const WIDGET = "iaa_result";
/** Characters of a result that a workflow keeps. ComfyUI writes the workflow into every picture that it saves. */
const LARGEST_KEPT = 100_000;
/** ComfyUI's own widget for the text that streams in while a node runs. */
const LIVE_TEXT_WIDGET = "$$node-text-preview";
/** @type {Map<string, number>} How high nodes were before a text streamed in: the host's widget for it makes them grow. */
const heights = new Map();
/** Nodes whose pictures are no second of what our view shows. */
const WITH_PICTURES = ["IAA_Teach"];

/** How many pictures of a batch nodes send; of further ones the boxes alone. */
const MOST_SHOWN = 64;

/**
 * Picks what is ours out of a node's output.
 * @param {Output | null | undefined} output
 * @returns {Result | null}
 */
export function readOutput(output) {
    const remark = output?.iaa_note?.length ? { demo: true } : {};
    if (output?.iaa_images?.length && output?.iaa_boxes) {
        // Each batch of a list may have lost pictures behind these, and those that follow would get foreign boxes.
        const images = output.iaa_images.flat().slice(0, MOST_SHOWN);
        return { kind: "boxes", images, boxes: output.iaa_boxes, ...remark };
    }
    return output?.iaa_texts ? { kind: "texts", texts: output.iaa_texts, ...remark } : null;
}

/**
 * Shows a result on its node; the view is made when there is first something to show.
 * @param {any} node
 * @param {Result} result
 * @param {boolean} saved Whether it comes out of a workflow: the node was saved with room for it.
 */
function show(node, result, saved = false) {
    const known = widgetOf(node, WIDGET);
    const widget = known ?? addView(node);
    const sameKind = widget.holder.kind === result.kind;
    widget.holder.show(result);
    widget.made = result.typed;
    if (!known || !sameKind) {
        const height = leastHeight(result);
        widget.options.getMinHeight = () => height;
        widget.given = makeRoom(node, result, saved ? null : (widget.given ?? 0));
    }
    markStale(node);
    node.setDirtyCanvas?.(true, true);
}

/**
 * Adds an empty view to a node.
 * @param {any} node
 * @returns {any} The widget, with the `holder` of its view.
 */
function addView(node) {
    const holder = holderFor(node);
    const widget = node.addDOMWidget(WIDGET, "iaa", holder.element, {
        serialize: false,
        disabled: true, // as an input of an app
        hideInPanel: true,
        getValue: () => "",
    });
    for (const other of node.widgets) {
        // The picture grows with the node, not the text fields above it (iaa.css says so to Nodes 2.0).
        if (other.type === "customtext") other.options.getMaxHeight = () => (hasBoxes(node) ? TEXT_HEIGHT : undefined);
    }
    return Object.assign(widget, { serialize: false, holder });
}

/**
 * What holds a node's view. The node that undoing puts into an old one's place gets the old one's: Nodes 2.0 goes on showing
 * the element that it has.
 * @param {any} node
 * @returns {ResultView}
 */
function holderFor(node) {
    const known = node.graph && views.get(keyOf(node));
    if (known) return known;
    const holder = new ResultView(pictureUrl);
    holder.element.addEventListener("wheel", forwardWheel, { passive: false });
    if (node.graph) views.set(keyOf(node), holder);
    return holder;
}

/**
 * Says of a result whether it was made of what is typed into its node now.
 * @param {any} node
 */
function markStale(node) {
    const widget = widgetOf(node, WIDGET);
    const stale = widget?.made && !equal(widget.made, typed(node));
    widget?.holder.view.element.classList.toggle("iaa-stale", Boolean(stale));
}

/**
 * @param {any} node
 * @returns {boolean} Whether a picture with boxes is on it.
 */
function hasBoxes(node) {
    return widgetOf(node, WIDGET)?.holder.kind === "boxes";
}

/**
 * The finished text is in our view; the node is as high again as its user, or its least height, had it.
 * @param {any} node
 */
function removeLiveText(node) {
    removeWidget(node, LIVE_TEXT_WIDGET);
    const height = heights.get(keyOf(node));
    if (height !== undefined) node.setSize([node.size[0], height]);
    heights.delete(keyOf(node));
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
 * Takes what a node sent in a run, for it and for the nodes that stand for the subgraphs around it.
 * @param {{prompt_id?: string, node: string, display_node?: string, output?: Output}} sent
 */
function takeSent({ prompt_id, node, display_node, output }) {
    const result = readOutput(output);
    if (!result) return;
    const run = runOf(prompt_id);
    for (const path of pathsTo(`${display_node ?? node}`)) takeAt(path, result, run);
}

/**
 * Takes a result for the node of a path. One of a workflow that is not open is shown once that is: ComfyUI remembers it there.
 * @param {string} path
 * @param {Result} result
 * @param {import("./runs.js").Run | null} run
 */
function takeAt(path, result, run) {
    const queued = run?.nodes.get(path);
    if (queued) newestIn(run?.workflow).set(queued.key, { ...result, typed: queued.typed });
    const node = nodeAt(path);
    if (!isOurs(node) && !node?.subgraph) return;
    if (run && !isOpen(run, path)) {
        strangersHere().set(keyOf(node), result);
        return;
    }
    strangersHere().delete(keyOf(node));
    if (!run) newestIn(openWorkflow()).set(keyOf(node), { ...result, typed: typed(node) });
    take(node, result, true);
}

/**
 * Takes a result: keeps it with what it was made of, and shows it. ComfyUI also hands out results that it remembers, as when
 * a step is undone: one that was made of other inputs than are now there does not replace what the workflow keeps.
 * @param {any} node
 * @param {Result} result
 * @param {boolean} ran Whether it comes from a run, rather than from ComfyUI's memory.
 */
function take(node, result, ran) {
    removeLiveText(node);
    const kept = node.properties?.[PROPERTY];
    const key = keyOf(node);
    const known = [newestIn(openWorkflow()).get(key), kept].find((other) => equal({ ...other, typed: 0 }, { ...result, typed: 0 }));
    if (!ran && known?.typed && !equal(known.typed, typed(node))) return;
    const made = { ...result, typed: known?.typed ?? typed(node) };
    if (equal(kept, made)) {
        show(node, made);
        return;
    }
    withoutUndoStep(() => {
        node.properties ??= {};
        if (JSON.stringify(made).length > LARGEST_KEPT) delete node.properties[PROPERTY];
        else node.properties[PROPERTY] = made;
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
 * Makes a node, or all of a kind, show what its workflow keeps.
 * @param {any} node
 */
function showKept(node) {
    const { onConfigure } = node;
    /** @this {any} */
    node.onConfigure = function () {
        onConfigure?.apply(this, arguments);
        removeLiveText(this); // of a run that was left, and may have ended in another tab
        const kept = readSaved(this.properties?.[PROPERTY]);
        if (kept) show(this, kept, true);
    };
}

/**
 * Keeps ComfyUI from showing a kind of node's pictures on it a second time; everywhere else it shows them.
 * @param {any} node A prototype.
 */
function keepOwnPicture(node) {
    node.hideOutputImages = true; // heeded by Nodes 2.0
    node.onDrawBackground = undefined; // where the classic renderer gets pictures and adds a widget for them
    Object.defineProperty(node, "imgs", { get: () => undefined, set: () => {}, configurable: true });
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
        rememberRuns();
        api.addEventListener("progress_text", (/** @type {any} */ { detail }) => {
            const node = nodeAt(`${detail.nodeId}`);
            if (isOurs(node) && !heights.has(keyOf(node))) heights.set(keyOf(node), node.size[1]);
        });
        api.addEventListener("executed", (/** @type {any} */ { detail }) => takeSent(detail));
        // What was cancelled or failed sends no result that would take its text's place.
        const growing = () => allNodes().filter((node) => heights.has(keyOf(node)));
        for (const end of ENDS) api.addEventListener(end, () => growing().forEach(removeLiveText));
        const showing = () => allNodes().filter((node) => isOurs(node) || node.subgraph);
        // ComfyUI tells of every change, undoing among them, once whoever makes it leaves the field.
        api.addEventListener("graphChanged", () => showing().forEach(markStale));
        api.addEventListener("graphChanged", forgetViews);
    },

    /** @param {any} node */
    nodeCreated(node) {
        if (node.subgraph) showKept(node);
        if (node.comfyClass === "IAA_Loader") node.setSize([Math.max(node.size[0], LOADER_WIDTH), node.size[1]]);
    },

    /** @param {any} nodeType @param {{name: string}} nodeData */
    beforeRegisterNodeDef(nodeType, nodeData) {
        if (!isOurs({ type: nodeData.name })) return;
        const node = nodeType.prototype;
        showKept(node);
        if (!WITH_PICTURES.includes(nodeData.name)) keepOwnPicture(node);
    },

    /** Outputs that come without a run: cached ones, and those of a reloaded page. @param {Record<string, Output>} outputs */
    onNodeOutputsUpdated(outputs) {
        for (const [locator, output] of Object.entries(outputs)) {
            const node = nodeOf(locator);
            const result = isOurs(node) ? readOutput(output) : null;
            if (result && !equal(strangersHere().get(keyOf(node)), result)) take(node, result, false);
        }
    },
});
