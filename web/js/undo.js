/** Results in a workflow's history: they are saved with it, but having run is nothing to undo. */

import { app } from "../../../scripts/app.js";
import { openWorkflow } from "./graph.js";

/** How ComfyUI calls what remembers the states that Ctrl+Z goes back to, and the draft that is opened after a reload. */
const trackerOf = () => openWorkflow()?.changeTracker;

/**
 * Makes a change to the workflow that is no step of its own for Ctrl+Z: what the user changed before it becomes one, and
 * the state that this led to has the change in it.
 * @param {() => void} change
 */
export function withoutUndoStep(change) {
    const tracker = trackerOf();
    tracker?.captureCanvasState?.();
    change();
    if (!tracker?.activeState) return;
    tracker.activeState = JSON.parse(JSON.stringify(app.rootGraph.serialize()));
    tracker.updateModified?.();
    tracker.squashState?.(); // Nodes get their final height when they are drawn.
}
