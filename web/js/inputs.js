/** What is typed into a node. */

/**
 * The values of a node's widgets by name: those that a result follows from. A seed is not among them, since ComfyUI draws
 * the next one as soon as a run is queued, nor is what a link gives.
 * @param {any} node
 * @returns {Record<string, unknown>}
 */
export function typed(node) {
    /** @type {any[]} */
    const inputs = node.inputs ?? [];
    /** @type {any[]} */
    const widgets = node.widgets ?? [];
    const linked = new Set(inputs.filter((input) => input.link != null).map((input) => input.widget?.name));
    const own = widgets.filter(({ name, serialize }) => serialize !== false && !linked.has(name) && !/seed$|^control_|^\$\$/.test(name));
    return Object.fromEntries(own.map(({ name, value }) => [name, value]));
}
