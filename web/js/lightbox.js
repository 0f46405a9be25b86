/** A view in a dialog as large as the window, with zoom and pan. */

import { BoxView } from "./box_view.js";
import { make, ownKeys, signButton } from "./dom.js";
import { word } from "./words.js";

/** How much larger one step of the wheel, a key or a button makes a picture. */
const STEP = 1.25;

/**
 * Opens what a view shows; Escape closes it, the focus goes back to where it was, and the view turns to the last page seen.
 * @param {BoxView} view
 * @param {number | null} index The box to keep lit.
 */
export function openLightbox(view, index) {
    const dialog = make("dialog", "iaa-lightbox");
    const large = new BoxView(
        view.pictureUrl,
        signButton("−", word("zoomOut"), () => zoomBy(1 / STEP)),
        signButton("1×", word("whole"), () => large.stage.zoomTo(1)),
        signButton("+", word("zoomIn"), () => zoomBy(STEP)),
        signButton("✕", word("close"), () => dialog.close()),
    );
    /** @param {number} factor */
    const zoomBy = (factor) => large.stage.zoomTo(large.stage.zoom * factor);

    dialog.setAttribute("aria-label", word("enlarge"));
    dialog.append(large.element);
    dialog.addEventListener("close", () => {
        dialog.remove();
        if (view.page !== large.page) view.turnTo(large.page);
    });
    ownKeys(dialog);
    large.element.addEventListener("keydown", ({ key }) => {
        const factor = { "+": STEP, "=": STEP, "-": 1 / STEP, 0: 0 }[key];
        if (factor !== undefined) zoomBy(factor);
    });
    wheelZooms(large.stage);
    dragMoves(large.stage);

    document.body.append(dialog);
    dialog.showModal();
    large.element.focus();
    large.page = view.page;
    large.show({ kind: "boxes", images: view.images, boxes: view.boxes });
    large.keep(index);
}

/**
 * The wheel zooms about the pointer.
 * @param {import("./stage.js").Stage} stage
 */
function wheelZooms(stage) {
    const { element } = stage;
    element.addEventListener("wheel", (event) => {
        event.preventDefault();
        const { left, top, width, height } = element.getBoundingClientRect();
        const about = { x: event.clientX - left - width / 2, y: event.clientY - top - height / 2 };
        stage.zoomTo(stage.zoom * STEP ** -Math.sign(event.deltaY), about);
    });
}

/**
 * Dragging moves a picture that is zoomed into.
 * @param {import("./stage.js").Stage} stage
 */
function dragMoves(stage) {
    const { element } = stage;
    element.addEventListener("pointermove", (event) => {
        if (event.buttons !== 1) return;
        stage.moveTo(stage.shift.x + event.movementX, stage.shift.y + event.movementY);
    });
}
