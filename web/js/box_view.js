/**
 * A picture with its boxes, and the list of them below. A box and its row are two views of one thing: pointing at one
 * lights both, a click keeps them lit. Everything can be reached with the keyboard.
 */

import { copyButton, make } from "./dom.js";

/** @typedef {import("./types.js").Box} Box */
/** @typedef {import("./types.js").Picture} Picture */

export class BoxView {
    /** @param {(picture: Picture) => string} pictureUrl Where a picture is served. */
    constructor(pictureUrl) {
        this.pictureUrl = pictureUrl;
        /** @type {Picture[]} */
        this.images = [];
        /** @type {Box[][]} */
        this.boxes = [];
        this.page = 0;
        /** @type {number | null} The box that a click keeps lit. */
        this.kept = null;

        this.image = make("img", "iaa-image", { draggable: false, alt: "" });
        this.image.addEventListener("error", () => this.frame.classList.add("iaa-gone"));
        this.image.addEventListener("load", () => this.frame.classList.remove("iaa-gone"));
        this.layer = make("div", "iaa-layer");
        this.frame = make("div", "iaa-frame", {}, this.image, this.layer);
        this.rows = make("div", "iaa-rows iaa-scroll");

        this.previous = this.pageButton("‹", "Previous image", -1);
        this.next = this.pageButton("›", "Next image", 1);
        this.position = make("span", "iaa-position");
        this.count = make("span", "iaa-count");
        const copy = copyButton("Copy JSON", () => JSON.stringify(this.boxes.map((page) => page.map(withoutColor)), null, 1));
        const bar = make("div", "iaa-bar", {}, this.previous, this.position, this.next, this.count, copy);
        this.element = make("div", "iaa-view iaa-boxes", {}, make("div", "iaa-stage", {}, this.frame), this.rows, bar);
        this.element.tabIndex = -1;
        this.element.addEventListener("keydown", (event) => this.onKey(event));
    }

    /** @param {import("./types.js").BoxesResult} result */
    show({ images, boxes }) {
        this.images = images;
        this.boxes = boxes;
        this.turnTo(Math.min(this.page, images.length - 1));
    }

    /** @param {number} page */
    turnTo(page) {
        this.page = Math.max(0, Math.min(page, this.images.length - 1));
        this.kept = null;
        const picture = this.images[this.page];
        const boxes = this.boxes[this.page] ?? [];
        if (!picture) return;
        this.frame.style.setProperty("--iaa-ratio", `${picture.width / picture.height}`);
        this.image.src = this.pictureUrl(picture);
        this.layer.replaceChildren(...this.drawBoxes(picture, boxes));
        this.rows.replaceChildren(...boxes.map((box, index) => this.row(box, index)));
        this.position.textContent = `${this.page + 1} / ${this.images.length}`;
        this.count.textContent = boxes.length === 0 ? "nothing found" : boxes.length === 1 ? "1 box" : `${boxes.length} boxes`;
        this.previous.disabled = this.page === 0;
        this.next.disabled = this.page >= this.images.length - 1;
        this.element.classList.toggle("iaa-single", this.images.length === 1);
    }

    /**
     * Boxes in percent of the picture, so that they follow it to any size. Small ones are drawn last, over those around
     * them, or nobody could point at them. Where labels would begin at one place, as for several phrases that mean one
     * thing, they stand one above the other.
     * @param {Picture} picture
     * @param {Box[]} boxes
     * @returns {HTMLElement[]}
     */
    drawBoxes(picture, boxes) {
        const order = boxes.map((_, index) => index).sort((a, b) => area(boxes[b]) - area(boxes[a]));
        const near = 0.05 * Math.max(picture.width, picture.height);
        return order.map((index, place) => {
            const box = boxes[index];
            const below = order.slice(0, place).filter((other) => sharesCorner(box, boxes[other], near)).length;
            const tag = make("span", "iaa-tag", { textContent: describe(box) });
            const element = this.item("iaa-box", box, index, tag);
            element.style.left = `${(100 * box.x) / picture.width}%`;
            element.style.top = `${(100 * box.y) / picture.height}%`;
            element.style.width = `${(100 * box.width) / picture.width}%`;
            element.style.height = `${(100 * box.height) / picture.height}%`;
            element.style.setProperty("--iaa-below", `${below}`);
            element.classList.toggle("iaa-tag-below", box.y < 0.12 * picture.height);
            element.classList.toggle("iaa-tag-left", box.x > 0.6 * picture.width);
            return element;
        });
    }

    /**
     * @param {Box} box
     * @param {number} index
     * @returns {HTMLElement}
     */
    row(box, index) {
        const size = make("span", "iaa-size", { textContent: `${box.x}, ${box.y} · ${box.width}×${box.height}` });
        const score = make("span", "iaa-score", { textContent: box.score === undefined ? "" : box.score.toFixed(2) });
        const label = make("span", "iaa-label", { textContent: box.label });
        return this.item("iaa-row", box, index, make("span", "iaa-swatch"), label, score, size);
    }

    /**
     * What a box and a row share: a button that lights its index.
     * @param {string} className
     * @param {Box} box
     * @param {number} index
     * @param {HTMLElement[]} children
     * @returns {HTMLButtonElement}
     */
    item(className, box, index, ...children) {
        const element = make("button", className, { type: "button", title: describe(box) }, ...children);
        element.dataset.index = `${index}`;
        element.style.setProperty("--iaa-color", box.color);
        element.setAttribute("aria-label", `${describe(box)}, at ${box.x}, ${box.y}, ${box.width} by ${box.height} pixels`);
        element.addEventListener("pointerenter", () => this.light(index));
        element.addEventListener("pointerleave", () => this.light(this.kept));
        element.addEventListener("focus", () => this.light(index));
        element.addEventListener("blur", () => this.light(this.kept));
        element.addEventListener("click", () => {
            this.kept = this.kept === index ? null : index;
            this.light(this.kept);
        });
        return element;
    }

    /**
     * Lights one box with its row and dims the others; none for null.
     * @param {number | null} index
     */
    light(index) {
        this.element.classList.toggle("iaa-lit", index !== null);
        for (const part of this.element.querySelectorAll("[data-index]")) {
            const lit = part instanceof HTMLElement && part.dataset.index === `${index}`;
            part.classList.toggle("iaa-on", lit);
            part.setAttribute("aria-pressed", `${lit && index === this.kept}`);
            if (lit && part.classList.contains("iaa-row")) scrollIntoList(part);
        }
    }

    /**
     * @param {string} sign
     * @param {string} name
     * @param {number} step
     * @returns {HTMLButtonElement}
     */
    pageButton(sign, name, step) {
        const button = make("button", "iaa-button iaa-page", { type: "button", textContent: sign, title: name });
        button.setAttribute("aria-label", name);
        button.addEventListener("click", () => this.turnBy(step));
        return button;
    }

    /**
     * Turns pages for somebody whose keys must still be heard when the row or button that had the focus is gone.
     * @param {number} step
     */
    turnBy(step) {
        this.turnTo(this.page + step);
        this.element.focus({ preventScroll: true });
    }

    /** @param {KeyboardEvent} event */
    onKey(event) {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (step && this.images.length > 1) this.turnBy(step);
        else if (event.key === "Escape") this.light((this.kept = null));
        else return;
        // ComfyUI has uses of its own for these keys.
        event.preventDefault();
        event.stopPropagation();
    }
}

/**
 * @param {Box} box
 * @returns {string}
 */
function describe(box) {
    return box.score === undefined ? box.label : `${box.label} ${box.score.toFixed(2)}`;
}

/**
 * @param {Box} box
 * @returns {number}
 */
function area(box) {
    return box.width * box.height;
}

/**
 * Whether two boxes begin at about the same place.
 * @param {Box} one
 * @param {Box} other
 * @param {number} near In pixels.
 * @returns {boolean}
 */
function sharesCorner(one, other, near) {
    return Math.abs(one.x - other.x) < near && Math.abs(one.y - other.y) < near;
}

/**
 * What the node sent, without what is only for the eye.
 * @param {Box} box
 * @returns {Omit<Box, "color">}
 */
function withoutColor({ color: _, ...box }) {
    return box;
}

/**
 * Scrolls a row into view within its list; `scrollIntoView` would scroll ComfyUI's whole page.
 * @param {HTMLElement} row
 */
function scrollIntoList(row) {
    const list = row.parentElement;
    if (!list) return;
    const above = row.offsetTop - list.offsetTop;
    if (above < list.scrollTop) list.scrollTop = above;
    else if (above + row.offsetHeight > list.scrollTop + list.clientHeight) {
        list.scrollTop = above + row.offsetHeight - list.clientHeight;
    }
}
