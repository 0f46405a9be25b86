/**
 * What the page remembers of nodes beside what their workflows keep, as long as undoing or coming back to a tab needs it.
 */

import { allNodes, keyOf, openWorkflow } from "./graph.js";

/** @typedef {import("./types.js").Result} Result */
/** @typedef {import("./result_view.js").ResultView} ResultView */

/** @type {Map<string, ResultView>} */
export const views = new Map();
/** @type {WeakMap<object, Map<string, Result>>} By what remembers a workflow's steps, which goes when its tab is closed. */
const newest = new WeakMap();
/** @type {WeakMap<object, Map<string, Result>>} */
const strangers = new WeakMap();

/** Forgets the views of nodes that are not in the open workflow: in another's tab, or after undoing, new ones are made. */
export function forgetViews() {
    const here = new Set(allNodes().map(keyOf));
    for (const key of [...views.keys()].filter((each) => !here.has(each))) views.delete(key);
}

/**
 * @param {any} workflow
 * @returns {Map<string, Result>} What each of its nodes found last.
 */
export const newestIn = (workflow) => of(newest, workflow?.changeTracker);

/** @returns {Map<string, Result>} What ComfyUI remembers for nodes of the open workflow and a run of another sent. */
export const strangersHere = () => of(strangers, openWorkflow());

/**
 * @param {WeakMap<object, Map<string, Result>>} all
 * @param {object | null | undefined} owner
 * @returns {Map<string, Result>} What is remembered as long as there is an owner.
 */
function of(all, owner) {
    const own = (owner && all.get(owner)) ?? new Map();
    if (owner) all.set(owner, own);
    return own;
}
