/** Where nodes and widgets are, in the workflow and in the subgraphs in it. */

import { app } from "../../../scripts/app.js";

const NODE_PREFIX = "IAA_";

const rootGraph = () => app.rootGraph ?? app.graph;

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
 * The nodes that stand for the subgraphs around a node that ran, outermost first.
 * @param {string} path Its id behind those of these nodes, as in `5:7:3`.
 * @returns {any[]}
 */
export function hostsOf(path) {
    const hosts = [];
    let graph = rootGraph();
    for (const id of path.split(":").slice(0, -1)) {
        const host = nodeIn(graph, id);
        if (!host?.subgraph) break;
        hosts.push(host);
        graph = host.subgraph;
    }
    return hosts;
}

/**
 * A node that runs, by its path.
 * @param {string} path
 * @returns {any}
 */
export function nodeAt(path) {
    const graph = path.includes(":") ? hostsOf(path).at(-1)?.subgraph : rootGraph();
    return nodeIn(graph, path.slice(path.lastIndexOf(":") + 1));
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
