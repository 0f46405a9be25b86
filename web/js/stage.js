/** A picture with boxes and their labels, as large as the room for it allows, or zoomed into. */

import { make } from "./dom.js";
import { placeLabels } from "./labels.js";

/** @typedef {import("./types.js").Box} Box */
/** @typedef {import("./types.js").Picture} Picture */

export class Stage {
    /**
     * @param {(index: number | null) => void} point Called with the box that is pointed at, null for none.
     * @param {(index: number | null) => void} pick Called when a box, or null for the picture, is clicked.
     */
    constructor(point, pick) {
        this.point = point;
        this.pick = pick;
        /** @type {Picture} */
        this.picture = { filename: "", width: 1, height: 1 };
        /** @type {Box[]} */
        this.boxes = [];
        /** @type {number | null} */
        this.lit = null;
        this.zoom = 1;
        /** How far the picture's middle is from the stage's, in pixels. */
        this.shift = { x: 0, y: 0 };

        this.image = make("img", "iaa-image", { draggable: false, alt: "" });
        this.image.addEventListener("error", () => this.frame.classList.add("iaa-gone"));
        this.image.addEventListener("load", () => this.frame.classList.remove("iaa-gone"));
        this.layer = make("div", "iaa-layer");
        this.frame = make("div", "iaa-frame", {}, this.image, this.layer);
        this.labels = make("div", "iaa-layer iaa-labels");
        this.element = make("div", "iaa-stage", {}, this.frame, this.labels);
        let pressed = { x: 0, y: 0 };
        this.element.addEventListener("pointerdown", ({ clientX: x, clientY: y }) => (pressed = { x, y }), true);
        this.element.addEventListener("click", ({ target, clientX, clientY }) => {
            const dragged = Math.hypot(clientX - pressed.x, clientY - pressed.y) > 4;
            if (!dragged) this.pick(indexOf(target));
        });
        new ResizeObserver(() => this.layout()).observe(this.element);
    }

    /**
     * @param {string} url
     * @param {Picture} picture
     * @param {Box[]} boxes
     */
    show(url, picture, boxes) {
        this.picture = picture;
        this.boxes = boxes;
        this.lit = null;
        this.image.src = url;
        // Small boxes are drawn last, over those around them, or nobody could point at them.
        const order = boxes.map((_, index) => index).sort((a, b) => area(boxes[b]) - area(boxes[a]));
        this.layer.replaceChildren(...order.map((index) => this.outline(boxes[index], index)));
        this.labels.replaceChildren(...boxes.map((box, index) => this.pointed(label(box, index), index)));
        this.zoomTo(1);
    }

    /**
     * A box in percent of the picture, so that it follows it to any size.
     * @param {Box} box
     * @param {number} index
     * @returns {HTMLElement}
     */
    outline(box, index) {
        const element = this.pointed(make("div", "iaa-box"), index);
        element.style.setProperty("--iaa-color", box.color);
        element.style.left = `${(100 * box.x) / this.picture.width}%`;
        element.style.top = `${(100 * box.y) / this.picture.height}%`;
        element.style.width = `${(100 * box.width) / this.picture.width}%`;
        element.style.height = `${(100 * box.height) / this.picture.height}%`;
        return element;
    }

    /**
     * Makes a part of a box's picture tell when it is pointed at.
     * @param {HTMLElement} element
     * @param {number} index
     * @returns {HTMLElement}
     */
    pointed(element, index) {
        element.dataset.index = `${index}`;
        element.addEventListener("pointerenter", () => this.point(index));
        element.addEventListener("pointerleave", () => this.point(null));
        return element;
    }

    /**
     * Lights one box, whose label is then whole and the only one; none for null.
     * @param {number | null} index
     */
    light(index) {
        if (this.lit === index) return;
        this.lit = index;
        this.layout();
    }

    /**
     * Zooms, so that a point of the stage keeps its place on the picture; the picture never leaves the stage.
     * @param {number} zoom 1 is the whole picture.
     * @param {{x: number, y: number}} [about] From the stage's middle, in pixels.
     */
    zoomTo(zoom, about = { x: 0, y: 0 }) {
        const ratio = Math.min(Math.max(zoom, 1), 16) / this.zoom;
        this.zoom *= ratio;
        this.moveTo(about.x - ratio * (about.x - this.shift.x), about.y - ratio * (about.y - this.shift.y));
    }

    /**
     * Moves the picture's middle.
     * @param {number} x From the stage's middle, in pixels.
     * @param {number} y
     */
    moveTo(x, y) {
        this.shift = { x, y };
        this.layout();
    }

    /** Fits the picture to the stage, and gives each label its place. */
    layout() {
        const { clientWidth: width, clientHeight: height } = this.element;
        if (!width || !height) return;
        const scale = this.zoom * Math.min(width / this.picture.width, height / this.picture.height);
        const shown = { width: scale * this.picture.width, height: scale * this.picture.height };
        const room = { x: Math.max(0, shown.width - width) / 2, y: Math.max(0, shown.height - height) / 2 };
        this.shift.x = Math.min(Math.max(this.shift.x, -room.x), room.x);
        this.shift.y = Math.min(Math.max(this.shift.y, -room.y), room.y);
        const left = (width - shown.width) / 2 + this.shift.x;
        const top = (height - shown.height) / 2 + this.shift.y;
        Object.assign(this.frame.style, { left: `${left}px`, top: `${top}px`, width: `${shown.width}px`, height: `${shown.height}px` });
        this.placeAll(
            this.boxes.map((box) => ({
                x: left + scale * box.x,
                y: top + scale * box.y,
                width: scale * box.width,
                height: scale * box.height,
            })),
            { width, height },
        );
    }

    /**
     * @param {import("./labels.js").Rectangle[]} boxes On the stage.
     * @param {import("./labels.js").Size} stage
     */
    placeAll(boxes, stage) {
        const elements = /** @type {HTMLElement[]} */ ([...this.labels.children]);
        const [labels, tags] = [false, true].map((short) => {
            elements.forEach((element) => element.classList.toggle("iaa-short", short));
            return elements.map((element) => ({ width: element.offsetWidth, height: element.offsetHeight }));
        });
        const places = placeLabels(boxes, labels, tags, stage);
        elements.forEach((element, index) => {
            const lit = index === this.lit;
            // The one that is lit grows where it is: from under the pointer it would jump to and fro.
            const place = places[index] ?? (lit ? { ...boxes[index], whole: true } : null);
            element.classList.toggle("iaa-off", !place);
            element.classList.toggle("iaa-short", !place?.whole && !lit);
            if (!place) return;
            const { width, height } = lit ? labels[index] : place;
            const x = Math.max(0, Math.min(place.x, stage.width - width));
            const y = Math.max(0, Math.min(place.y, stage.height - height));
            element.style.translate = `${x}px ${y}px`;
        });
    }
}

/**
 * A box's label: its number, which its row has too, and what it is. As a tag it is the number alone.
 * @param {Box} box
 * @param {number} index
 * @returns {HTMLElement}
 */
function label(box, index) {
    return make("span", "iaa-tag", {}, numberTag(box, index), make("span", "iaa-words", { textContent: describe(box) }));
}

/**
 * A box's number on its colour.
 * @param {Box} box
 * @param {number} index
 * @returns {HTMLElement}
 */
export function numberTag(box, index) {
    const tag = make("span", "iaa-chip", { textContent: `${index + 1}` });
    tag.style.backgroundColor = box.color;
    tag.style.color = isLight(box.color) ? "#000" : "#fff";
    return tag;
}

/**
 * Label and score.
 * @param {Box} box
 * @returns {string}
 */
export function describe(box) {
    return box.score === undefined ? box.label : `${box.label} ${box.score.toFixed(2)}`;
}

/**
 * Whether black reads better than white on a colour.
 * @param {string} color `#rrggbb`.
 * @returns {boolean}
 */
function isLight(color) {
    const [red, green, blue] = [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
    return 0.299 * red + 0.587 * green + 0.114 * blue > 128;
}

/**
 * @param {Box} box
 * @returns {number}
 */
function area(box) {
    return box.width * box.height;
}

/**
 * The index of the box that an event is about.
 * @param {EventTarget | null} target
 * @returns {number | null}
 */
function indexOf(target) {
    const box = target instanceof Element && target.closest("[data-index]");
    return box instanceof HTMLElement ? Number(box.dataset.index) : null;
}
