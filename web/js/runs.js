/**
 * Which workflow a run was queued from, and what was typed into its nodes then. ComfyUI hands what a run sends to the nodes
 * of whatever workflow is open, by their ids alone.
 */

import { api } from "../../../scripts/api.js";
import { isOurs, keyOf, nodeAt, nodesByPath, openWorkflow } from "./graph.js";
import { typed } from "./inputs.js";

/**
 * @typedef {object} Queued A node as it was when its run was queued.
 * @property {string} key
 * @property {Record<string, unknown>} typed
 *
 * @typedef {object} Run
 * @property {any} workflow
 * @property {Map<string, Queued>} nodes By path.
 */

export const ENDS = ["execution_success", "execution_error", "execution_interrupted"];

/** How many runs are remembered: those that are taken out of the queue never end. */
const MOST = 256;

/** @type {Map<string, Run>} Those that have not ended, by the id that ComfyUI gave them. */
const runs = new Map();
/** @type {Run | null} The one whose id is on its way: what is remembered from earlier runs is sent before it. */
let asked = null;

/** Remembers each run that is queued on this page, until it ends. */
export function rememberRuns() {
    const { queuePrompt } = api;
    api.queuePrompt = async (...prompt) => {
        const run = (asked = snapshot());
        try {
            const answer = await queuePrompt.apply(api, prompt);
            if (answer?.prompt_id) remember(answer.prompt_id, run);
            return answer;
        } finally {
            if (asked === run) asked = null;
        }
    };
    for (const end of ENDS) api.addEventListener(end, (/** @type {any} */ { detail }) => runs.delete(detail.prompt_id));
}

/**
 * @param {string} id
 * @param {Run} run
 */
function remember(id, run) {
    runs.set(id, run);
    for (const oldest of [...runs.keys()].slice(0, -MOST)) runs.delete(oldest);
}

/** @returns {Run} */
function snapshot() {
    const showing = [...nodesByPath()].filter(([, node]) => isOurs(node) || node.subgraph);
    const nodes = new Map(showing.map(([path, node]) => [path, { key: keyOf(node), typed: typed(node) }]));
    return { workflow: openWorkflow(), nodes };
}

/**
 * @param {string | undefined} id
 * @returns {Run | null} Null for one that was not queued on this page since it was loaded.
 */
export function runOf(id) {
    return runs.get(id ?? "") ?? asked;
}

/**
 * Whether what is open is the workflow of a run. While another is being opened its nodes are there before ComfyUI says so.
 * @param {Run} run
 * @param {string} path A node's that ran.
 * @returns {boolean}
 */
export function isOpen(run, path) {
    const node = nodeAt(path);
    return run.workflow === openWorkflow() && Boolean(node) && keyOf(node) === run.nodes.get(path)?.key;
}
