/** Where nodes and widgets are, in the workflow and in the subgraphs in it. */

import { app } from "../../../scripts/app.js";

const NODE_PREFIX = "IAA_";

const rootGraph = () => app.rootGraph ?? app.graph;

/** @returns {any} ComfyUI's record of the workflow whose tab is open. */
export const openWorkflow = () => app.extensionManager?.workflow?.activeWorkflow;

/**
 * @param {{type?: string} | null | undefined} node
 * @returns {boolean} Whether it is one of ours.
 */
export function isOurs(node) {
    return Boolean(node?.type?.startsWith(NODE_PREFIX));
}

/** @returns {any[]} All nodes, those in subgraphs too. */
export function allNodes() {
    const root = rootGraph();
    return [root, ...(root?.subgraphs?.values() ?? [])].flatMap((graph) => graph?.nodes ?? []);
}

/**
 * The node of an output: its id, or `subgraph:id` inside a subgraph.
 * @param {string} locator
 * @returns {any}
 */
export function nodeOf(locator) {
    const separator = locator.lastIndexOf(":");
    const graph = separator < 0 ? rootGraph() : rootGraph()?.subgraphs?.get(locator.slice(0, separator));
    return nodeIn(graph, locator.slice(separator + 1));
}

/**
 * A node that ran and those that stand for the subgraphs around it, by their paths.
 * @param {string} path Its id behind those of these nodes, as in `5:7:3`.
 * @returns {string[]} As in `5:7:3`, `5:7` and `5`.
 */
export function pathsTo(path) {
    const end = path.lastIndexOf(":");
    return end < 0 ? [path] : [path, ...pathsTo(path.slice(0, end))];
}

/**
 * A node that runs, by its path.
 * @param {string} path
 * @returns {any}
 */
export function nodeAt(path) {
    let graph = rootGraph();
    let node;
    for (const id of path.split(":")) {
        node = nodeIn(graph, id);
        graph = node?.subgraph;
    }
    return node;
}

/**
 * All nodes that a run may be of.
 * @param {any} [graph]
 * @param {string} [before] What their paths begin with.
 * @returns {Map<string, any>}
 */
export function nodesByPath(graph = rootGraph(), before = "") {
    const found = new Map();
    for (const node of graph?.nodes ?? []) {
        found.set(`${before}${node.id}`, node);
        const inside = node.subgraph ? nodesByPath(node.subgraph, `${before}${node.id}:`) : [];
        for (const [path, inner] of inside) found.set(path, inner);
    }
    return found;
}

/**
 * @param {any} graph
 * @param {string} id
 * @returns {any}
 */
function nodeIn(graph, id) {
    return graph?.getNodeById?.(id) ?? graph?.getNodeById?.(Number(id));
}

/**
 * What a node and the one that takes its place have in common.
 * @param {any} node
 * @returns {string}
 */
export function keyOf(node) {
    return `${node.graph?.id}:${node.id}`;
}

/**
 * @param {any} node
 * @param {string} name
 * @returns {any}
 */
export function widgetOf(node, name) {
    return node.widgets?.find((/** @type {any} */ widget) => widget.name === name);
}

/**
 * @param {any} node
 * @param {string} name
 */
export function removeWidget(node, name) {
    const widget = widgetOf(node, name);
    if (widget) node.removeWidget(widget);
}
